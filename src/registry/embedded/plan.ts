import { type Instance, addressOf } from '../../core/instance.ts';
import { generateId } from './instance-id.ts';
import type { Origin } from './origin.ts';
import { type LogRecord, type Registration, type RegistrationKey, sameRegistration } from './record.ts';
import type { Staging } from './staging.ts';

export interface RegistrationRequest {
  /** Everything but the id. Checked already: what arrives here is stored. */
  readonly instance: Omit<Instance, 'id'>;
  /** Undefined = that of the same address, or a new one. */
  readonly id: string | undefined;
  readonly ttlMs: number | undefined;
  readonly origin?: Origin | undefined;
  /** What becomes of it beside the registration it takes the place of. Service, id and address must stay. */
  readonly inherit?: ((next: Registration, known: Registration | undefined) => Registration) | undefined;
  /**
   * Where the id must be unique. `registry` refuses an id that another service uses: for clients that name an instance
   * by its id alone, in heartbeats above all.
   */
  readonly idScope: 'service' | 'registry';
}

export interface RegistryLimits {
  readonly instances: number;
  readonly services: number;
}

export type RegistrationPlan =
  /** The id belongs to an instance of another service. */
  | { readonly kind: 'conflict'; readonly id: string; readonly service: string }
  /** No room for one more. */
  | { readonly kind: 'full'; readonly what: keyof RegistryLimits; readonly limit: number }
  /** Exactly this is registered already. */
  | { readonly kind: 'known'; readonly registration: Registration }
  | {
      readonly kind: 'put';
      readonly registration: Registration;
      readonly record: Extract<LogRecord, { kind: 'put' }>;
      /** Instances that give way: those at this address under another id, and the one of this id at another address. */
      readonly replaced: readonly Instance[];
      readonly created: boolean;
    };

/** Decides what a registration does to the table, and stages it. */
export function planRegistration(
  staging: Staging,
  request: RegistrationRequest,
  limits: RegistryLimits,
): RegistrationPlan {
  const { service, host, port } = request.instance;
  const atAddress = staging.findByAddress(service, addressOf(request.instance));
  const id =
    request.id ??
    atAddress?.instance.id ??
    generateId(service, host, port, (free) => staging.findById(free).length === 0);
  const known = staging.find({ service, id });
  const given: Registration = { instance: { ...request.instance, id }, ttlMs: request.ttlMs, origin: request.origin };
  const registration = request.inherit ? request.inherit(given, known) : given;
  if (known && sameRegistration(known, registration)) return { kind: 'known', registration: known };

  if (request.idScope === 'registry' && !known) {
    const [other] = staging.findById(id);
    if (other) return { kind: 'conflict', id, service: other.instance.service };
  }
  const yielding = atAddress && atAddress.instance.id !== id ? atAddress.instance : undefined;
  const created = !known && !yielding;
  if (created && staging.size >= limits.instances) return { kind: 'full', what: 'instances', limit: limits.instances };
  if (created && staging.sizeOf(service) === 0 && staging.liveServices >= limits.services)
    return { kind: 'full', what: 'services', limit: limits.services };

  const moved = known && addressOf(known.instance) !== addressOf(registration.instance) ? known.instance : undefined;
  const drop: RegistrationKey[] = yielding ? [{ service: yielding.service, id: yielding.id }] : [];
  for (const key of drop) staging.drop(key);
  staging.put(registration);
  return {
    kind: 'put',
    registration,
    record: { kind: 'put', registration, drop },
    replaced: [yielding, moved].filter((instance) => instance !== undefined),
    created,
  };
}
