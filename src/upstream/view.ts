import type { Candidates } from '../balance/balancer.ts';
import { FULL, type Regime, trafficIn, TRIAL } from './availability.ts';
import { withChanges } from './sorted-slots.ts';

/** Why a view has nobody for ordinary traffic. */
export type EmptyReason =
  /** The service is known, and nothing is registered. */
  | 'none-registered'
  /** Registered, and none may have traffic: by probes, drain or the registry's word, or because panic rejects. */
  | 'none-available'
  /** Some would have traffic, and every one of them is out by breaker or ejection. */
  | 'all-breakers-open';

/** Who may have traffic of one service, now. Immutable; replaced by one assignment when something changed. */
export interface View extends Candidates {
  readonly service: string;
  /** Rises with every view of the service. */
  readonly revision: number;
  /** Slots that may have any request, ascending. */
  readonly slots: Int32Array;
  /** Slots of half-open members, ascending: one request each, through `ServiceState.takeTrial`. */
  readonly trials: Int32Array;
  /** All weights of `slots` are the same. May be false although they are. */
  readonly uniform: boolean;
  /** Members in the registries' tables and fallback instances, whatever their state. */
  readonly registered: number;
  /** Registered members that may have full traffic by their own state, panic aside. */
  readonly available: number;
  /** Too few are available: probe verdicts are ignored (`slots` is fuller), or all is rejected (`slots` is empty). */
  readonly panic: boolean;
  /** Nobody else is available: `slots` are the service's fallback instances. */
  readonly fallback: boolean;
  /** Defined exactly when `slots` is empty; `trials` may still have someone. */
  readonly empty: EmptyReason | undefined;
}

/** Before anything is known of the service. */
export function emptyView(service: string): View {
  return {
    service,
    revision: 0,
    slots: NOBODY,
    trials: NOBODY,
    uniform: true,
    registered: 0,
    available: 0,
    panic: false,
    fallback: false,
    empty: 'none-registered',
  };
}

/** What a service has counted of its members, by `COUNTED`. */
export type Counts = Readonly<Record<'available' | 'broken' | 'brokenInPanic', number>>;

/** All of a view but who is in it. */
export interface ViewFrame {
  readonly service: string;
  readonly revision: number;
  readonly registered: number;
  readonly counts: Counts;
  readonly regime: Regime;
  readonly uniform: boolean;
}

const NOBODY = new Int32Array(0);

/** Grows to the largest service, and serves one build at a time. */
let scratch = new Int32Array(1024);

/**
 * A view from scratch: one pass over two typed arrays, no object of a member is touched. `members` are the slots of all
 * members, ascending; `codes` their `pack`ed standings, by slot.
 */
export function buildView(frame: ViewFrame, members: Int32Array, codes: Uint16Array): View {
  const traffic = trafficIn(frame.regime);
  const count = members.length;
  if (scratch.length < count) scratch = new Int32Array(2 * count);
  let full = 0;
  let trials = 0;
  for (let at = 0; at < count; at++) {
    const slot = members[at] as number;
    const kind = traffic[codes[slot] as number] as number;
    // Full ones from the left, trials from the right: the two can never meet.
    if (kind === FULL) scratch[full++] = slot;
    else if (kind === TRIAL) scratch[scratch.length - ++trials] = slot;
  }
  return framed(
    frame,
    scratch.slice(0, full),
    trials === 0 ? NOBODY : scratch.slice(scratch.length - trials).reverse(),
  );
}

/** As `buildView`, from a view of the same regime since which nobody but `touched` has changed. */
export function patchView(
  frame: ViewFrame,
  previous: View,
  touched: readonly number[],
  kindOf: (slot: number) => number | undefined,
): View {
  const ascending = [...new Set(touched)].sort((one, other) => one - other);
  return framed(
    frame,
    withChanges(previous.slots, ascending, (slot) => kindOf(slot) === FULL),
    withChanges(previous.trials, ascending, (slot) => kindOf(slot) === TRIAL),
  );
}

function framed(frame: ViewFrame, slots: Int32Array, trials: Int32Array): View {
  return {
    service: frame.service,
    revision: frame.revision,
    slots,
    trials,
    uniform: frame.uniform,
    registered: frame.registered,
    available: frame.counts.available,
    panic: frame.regime.panic !== 'off',
    fallback: frame.regime.fallback,
    empty: slots.length > 0 ? undefined : reasonOf(frame),
  };
}

function reasonOf({ registered, counts, regime: { panic } }: ViewFrame): EmptyReason {
  if (registered === 0) return 'none-registered';
  if (panic === 'reject' && counts.available > 0) return 'none-available';
  return (panic === 'route' ? counts.brokenInPanic : counts.broken) > 0 ? 'all-breakers-open' : 'none-available';
}
