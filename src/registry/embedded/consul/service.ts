import type { CheckOverride } from '../../../core/check.ts';
import { readHealth } from '../../consul/health.ts';
import { metadataOf } from '../metadata.ts';
import { tableIdOf } from '../origin.ts';
import type { Registration } from '../record.ts';

export type CheckStatus = 'passing' | 'warning' | 'critical';

/** A check as it is told. */
export interface ConsulCheck {
  readonly id: string;
  readonly name: string;
  readonly notes: string;
  readonly type: 'ttl' | 'http' | 'tcp' | 'grpc';
  /** Of a `ttl` check what was said last; of the others at the beginning: the gateway probes them. */
  readonly status: CheckStatus;
  readonly output: string;
  readonly criticalLimitMs?: number | undefined;
}

/** What a client of Consul registered, as it is stored: to be told to others as it was put. */
export interface ConsulService {
  readonly address: string;
  readonly port: number;
  readonly tags: readonly string[];
  /** Pairs, for keys from outside must not become keys of an object here. */
  readonly meta: readonly (readonly [string, string])[];
  readonly weights: { readonly Passing: number; readonly Warning: number };
  readonly zone?: string | undefined;
  readonly checks: readonly ConsulCheck[];
  /** The reason; undefined = not in maintenance. */
  readonly maintenance?: string | undefined;
}

export interface Named {
  readonly service: string;
  /** Consul's own. */
  readonly id: string;
  readonly ttlMs: number | undefined;
  readonly overrides: readonly CheckOverride[] | undefined;
}

export const NODE = 'fairlead';

/**
 * The registration that a service of Consul stands for: exactly what our own client of Consul would make of it, but for
 * checks by HTTP, TCP and gRPC, which the gateway carries out itself. A text says why there is none.
 */
export function buildRegistration(named: Named, told: ConsulService): Registration | string {
  const { service, id, ttlMs, overrides } = named;
  const reasons: string[] = [];
  const [read] = readHealth(service, [healthEntry(named, told)], ({ why }) => void reasons.push(why)) ?? [];
  if (!read) return reasons[0] ?? 'is no service';
  const limits = told.checks.flatMap(({ criticalLimitMs }) => criticalLimitMs ?? []);
  const alias = told.checks.find((check) => check.type === 'ttl' && check.id !== `service:${id}`)?.id;
  return {
    instance: { ...read, id: tableIdOf(id), metadata: metadataOf([...read.metadata]), checks: overrides },
    ttlMs,
    origin: {
      dialect: 'consul',
      id,
      alias,
      criticalLimitMs: limits.length > 0 ? Math.min(...limits) : undefined,
      text: JSON.stringify(told),
    },
  };
}

/** What a check, in maintenance or of its own, says of the service. */
function healthEntry({ service, id }: Named, told: ConsulService): unknown {
  const reported = told.checks.filter(({ type }) => type === 'ttl');
  const checks = reported.map((check) => ({
    CheckID: check.id,
    Name: check.name,
    Status: check.status,
    Output: check.output,
  }));
  const maintenance = { CheckID: `_service_maintenance:${id}`, Status: 'critical', Notes: told.maintenance };
  return {
    Node: { Node: NODE },
    Service: {
      ID: id,
      Service: service,
      Address: told.address,
      Port: told.port,
      Tags: told.tags,
      Meta: Object.fromEntries(told.meta),
      Weights: told.weights,
      Locality: told.zone === undefined ? undefined : { Zone: told.zone },
    },
    Checks: told.maintenance === undefined ? checks : [...checks, maintenance],
  };
}

/** Undefined: it was not registered by this API. */
export function serviceOf({ origin }: Registration): ConsulService | undefined {
  return origin?.dialect === 'consul' ? (JSON.parse(origin.text) as ConsulService) : undefined;
}

/** The same registration with something else said of it. What cannot be built changes nothing. */
export function rebuilt(known: Registration, change: (told: ConsulService) => ConsulService): Registration {
  const told = serviceOf(known);
  if (!told || !known.origin) return known;
  const { instance, ttlMs, origin } = known;
  const named = { service: instance.service, id: origin.id, ttlMs, overrides: instance.checks };
  const next = buildRegistration(named, change(told));
  return typeof next === 'string' ? known : next;
}

/** As Consul: a check that is registered again keeps what was last said of it, and maintenance stays. */
export function inheriting(next: Registration, known: Registration | undefined): Registration {
  const before = known && serviceOf(known);
  if (!before) return next;
  return rebuilt(next, (told) => ({
    ...told,
    maintenance: before.maintenance,
    checks: told.checks.map((check) => {
      const same = before.checks.find(({ id, type }) => id === check.id && type === check.type);
      return same ? { ...check, status: same.status, output: same.output } : check;
    }),
  }));
}
