import type { Clock } from './clock.ts';

/**
 * Lets work that costs the same whatever it holds come in bursts, and in a storm only so often, so that more is taken
 * together then.
 */
export class Pace {
  readonly #clock: Clock;
  readonly #burst: number;
  readonly #everyMs: number;
  /** `clock.now()` from when on all of the burst may be used again; each turn moves it on. */
  #restedMs = -Infinity;

  /** `burst` turns one after another at most, and as many again after a rest of `burst * everyMs`. */
  constructor(clock: Clock, { burst, everyMs }: { readonly burst: number; readonly everyMs: number }) {
    this.#clock = clock;
    this.#burst = burst;
    this.#everyMs = everyMs;
  }

  /** Milliseconds until the next turn may come; 0 or less = now. */
  get waitMs(): number {
    return this.#restedMs - this.#burst * this.#everyMs - this.#clock.now();
  }

  /** A turn has come. */
  turn(): void {
    this.#restedMs = Math.max(this.#restedMs, this.#clock.now()) + this.#everyMs;
  }
}
