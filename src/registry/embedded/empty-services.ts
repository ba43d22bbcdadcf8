import type { Clock } from '../../core/clock.ts';

/**
 * Services whose last instance has gone. They stay known for a while: between the stop of an only instance and the
 * start of the next, clients must hear "no instance right now" and not "no such service".
 */
export class EmptyServices {
  readonly #clock: Clock;
  readonly #keepMs: number;
  readonly #limit: number;
  readonly #onForget: (service: string) => void;
  /** When each became empty; oldest first. */
  readonly #since = new Map<string, number>();
  #cancelTimer: (() => void) | undefined;

  constructor(options: {
    readonly clock: Clock;
    readonly keepMs: number;
    /** Beyond it the oldest goes early: names come from outside. */
    readonly limit: number;
    readonly onForget: (service: string) => void;
  }) {
    this.#clock = options.clock;
    this.#keepMs = options.keepMs;
    this.#limit = options.limit;
    this.#onForget = options.onForget;
  }

  add(service: string): void {
    this.#since.delete(service);
    this.#since.set(service, this.#clock.now());
    this.#forgetDue();
  }

  delete(service: string): void {
    this.#since.delete(service);
  }

  stop(): void {
    this.#since.clear();
    this.#cancelTimer?.();
  }

  #forgetDue(): void {
    const nowMs = this.#clock.now();
    for (const [service, sinceMs] of this.#since) {
      const leftMs = sinceMs + this.#keepMs - nowMs;
      if (leftMs > 0 && this.#since.size <= this.#limit) {
        this.#cancelTimer ??= this.#clock.after(leftMs, () => {
          this.#cancelTimer = undefined;
          this.#forgetDue();
        });
        return;
      }
      this.#since.delete(service);
      this.#onForget(service);
    }
  }
}
