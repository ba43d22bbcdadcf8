import type { Candidates } from '../balance/balancer.ts';

/** Why a view has nobody for ordinary traffic. */
export type EmptyReason =
  /** The service is known, and nothing is registered. */
  | 'none-registered'
  /** Registered, and none may have traffic: by probes, drain or the registry's word. */
  | 'none-available'
  /** Some would have traffic, and every one of them is out by breaker or ejection. */
  | 'all-breakers-open';

/** Who may have traffic of one service, now. Immutable; replaced by one assignment when something changed. */
export interface View extends Candidates {
  readonly service: string;
  /** Rises with every change; unique within the service. */
  readonly revision: number;
  /** Slots that may have any request, ascending. */
  readonly slots: Int32Array;
  /** Slots of half-open members, ascending: one request each, through `ServiceState.takeTrial`. */
  readonly trials: Int32Array;
  /** All weights of `slots` are the same. May be false although they are. */
  readonly uniform: boolean;
  /** Members in the registries' tables, whatever their state. */
  readonly registered: number;
  /** Members that may have full traffic by their own state, panic aside. */
  readonly available: number;
  /** Too few are available: probe verdicts are ignored (`slots` is fuller), or all is rejected (`slots` is empty). */
  readonly panic: boolean;
  /** Defined exactly when `slots` is empty; `trials` may still have someone. */
  readonly empty: EmptyReason | undefined;
}
