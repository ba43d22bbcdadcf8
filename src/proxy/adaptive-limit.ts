import type { Figures } from '../upstream/figures.ts';

/** What is tried with an instance of which nothing is known. */
const FIRST = 20;
const MIN = 4;
const MAX = 1000;
/** Recent answers this much slower than those of the long run: it has more to do than it can. */
const SLOWED = 2;
const CUT = 0.9;
/** Cuts are at least so far apart, or an average answer where that takes longer: each must show before the next. */
const CUT_EVERY_MS = 100;
/** Share of a new sample in the long average, and while the limit is at its minimum. */
const LONG_WEIGHT = 1 / 400;
const MIN_WEIGHT = 1 / 20;
/** Of what once took long little is remembered as soon as it does no longer: else everything would seem fast. */
const FORGET = 0.95;
/** Attempts of which nothing is concluded but how long they take. */
const WARM_UP = 50;

type Columns = Pick<Figures, 'limit' | 'latencyMs' | 'latencyLongMs' | 'limitCutMs' | 'inflight' | 'attempts'>;

/** Attempts that may be in flight to the instance at once. */
export function adaptiveLimit(figures: Pick<Figures, 'limit'>, slot: number): number {
  return Math.floor(figures.limit[slot] || FIRST);
}

/**
 * A response head has come after `sampleMs`, and is in the averages. While answers come about as fast as in the long
 * run, and the limit is in use, it grows by its square root in the time of one answer; while they take more than twice
 * as long, it shrinks by a tenth (the gradient of Netflix's concurrency-limits, with a cut in its place).
 */
export function adapt(figures: Columns, slot: number, sampleMs: number, nowMs: number): void {
  const recentMs = figures.latencyMs[slot] as number;
  if ((figures.attempts[slot] as number) < WARM_UP) {
    figures.latencyLongMs[slot] = recentMs;
    return;
  }
  const limit = figures.limit[slot] || FIRST;
  const inUse = (figures.inflight[slot] as number) * 2 >= limit;
  const longMs = longAverage(figures.latencyLongMs[slot] || recentMs, recentMs, sampleMs, limit, inUse);
  figures.latencyLongMs[slot] = longMs;
  if (recentMs > SLOWED * longMs) overload(figures, slot, nowMs);
  else if (inUse) figures.limit[slot] = Math.min(MAX, limit + 1 / Math.sqrt(limit));
}

/**
 * How long answers take when nobody has to wait for others: learned while few are in flight. At the limit an answer
 * waits for others, and a long average over those would make of any overload what is usual. At the minimum of the limit
 * nobody waits: an instance that has become slower for good is found to be so there, and starts anew from it.
 */
function longAverage(beforeMs: number, recentMs: number, sampleMs: number, limit: number, inUse: boolean): number {
  if (beforeMs > SLOWED * recentMs) return beforeMs * FORGET;
  if (limit <= MIN) return beforeMs + (sampleMs - beforeMs) * MIN_WEIGHT;
  return inUse ? beforeMs : beforeMs + (sampleMs - beforeMs) * LONG_WEIGHT;
}

/** The instance has said, or shown by a timeout, that it has too much to do. */
export function overload(figures: Columns, slot: number, nowMs: number): void {
  if (nowMs - (figures.limitCutMs[slot] as number) < Math.max(CUT_EVERY_MS, figures.latencyMs[slot] as number)) return;
  figures.limitCutMs[slot] = nowMs;
  figures.limit[slot] = Math.max(MIN, (figures.limit[slot] || FIRST) * CUT);
}
