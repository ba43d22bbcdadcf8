import type { Clock } from '../core/clock.ts';
import type { Figures } from './figures.ts';
import type { MemberRecord } from './member-record.ts';
import type { ServiceRecord } from './service-record.ts';

/** Whoever ends the last request of a leaving member says so; this is for the case that nobody did. */
const SWEEP_MS = 1000;

/**
 * Removed members that no view lists any more, until none of their requests is in flight. Their number is bounded by
 * the slots.
 */
export class Departures {
  readonly #clock: Clock;
  readonly #figures: Figures;
  readonly #free: (member: MemberRecord) => void;
  /** Services that have such members. */
  readonly #services = new Set<ServiceRecord>();
  #cancelSweep: (() => void) | undefined;

  constructor(clock: Clock, figures: Figures, free: (member: MemberRecord) => void) {
    this.#clock = clock;
    this.#figures = figures;
    this.#free = free;
  }

  /** Obligation: the member is in no view, and never will be again. */
  depart(member: MemberRecord): void {
    if (this.#figures.inflight[member.slot] === 0) {
      this.#free(member);
      return;
    }
    member.service.leaving.add(member);
    this.#services.add(member.service);
    this.#sweepLater();
  }

  /** An attempt on the member has ended. */
  released(member: MemberRecord): void {
    if (this.#figures.inflight[member.slot] !== 0 || !member.service.leaving.delete(member)) return;
    if (member.service.leaving.size === 0) this.#services.delete(member.service);
    this.#free(member);
  }

  close(): void {
    this.#cancelSweep?.();
    this.#services.clear();
  }

  #sweepLater(): void {
    this.#cancelSweep ??= this.#clock.after(SWEEP_MS, () => {
      this.#cancelSweep = undefined;
      for (const service of this.#services) for (const member of service.leaving) this.released(member);
      if (this.#services.size > 0) this.#sweepLater();
    });
  }
}
