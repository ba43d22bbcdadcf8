import type { Clock } from '../core/clock.ts';
import type { Figures } from './figures.ts';
import type { MemberRecord } from './member-record.ts';

/** Whoever ends the last request of a leaving member says so; this is for the case that nobody did. */
const SWEEP_MS = 1000;

/**
 * Removed members until they may be freed: when no view lists them any more and none of their requests is in flight.
 * Their number is bounded by the slots.
 */
export class Departures {
  readonly #clock: Clock;
  readonly #figures: Figures;
  readonly #free: (member: MemberRecord) => void;
  readonly #leaving = new Set<MemberRecord>();
  #cancelSweep: (() => void) | undefined;

  constructor(clock: Clock, figures: Figures, free: (member: MemberRecord) => void) {
    this.#clock = clock;
    this.#figures = figures;
    this.#free = free;
  }

  add(member: MemberRecord): void {
    this.#leaving.add(member);
    this.#sweepLater();
  }

  /** Frees the member if it may be freed. */
  consider(member: MemberRecord): void {
    if (!member.unlisted || this.#figures.inflight[member.slot] !== 0) return;
    if (this.#leaving.delete(member)) this.#free(member);
  }

  close(): void {
    this.#cancelSweep?.();
    this.#leaving.clear();
  }

  #sweepLater(): void {
    this.#cancelSweep ??= this.#clock.after(SWEEP_MS, () => {
      this.#cancelSweep = undefined;
      for (const member of this.#leaving) this.consider(member);
      if (this.#leaving.size > 0) this.#sweepLater();
    });
  }
}
