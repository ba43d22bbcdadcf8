import type { Clock } from '../core/clock.ts';

/** Slices of the window: what is old leaves it in steps of a tenth. */
const BUCKETS = 10;

/**
 * Successes and failures of the last `windowMs`, give or take a tenth. It turns when it is looked at, by the clock it is
 * given: 100,000 of them cost nothing while nobody does.
 */
export class AttemptWindow {
  readonly #clock: Clock;
  readonly #bucketMs: number;
  /** Successes of a bucket at twice its index, failures after them. */
  readonly #counts: number[] = new Array<number>(2 * BUCKETS).fill(0);
  /** Number of the current bucket since the clock began. */
  #current: number;
  #successes = 0;
  #failures = 0;

  constructor(clock: Clock, windowMs: number) {
    this.#clock = clock;
    this.#bucketMs = windowMs / BUCKETS;
    this.#current = Math.floor(clock.now() / this.#bucketMs);
  }

  addSuccess(): void {
    this.#turn();
    this.#count(0);
    this.#successes++;
  }

  addFailure(): void {
    this.#turn();
    this.#count(1);
    this.#failures++;
  }

  get successes(): number {
    this.#turn();
    return this.#successes;
  }

  get failures(): number {
    this.#turn();
    return this.#failures;
  }

  #count(failed: 0 | 1): void {
    const at = 2 * (this.#current % BUCKETS) + failed;
    this.#counts[at] = (this.#counts[at] ?? 0) + 1;
  }

  #turn(): void {
    const now = Math.floor(this.#clock.now() / this.#bucketMs);
    // After a whole window of silence every bucket is stale once.
    const stale = Math.min(now - this.#current, BUCKETS);
    if (stale <= 0) return;
    this.#current = now;
    for (let back = 0; back < stale; back++) {
      const at = 2 * ((now - back) % BUCKETS);
      this.#successes -= this.#counts[at] ?? 0;
      this.#failures -= this.#counts[at + 1] ?? 0;
      this.#counts[at] = 0;
      this.#counts[at + 1] = 0;
    }
  }
}
