import { seededRandom } from '../../src/core/random.ts';

export interface ScheduleOptions {
  readonly ratePerS: number;
  readonly lengthMs: number;
  /** The same seed gives the same schedule. */
  readonly seed: number;
}

/** Exponential gaps (a Poisson process), as from many independent clients; ascending, in ms from the start. */
export function poissonSchedule({ ratePerS, lengthMs, seed }: ScheduleOptions): Float64Array {
  const random = seededRandom(seed);
  const due: number[] = [];
  const meanGapMs = 1000 / ratePerS;
  for (let atMs = 0; ;) {
    atMs -= Math.log(1 - random()) * meanGapMs;
    if (atMs >= lengthMs) return Float64Array.from(due);
    due.push(atMs);
  }
}
