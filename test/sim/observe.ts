import type { Permit } from '../../src/breaker/breaker.ts';
import { BreakerGate } from '../../src/breaker/gate.ts';
import { Figures } from '../../src/upstream/figures.ts';

/** What a run sees of every data plane, on whatever thread it is. */
export interface AttemptObserver {
  /** An attempt takes its place in flight. */
  taken(slot: number): void;
  /** A breaker lets an attempt through. Returns the permit in whose place that is given. */
  admitted(slot: number, permit: Permit): Permit;
}

let observer: AttemptObserver | undefined;

/** From now on this run is told: one at a time. */
export function observeAttempts(next: AttemptObserver | undefined): void {
  observer = next;
}

// Whoever makes an attempt goes through these two methods, and nothing of a thread can be reached otherwise.
type Admit = (this: BreakerGate, ...given: Parameters<BreakerGate['admit']>) => Permit | undefined;
const gates: { admit: Admit } = BreakerGate.prototype;
const { admit } = gates;
gates.admit = function (...given) {
  const permit = admit.apply(this, given);
  return permit && observer ? observer.admitted(given[0], permit) : permit;
};

const all: { take: (this: Figures, slot: number) => number } = Figures.prototype;
const { take } = all;
all.take = function (slot) {
  observer?.taken(slot);
  return take.call(this, slot);
};
