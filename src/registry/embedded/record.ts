import type { CheckOverride } from '../../core/check.ts';
import { type Instance, instance } from '../../core/instance.ts';
import { isName } from '../../core/names.ts';
import { metadataOf } from './metadata.ts';
import { type Origin, readOrigin } from './origin.ts';

/** What a service, or someone on its behalf, told the registry. Immutable. */
export interface Registration {
  readonly instance: Instance;
  /** Heartbeats must come at least this often; undefined = none are expected. */
  readonly ttlMs: number | undefined;
  /** In whose words it was said; undefined = in our own. */
  readonly origin?: Origin | undefined;
}

/** The name of a registration: an id is unique within its service. */
export interface RegistrationKey {
  readonly service: string;
  readonly id: string;
}

/** One line of the log. Applying them in order from an empty table gives the table. */
export type LogRecord =
  /** First of every log. A reader refuses a format it does not know. */
  | { readonly kind: 'format'; readonly format: number }
  /** The index may have been counted up to here: the next start begins above. */
  | { readonly kind: 'reserve'; readonly index: number }
  /** The registration comes in; those in `drop` make room for it in the same step. */
  | { readonly kind: 'put'; readonly registration: Registration; readonly drop: readonly RegistrationKey[] }
  | { readonly kind: 'drop'; readonly drop: readonly RegistrationKey[] };

/** Version of what `encodeRecord` writes. */
export const LOG_FORMAT = 1;

export function encodeRecord(record: LogRecord): string {
  switch (record.kind) {
    case 'format':
      return JSON.stringify({ format: record.format });
    case 'reserve':
      return JSON.stringify({ reserve: record.index });
    case 'drop':
      return JSON.stringify({ drop: record.drop.map(keyPair) });
    case 'put':
      return JSON.stringify({
        put: plain(record.registration),
        drop: record.drop.length > 0 ? record.drop.map(keyPair) : undefined,
      });
  }
}

/** The record, or why the text is none. Checksums vouch for the bytes, not for whoever wrote them: every field is looked at. */
export function decodeRecord(json: string): LogRecord | string {
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch {
    return 'not JSON';
  }
  if (!isObject(parsed)) return 'not an object';
  if (typeof parsed['format'] === 'number') return { kind: 'format', format: parsed['format'] };
  if (Number.isSafeInteger(parsed['reserve'])) return { kind: 'reserve', index: parsed['reserve'] as number };
  const drop = parsed['drop'] === undefined ? [] : readKeys(parsed['drop']);
  if (!drop) return 'drop is not a list of [service, id]';
  if (parsed['put'] === undefined) return drop.length > 0 ? { kind: 'drop', drop } : 'of no known kind';
  const registration = readRegistration(parsed['put']);
  return typeof registration === 'string' ? registration : { kind: 'put', registration, drop };
}

/** Whether registering `next` over `known` changes anything at all. */
export function sameRegistration(known: Registration, next: Registration): boolean {
  return JSON.stringify(plain(known)) === JSON.stringify(plain(next));
}

function keyPair({ service, id }: RegistrationKey): [string, string] {
  return [service, id];
}

/** Defaults are left out: most registrations are little more than an address. */
function plain({ instance: of, ttlMs, origin }: Registration): Record<string, unknown> {
  return {
    service: of.service,
    id: of.id,
    host: of.host,
    port: of.port,
    ttlMs,
    weight: of.weight === 1 ? undefined : of.weight,
    zone: of.zone,
    version: of.version,
    secure: of.secure || undefined,
    state: of.state === 'up' ? undefined : of.state,
    stateReason: of.stateReason,
    metadata: of.metadata.size > 0 ? Object.fromEntries(of.metadata) : undefined,
    checks: of.checks,
    origin,
  };
}

function readRegistration(value: unknown): Registration | string {
  if (!isObject(value)) return 'put is not an object';
  const { service, id, host, port, ttlMs, weight, state } = value;
  if (typeof service !== 'string' || !isName(service)) return 'put has no service name';
  if (typeof id !== 'string' || !isName(id)) return 'put has no id';
  if (typeof host !== 'string' || host === '') return 'put has no host';
  if (!Number.isInteger(port)) return 'put has no port';
  if (ttlMs !== undefined && !(typeof ttlMs === 'number' && ttlMs > 0)) return 'put has a ttl that is no time';
  if (weight !== undefined && !(typeof weight === 'number' && weight > 0))
    return 'put has a weight that is no number above 0';
  if (state !== undefined && state !== 'degraded' && state !== 'down') return 'put has an unknown state';
  const metadata = isObject(value['metadata']) ? Object.entries(value['metadata']) : [];
  return {
    ttlMs,
    origin: readOrigin(value['origin']),
    instance: instance({
      service,
      id,
      host,
      port: port as number,
      weight: weight ?? 1,
      zone: optionalText(value['zone']),
      version: optionalText(value['version']),
      secure: value['secure'] === true,
      state: state ?? 'up',
      stateReason: optionalText(value['stateReason']),
      metadata: metadataOf(metadata.map(([key, text]) => [key, String(text)])),
      // Written by ourselves from what the API had checked field by field.
      checks: Array.isArray(value['checks']) ? (value['checks'] as CheckOverride[]) : undefined,
    }),
  };
}

function readKeys(value: unknown): RegistrationKey[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const keys: RegistrationKey[] = [];
  for (const pair of value as unknown[]) {
    if (!Array.isArray(pair)) return undefined;
    const [service, id] = pair as unknown[];
    if (typeof service !== 'string' || typeof id !== 'string') return undefined;
    keys.push({ service, id });
  }
  return keys;
}

function optionalText(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
