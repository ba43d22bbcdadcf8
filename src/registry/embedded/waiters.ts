import type { Clock } from '../../core/clock.ts';

/** Blocking queries: each waits for one service to change, for its time to run out, or for its client to go away. */
export class Waiters {
  readonly #clock: Clock;
  readonly #limit: number;
  readonly #byService = new Map<string, Set<() => void>>();
  #size = 0;

  constructor(options: { readonly clock: Clock; readonly limit: number }) {
    this.#clock = options.clock;
    this.#limit = options.limit;
  }

  get size(): number {
    return this.#size;
  }

  /** Resolves when it is time to look again. Undefined: there are too many already. */
  wait(service: string, waitMs: number, signal: AbortSignal): Promise<void> | undefined {
    if (this.#size >= this.#limit) return undefined;
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const waiting = this.#byService.get(service) ?? new Set();
      const wake = (): void => {
        if (!waiting.delete(wake)) return;
        if (waiting.size === 0) this.#byService.delete(service);
        this.#size--;
        cancel();
        signal.removeEventListener('abort', wake);
        resolve();
      };
      const cancel = this.#clock.after(waitMs, wake);
      signal.addEventListener('abort', wake, { once: true });
      this.#byService.set(service, waiting.add(wake));
      this.#size++;
    });
  }

  wake(service: string): void {
    for (const wake of [...(this.#byService.get(service) ?? [])]) wake();
  }

  wakeAll(): void {
    for (const service of [...this.#byService.keys()]) this.wake(service);
  }
}
