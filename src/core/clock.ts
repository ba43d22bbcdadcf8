import { hrtime } from 'node:process';

/**
 * Time is passed in, so that tests can move it. Every interval is measured with `now()`: wall time may jump.
 */
export interface Clock {
  /** Monotonic milliseconds with a fraction; the origin means nothing. */
  now(): number;
  /** Wall-clock milliseconds since the epoch: for people and for disks, never for intervals. */
  wall(): number;
  /**
   * Calls `task` once, `delayMs` from now at the earliest. Returns a function that cancels it (idempotent).
   * A timer never keeps the process alive by itself.
   */
  after(delayMs: number, task: () => void): () => void;
}

/** A constant of this module: the global would be looked up at every call, several times a request. */
const system = performance;
/** `performance` begins anew in every thread; the monotonic clock under it is the same for all of them. */
const originMs = Number(hrtime.bigint()) / 1e6 - system.now();

/** Its `now` is comparable between the threads of a process. */
export const systemClock: Clock = {
  now: () => originMs + system.now(),
  wall: () => Date.now(),
  after(delayMs, task) {
    // setTimeout fires at once for delays past 2^31-1 ms.
    const timer = setTimeout(task, Math.min(delayMs, 2_147_483_647));
    timer.unref();
    return () => {
      clearTimeout(timer);
    };
  },
};

/** Resolves after `delayMs`, or as soon as the signal aborts. Never rejects. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) {
      resolve();
      return;
    }
    const finish = (): void => {
      cancel();
      signal?.removeEventListener('abort', finish);
      resolve();
    };
    const cancel = clock.after(delayMs, finish);
    signal?.addEventListener('abort', finish, { once: true });
  });
}

interface PendingTask {
  readonly dueMs: number;
  readonly sequence: number;
  readonly task: () => void;
}

/** A clock that stands still until it is told to move. For tests and simulation. */
export class ManualClock implements Clock {
  #nowMs = 0;
  #wallMs: number;
  #sequence = 0;
  #tasks: PendingTask[] = [];

  constructor(wallMs = 1_700_000_000_000) {
    this.#wallMs = wallMs;
  }

  now(): number {
    return this.#nowMs;
  }

  wall(): number {
    return this.#wallMs;
  }

  after(delayMs: number, task: () => void): () => void {
    const entry = { dueMs: this.#nowMs + Math.max(0, delayMs), sequence: this.#sequence++, task };
    this.#tasks.push(entry);
    return () => {
      const at = this.#tasks.indexOf(entry);
      if (at >= 0) this.#tasks.splice(at, 1);
    };
  }

  /** Number of timers not yet due. */
  get pending(): number {
    return this.#tasks.length;
  }

  /** Moves time forward, running what falls due in order, each at its own instant. */
  advance(byMs: number): void {
    const endMs = this.#nowMs + byMs;
    while (true) {
      let next: PendingTask | undefined;
      for (const entry of this.#tasks) {
        if (entry.dueMs > endMs) continue;
        if (!next || entry.dueMs < next.dueMs || (entry.dueMs === next.dueMs && entry.sequence < next.sequence))
          next = entry;
      }
      if (!next) break;
      this.#tasks.splice(this.#tasks.indexOf(next), 1);
      this.#move(next.dueMs);
      next.task();
    }
    this.#move(endMs);
  }

  /** As `advance`, letting promise chains settle after every timer: for code that awaits between timers. */
  async advanceAsync(byMs: number, stepMs = byMs): Promise<void> {
    const endMs = this.#nowMs + byMs;
    while (this.#nowMs < endMs) {
      this.advance(Math.min(stepMs, endMs - this.#nowMs));
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Steps the wall clock alone, as an operator or NTP would. */
  stepWall(byMs: number): void {
    this.#wallMs += byMs;
  }

  #move(toMs: number): void {
    this.#wallMs += toMs - this.#nowMs;
    this.#nowMs = toMs;
  }
}
