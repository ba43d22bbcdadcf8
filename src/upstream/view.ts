import type { Candidates } from '../balance/balancer.ts';
import { FULL, type Panic, TRAFFIC, TRIAL } from './availability.ts';

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
  /** Members in the registries' tables, whatever their state. */
  readonly registered: number;
  /** Members that may have full traffic by their own state, panic aside. */
  readonly available: number;
  /** Too few are available: probe verdicts are ignored (`slots` is fuller), or all is rejected (`slots` is empty). */
  readonly panic: boolean;
  /** Defined exactly when `slots` is empty; `trials` may still have someone. */
  readonly empty: EmptyReason | undefined;
}

/** What a service has counted of its members, by `COUNTED`. */
export type Counts = Readonly<Record<'available' | 'broken' | 'brokenInPanic', number>>;

export interface ViewSource {
  readonly service: string;
  readonly revision: number;
  /** Slots of all members, ascending. Copied. */
  readonly members: Int32Array;
  /** By slot: `pack`ed standings. */
  readonly codes: Uint16Array;
  readonly counts: Counts;
  readonly panic: Panic;
  readonly uniform: boolean;
}

const NOBODY = new Int32Array(0);

/** Grows to the largest service, and serves one build at a time. */
let scratch = new Int32Array(1024);

/** One pass over two typed arrays; no object of a member is touched. */
export function buildView(source: ViewSource): View {
  const { members, codes, counts, panic } = source;
  const traffic = TRAFFIC[panic];
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
  return {
    service: source.service,
    revision: source.revision,
    slots: scratch.slice(0, full),
    trials: trials === 0 ? NOBODY : scratch.slice(scratch.length - trials).reverse(),
    uniform: source.uniform,
    registered: count,
    available: counts.available,
    panic: panic !== 'off',
    empty: full > 0 ? undefined : reasonOf(count, counts, panic),
  };
}

function reasonOf(registered: number, counts: Counts, panic: Panic): EmptyReason {
  if (registered === 0) return 'none-registered';
  if (panic === 'reject' && counts.available > 0) return 'none-available';
  return (panic === 'route' ? counts.brokenInPanic : counts.broken) > 0 ? 'all-breakers-open' : 'none-available';
}
