import type { Clock } from '../core/clock.ts';
import type { Figures } from './figures.ts';
import type { MemberRecord } from './member-record.ts';
import type { ServiceRecord } from './service-record.ts';

/** Whether all threads that make attempts have taken over what was published up to a moment. */
export interface Barrier {
  /** Of the moment of the call. The result says true from when all of them have, for ever. */
  mark(): () => boolean;
}

/** Whoever ends the last request of a leaving member says so; this is for other threads, and for the case that nobody did. */
const SWEEP_MS = 100;

/**
 * Removed members that no view lists any more, until none of their requests is in flight and no thread can begin one.
 * Their number is bounded by the slots.
 */
export class Departures {
  readonly #clock: Clock;
  readonly #figures: Figures;
  readonly #barrier: Barrier | undefined;
  readonly #free: (member: MemberRecord) => void;
  /** Services that have such members. */
  readonly #services = new Set<ServiceRecord>();
  /** Of the moment at which each of them departed; empty without a barrier. */
  readonly #passed = new Map<MemberRecord, () => boolean>();
  #cancelSweep: (() => void) | undefined;

  constructor(clock: Clock, figures: Figures, barrier: Barrier | undefined, free: (member: MemberRecord) => void) {
    this.#clock = clock;
    this.#figures = figures;
    this.#barrier = barrier;
    this.#free = free;
  }

  /** Obligation: the member is in no view, and never will be again, and listeners have been told of that view. */
  depart(member: MemberRecord): void {
    if (this.#barrier) this.#passed.set(member, this.#barrier.mark());
    if (this.#isDone(member)) {
      this.#passed.delete(member);
      this.#free(member);
      return;
    }
    member.service.addLeaving(member);
    this.#services.add(member.service);
    this.#sweepLater();
  }

  /** An attempt on the member has ended. */
  released(member: MemberRecord): void {
    if (!this.#isDone(member) || !member.service.deleteLeaving(member)) return;
    if (member.service.leaving.size === 0) this.#services.delete(member.service);
    this.#passed.delete(member);
    this.#free(member);
  }

  close(): void {
    this.#cancelSweep?.();
    this.#services.clear();
    this.#passed.clear();
  }

  #isDone(member: MemberRecord): boolean {
    // In this order: a thread that has passed can begin no attempt, so that none in flight is none for ever.
    if (this.#passed.get(member)?.() === false) return false;
    return Atomics.load(this.#figures.inflight, member.slot) === 0;
  }

  #sweepLater(): void {
    this.#cancelSweep ??= this.#clock.after(SWEEP_MS, () => {
      this.#cancelSweep = undefined;
      for (const service of this.#services) for (const member of service.leaving) this.released(member);
      if (this.#services.size > 0) this.#sweepLater();
    });
  }
}
