import type { Instance } from '../../core/instance.ts';
import type { RemovalReason } from './changes.ts';
import type { Planned, Unavailable } from './commit-queue.ts';
import type { Lease } from './leases.ts';
import { type RegistrationPlan, type RegistrationRequest, type RegistryLimits, planRegistration } from './plan.ts';
import type { Registration, RegistrationKey } from './record.ts';
import type { Staging } from './staging.ts';
import type { RegistryState } from './state.ts';
import type { Entry } from './table.ts';

export type RegisterResult =
  | Extract<RegistrationPlan, { kind: 'conflict' | 'full' }>
  | {
      readonly kind: 'registered';
      readonly entry: Readonly<Entry>;
      readonly created: boolean;
      /** Instances that gave way to this one. */
      readonly replaced: readonly Instance[];
    }
  | Unavailable;

export type UpdateResult = { readonly kind: 'updated'; readonly entry: Readonly<Entry> } | FindFailure | Unavailable;

export type FindFailure =
  | { readonly kind: 'unknown' }
  /** Instances of several services have this id, and the service was not named. */
  | { readonly kind: 'ambiguous'; readonly services: readonly string[] };

export type HeartbeatResult = { readonly kind: 'renewed'; readonly entry: Readonly<Entry> } | FindFailure;
export type DeregisterResult = { readonly kind: 'removed'; readonly instance: Instance } | FindFailure | Unavailable;

export function planRegister(
  state: RegistryState,
  staging: Staging,
  request: RegistrationRequest,
  limits: RegistryLimits,
): Planned<RegisterResult> {
  const plan = planRegistration(staging, request, limits);
  if (plan.kind === 'conflict' || plan.kind === 'full') return { answer: plan };
  if (plan.kind === 'known') {
    const key = plan.registration.instance;
    const again = (): RegisterResult => {
      const entry = mustFind(state, key);
      state.renew(entry);
      return { kind: 'registered', entry, created: false, replaced: [] };
    };
    // What this very batch brings in is not on disk yet.
    return staging.touches(key) ? { record: undefined, apply: again } : { answer: again() };
  }
  const { record, registration, replaced, created } = plan;
  return {
    record,
    apply: () => {
      for (const key of record.drop) state.remove(key, 'replaced');
      return { kind: 'registered', entry: state.put(registration), created, replaced };
    },
  };
}

/** `change` is given what is registered, and returns what shall be: of the same service, id and address. */
export function planUpdate(
  state: RegistryState,
  staging: Staging,
  key: RegistrationKey,
  change: (known: Registration) => Registration,
  renews: boolean,
): Planned<UpdateResult> {
  const known = staging.find(key);
  if (!known) return { answer: { kind: 'unknown' } };
  const registration = change(known);
  staging.put(registration);
  return {
    record: { kind: 'put', registration, drop: [] },
    apply: () => ({ kind: 'updated', entry: state.put(registration, renews) }),
  };
}

export function planDeregister(
  state: RegistryState,
  staging: Staging,
  id: string,
  service: string | undefined,
  reason: RemovalReason,
): Planned<DeregisterResult> {
  const known = service === undefined ? undefined : staging.find({ service, id });
  const found = pickOne(service === undefined ? staging.findById(id) : known ? [known] : []);
  if ('kind' in found) return { answer: found };
  const { instance } = found;
  staging.drop(instance);
  return {
    record: { kind: 'drop', drop: [instance] },
    apply: () => {
      state.remove(instance, reason);
      return { kind: 'removed', instance };
    },
  };
}

export function planExpiry(
  state: RegistryState,
  staging: Staging,
  lease: Lease,
): Planned<{ readonly kind: 'expired' | 'kept' }> {
  // It may have registered again in the meantime.
  if (!isExpired(state, lease) || staging.touches(lease.key)) return { answer: { kind: 'kept' } };
  staging.drop(lease.key);
  return {
    record: { kind: 'drop', drop: [lease.key] },
    apply: () => {
      state.remove(lease.key, 'expired');
      return { kind: 'expired' };
    },
  };
}

/** Whether the lease ran out and is still the one that counts for its instance. */
export function isExpired(state: RegistryState, lease: Lease): boolean {
  return lease.ending && state.table.find(lease.key)?.lease === lease;
}

export function renew(state: RegistryState, id: string, service: string | undefined): HeartbeatResult {
  const known = service === undefined ? undefined : state.table.find({ service, id });
  const entry = pickOne(service === undefined ? state.table.findById(id) : known ? [known] : []);
  if ('kind' in entry) return entry;
  if (entry.lease?.ending) return { kind: 'unknown' };
  state.renew(entry);
  return { kind: 'renewed', entry };
}

function pickOne<T extends { readonly instance: Instance }>(found: readonly T[]): T | FindFailure {
  const [first, ...more] = found;
  if (!first) return { kind: 'unknown' };
  return more.length === 0 ? first : { kind: 'ambiguous', services: found.map((each) => each.instance.service) };
}

function mustFind(state: RegistryState, key: RegistrationKey): Entry {
  const entry = state.table.find(key);
  if (!entry) throw new Error(`${key.service}/${key.id} was planned and is not there`);
  return entry;
}
