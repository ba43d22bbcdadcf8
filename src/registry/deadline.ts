import type { Clock } from '../core/clock.ts';

/** What did not come in time. `message` reads as part of a sentence: "no answer within 5000 ms". */
export class DeadlinePassed extends Error {
  override readonly name = 'DeadlinePassed';

  constructor(what: string, limitMs: number) {
    super(`no ${what} within ${limitMs} ms`);
  }
}

/** One timer that is armed anew for every phase of an exchange. Fires at most once per arming. */
export class Deadline {
  readonly #clock: Clock;
  readonly #onPassed: (error: DeadlinePassed) => void;
  #cancel: (() => void) | undefined;

  constructor(clock: Clock, onPassed: (error: DeadlinePassed) => void) {
    this.#clock = clock;
    this.#onPassed = onPassed;
  }

  /** Replaces what was armed before. */
  set(what: string, limitMs: number): void {
    this.#cancel?.();
    this.#cancel = this.#clock.after(limitMs, () => this.#onPassed(new DeadlinePassed(what, limitMs)));
  }

  clear(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }
}
