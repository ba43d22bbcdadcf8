import type { ServicePolicy } from '../core/policy.ts';
import type { View } from '../upstream/view.ts';

/**
 * What a data-plane thread is told of the fleet: differences, in this order, each part complete before the next. A
 * thread that starts gets everything, in the same form. Slots and indexes are those of the fleet.
 */
export interface Update {
  /** To be acknowledged once applied. */
  readonly through: number;
  /** Slots whose instances are gone for good: whatever is kept by them goes. */
  readonly freed: readonly number[];
  readonly dropped: readonly number[];
  /** Each is sent once, and named by its number from then on: thousands of services share one. */
  readonly policies: readonly (readonly [number: number, policy: ServicePolicy])[];
  /** Numbers of policies that no service has any more, those in this update included. */
  readonly forgotten: readonly number[];
  readonly services: readonly ServiceUpdate[];
  readonly members: MembersUpdate;
  readonly views: readonly (readonly [service: number, view: View])[];
}

/** A service that is new, or has another policy. */
export interface ServiceUpdate {
  readonly index: number;
  readonly name: string;
  /** Of its counters in the meters of every thread. */
  readonly row: number;
  readonly policy: number;
}

/** Instances that are new or have changed, as columns: cheap to copy, and nothing is made of them before it is needed. */
export interface MembersUpdate {
  readonly slots: readonly number[];
  readonly services: readonly number[];
  readonly ids: readonly string[];
  readonly hosts: readonly string[];
  readonly ports: readonly number[];
  readonly secure: readonly boolean[];
}
