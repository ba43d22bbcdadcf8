import { longestFastGapMs, type CheckTiming } from '../core/check.ts';
import type { Random } from '../core/random.ts';

/**
 * The share of the interval, in [0, 1), at which a check has its turn: the same for the same name on every start, and
 * evenly spread over many names. FNV-1a, then Murmur3's finalizer, because FNV leaves similar names close together.
 */
export function phaseOf(name: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < name.length; at++) hash = Math.imul(hash ^ name.charCodeAt(at), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) / 4_294_967_296;
}

/**
 * The next turn of a settled check: its place on the grid `phase + n × interval`, moved by up to half the jitter either
 * way, so that two neighbours are never further apart than `interval × (1 + jitter)`. Coming back to the grid is what
 * dissolves a convoy after a stall or a mass failure; turns missed meanwhile are not made up for.
 *
 * `turnMs`: the turn on the grid that has just been taken; undefined after a turn off the grid.
 */
export function steadyTurnMs(
  timing: CheckTiming,
  phase: number,
  turnMs: number | undefined,
  nowMs: number,
  random: Random,
): number {
  const { intervalMs, jitter } = timing;
  const offsetMs = phase * intervalMs;
  const comingIndex = Math.ceil((nowMs - offsetMs) / intervalMs);
  const index =
    turnMs === undefined ? comingIndex : Math.max(comingIndex, Math.round((turnMs - offsetMs) / intervalMs) + 1);
  return Math.max(nowMs, offsetMs + (index + (random() - 0.5) * jitter) * intervalMs);
}

/** The next turn while results disagree with the verdict. Jitter only shortens the gap: detection time is a promise. */
export function fastTurnMs(timing: CheckTiming, startedMs: number, nowMs: number, random: Random): number {
  return Math.max(nowMs, startedMs + longestFastGapMs(timing) * (1 - random() * timing.jitter));
}

/** When to ask again after a result that did not count. */
export function retryTurnMs(timing: CheckTiming, nowMs: number, random: Random): number {
  return nowMs + longestFastGapMs(timing) * (1 - random() / 2);
}

const FIRST_BURST = 100;

/** Turns of checks never asked before: at once, unless thousands arrive together; those are spread in order of arrival. */
export class FirstTurns {
  readonly #gapMs: number;
  #nextMs = Number.NEGATIVE_INFINITY;

  constructor(perSecond: number) {
    this.#gapMs = 1000 / perSecond;
  }

  next(nowMs: number): number {
    this.#nextMs = Math.max(this.#nextMs, nowMs - FIRST_BURST * this.#gapMs) + this.#gapMs;
    return Math.max(nowMs, this.#nextMs);
  }
}
