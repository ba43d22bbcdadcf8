import type { Instance } from '../../../core/instance.ts';
import { type Fields, instanceOf, statusOf, type EurekaStatus } from '../../eureka/registration.ts';
import { metadataOf } from '../metadata.ts';
import { tableIdOf } from '../origin.ts';
import type { Registration } from '../record.ts';

/** What a Eureka client said, as it is stored: to be told to others as it was put. */
export interface Told {
  /** InstanceInfo without metadata and status; only fields that were looked at. */
  readonly fields: Fields;
  /** By the instance itself. */
  readonly status: EurekaStatus;
  /** By an operator; UNKNOWN = none. */
  readonly override: EurekaStatus;
}

export interface Said extends Told {
  readonly service: string;
  /** The instanceId. */
  readonly key: string;
  readonly metadata: ReadonlyMap<string, string>;
  readonly ttlMs: number;
}

/**
 * The registration that a Eureka instance stands for: exactly what our own client of Eureka would make of it. Undefined
 * `registration`: `why` says what is wrong.
 */
export function buildRegistration(
  said: Said,
): { readonly registration: Registration } | { readonly registration: undefined; readonly why: string } {
  const { service, key, fields, metadata, override, ttlMs } = said;
  const status = effectiveStatus(said);
  const shown = { ...fields, status, metadata: Object.fromEntries(metadata) };
  // A client that enables both ports listens on both, and the plain one needs no certificate.
  const parsed = instanceOf(service, key, shown, { useSecurePort: false, zone: undefined });
  if (!parsed?.ok) return { registration: undefined, why: parsed?.why ?? 'is of no zone' };
  const { instance } = parsed;
  const overridden = status !== said.status && status !== 'UP';
  const told: Told = { fields, status: said.status, override };
  return {
    registration: {
      instance: {
        ...instance,
        id: tableIdOf(key),
        stateReason: overridden ? `${status} (overridden)` : instance.stateReason,
        metadata: metadataOf([...instance.metadata]),
      },
      ttlMs,
      origin: {
        dialect: 'eureka',
        id: key,
        alias: undefined,
        criticalLimitMs: undefined,
        text: JSON.stringify(told),
      },
    },
  };
}

/** What was said, out of what is registered. Undefined: it was not registered by this API. */
export function saidOf({ instance, ttlMs, origin }: Registration): Said | undefined {
  if (origin?.dialect !== 'eureka') return undefined;
  const told = JSON.parse(origin.text) as Told;
  const { service, metadata } = instance;
  return { ...told, service, key: origin.id, metadata, ttlMs: ttlMs ?? DEFAULT_LEASE_MS };
}

/** What Eureka takes for granted where a registration names no duration. */
export const DEFAULT_LEASE_MS = 90_000;

/** The rules of Eureka's server: DownOrStarting, then OverrideExists. */
function effectiveStatus({ status, override }: Told): EurekaStatus {
  if (status !== 'UP' && status !== 'OUT_OF_SERVICE') return status;
  return override === 'UNKNOWN' ? status : override;
}

const WORDS: ReadonlySet<string> = new Set(['DOWN', 'STARTING', 'OUT_OF_SERVICE', 'UNKNOWN']);

/** How Eureka calls the state of an instance, in whichever dialect it was registered. */
export function statusWord({ state, stateReason = '' }: Pick<Instance, 'state' | 'stateReason'>): EurekaStatus {
  if (state !== 'down') return 'UP';
  const [word = ''] = stateReason.split(' ', 1);
  return WORDS.has(word) ? statusOf({ status: word }) : 'DOWN';
}
