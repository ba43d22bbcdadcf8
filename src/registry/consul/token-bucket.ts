import { sleep, type Clock } from '../../core/clock.ts';

export interface Rate {
  /** Taken at once after a quiet time. */
  readonly burst: number;
  /** Sustained. */
  readonly perSecond: number;
}

/** Bounds how often a loop turns without delaying one that turns rarely, as a pause in every turn would. */
export class TokenBucket {
  readonly #rate: Rate;
  readonly #clock: Clock;
  #tokens: number;
  #atMs: number;

  constructor(rate: Rate, clock: Clock) {
    this.#rate = rate;
    this.#clock = clock;
    this.#tokens = rate.burst;
    this.#atMs = clock.now();
  }

  /** Resolves when the turn may be taken, or as soon as the signal aborts. Several takers are served in order. */
  async take(signal: AbortSignal): Promise<void> {
    const nowMs = this.#clock.now();
    const refilled = this.#tokens + ((nowMs - this.#atMs) / 1000) * this.#rate.perSecond;
    // Below zero are those who wait already.
    this.#tokens = Math.min(this.#rate.burst, refilled) - 1;
    this.#atMs = nowMs;
    if (this.#tokens < 0) await sleep(this.#clock, (-this.#tokens / this.#rate.perSecond) * 1000, signal);
  }
}
