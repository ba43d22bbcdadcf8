import type { Clock } from '../core/clock.ts';

/** A thread that dies sooner than this after its beginning is not replaced at once. */
const HEALTHY_MS = 10_000;
const FIRST_MS = 100;
const MAX_MS = 5000;

/** When a thread that has died is replaced: at once, and ever later where its successors die as well. */
export class Replacement {
  readonly #clock: Clock;
  readonly #begin: () => void;
  #backoffMs = 0;
  #cancel: (() => void) | undefined;

  constructor(clock: Clock, begin: () => void) {
    this.#clock = clock;
    this.#begin = begin;
  }

  /** They die one after the other. */
  get isStruggling(): boolean {
    return this.#backoffMs > FIRST_MS;
  }

  /** One has died after `livedMs`. Returns when the next one begins, in milliseconds from now. */
  after(livedMs: number): number {
    this.#backoffMs =
      livedMs >= HEALTHY_MS ? 0 : this.#backoffMs === 0 ? FIRST_MS : Math.min(2 * this.#backoffMs, MAX_MS);
    const waitMs = this.#backoffMs;
    this.#cancel?.();
    this.#cancel = this.#clock.after(waitMs, this.#begin);
    return waitMs;
  }

  stop(): void {
    this.#cancel?.();
  }
}
