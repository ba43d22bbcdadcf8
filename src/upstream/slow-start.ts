import type { Clock } from '../core/clock.ts';
import type { SlowStartPolicy } from '../core/policy.ts';
import type { MemberRecord } from './member-record.ts';
import type { ServiceRecord } from './service-record.ts';

const STEP_MS = 100;
/** Bounds one step: with more than this to do, the steps of each member are further apart. */
const COST_PER_STEP = 5000;
/** What a new view costs, in members that get another weight. */
const COST_OF_VIEW = 20;

/**
 * The part of its weight that an instance has `elapsedMs` after it became available: from `minShare` to 1 at the end of
 * the ramp, never falling. `linear` adds the same in equal times, `exponential` multiplies by the same.
 */
export function rampShare({ durationMs, curve, minShare }: SlowStartPolicy, elapsedMs: number): number {
  if (elapsedMs >= durationMs) return 1;
  const progress = Math.max(0, elapsedMs) / durationMs;
  return curve === 'linear' ? minShare + (1 - minShare) * progress : minShare ** (1 - progress);
}

export interface RampsOptions {
  readonly clock: Clock;
  /** The share of the member is another one. */
  readonly onShare: (member: MemberRecord) => void;
  /** Shares of the service are others: a new view has to tell. */
  readonly onStep: (service: ServiceRecord) => void;
}

/** The members that have not been available for long. One timer for all of them, and none while there are none. */
export class Ramps {
  readonly #options: RampsOptions;
  /** When each began, by `clock.now()`. */
  readonly #began = new Map<MemberRecord, number>();
  /** Where the next step goes on. */
  #cursor: Iterator<MemberRecord, undefined> | undefined;
  #cancelStep: (() => void) | undefined;

  constructor(options: RampsOptions) {
    this.#options = options;
  }

  begin(member: MemberRecord): void {
    if (member.service.policy.slowStart.durationMs === 0) return;
    if (!this.#began.has(member)) member.service.ramping++;
    this.#began.set(member, this.#options.clock.now());
    this.#stepLater();
  }

  end(member: MemberRecord): void {
    if (this.#began.delete(member)) member.service.ramping--;
  }

  /** 1 where it does not ramp. */
  shareOf(member: MemberRecord): number {
    const beganMs = this.#began.get(member);
    if (beganMs === undefined) return 1;
    return rampShare(member.service.policy.slowStart, this.#options.clock.now() - beganMs);
  }

  close(): void {
    this.#cancelStep?.();
    this.#began.clear();
  }

  #stepLater(): void {
    this.#cancelStep ??= this.#options.clock.after(STEP_MS, () => {
      this.#cancelStep = undefined;
      this.#step();
      if (this.#began.size > 0) this.#stepLater();
    });
  }

  #step(): void {
    const { onShare, onStep } = this.#options;
    // Iterators of maps live with the map: who begins meanwhile comes last, who ends is passed over.
    this.#cursor ??= this.#began.keys();
    for (let cost = 0; cost < COST_PER_STEP; cost++) {
      const { value: member } = this.#cursor.next();
      if (!member) {
        this.#cursor = undefined;
        return;
      }
      if (this.shareOf(member) === 1) this.end(member);
      onShare(member);
      if (!member.service.dirty) cost += COST_OF_VIEW;
      onStep(member.service);
    }
  }
}
