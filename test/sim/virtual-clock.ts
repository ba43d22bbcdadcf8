import type { Clock } from '../../src/core/clock.ts';

interface Timer {
  readonly dueMs: number;
  readonly sequence: number;
  readonly owner: OwnedClock;
  /** Undefined once it has run or been cancelled. */
  task: (() => void) | undefined;
}

/**
 * Time of a simulated world: it jumps from timer to timer. A heap, because a run has thousands of them, and one clock for
 * each owner, so that the timers that the gateway holds are told apart from those of the world around it.
 */
export class VirtualTime {
  /** Not 0: some figures take that for "never". */
  nowMs = 1000;
  wallMs = 1_700_000_000_000;
  readonly #heap: Timer[] = [];
  #sequence = 0;

  clock(): OwnedClock {
    return new OwnedClock(this);
  }

  schedule(owner: OwnedClock, delayMs: number, task: () => void): () => void {
    const timer: Timer = {
      dueMs: this.nowMs + Math.max(0, delayMs),
      sequence: this.#sequence++,
      owner,
      task,
    };
    owner.pending++;
    this.#push(timer);
    return () => {
      if (timer.task === undefined) return;
      timer.task = undefined;
      owner.pending--;
    };
  }

  /** Runs the next timer that is due by `untilMs`, at its own instant; false, with the time there, where there is none. */
  step(untilMs: number): boolean {
    while (true) {
      const next = this.#heap[0];
      if (next === undefined || next.dueMs > untilMs) break;
      this.#pop();
      const { task, owner } = next;
      if (task === undefined) continue;
      next.task = undefined;
      owner.pending--;
      if (owner.halted) continue;
      this.#move(Math.max(this.nowMs, next.dueMs));
      task();
      return true;
    }
    this.#move(Math.max(this.nowMs, untilMs));
    return false;
  }

  /** The event loop is blocked for so long: whatever falls due meanwhile runs late. */
  stall(forMs: number): void {
    this.#move(this.nowMs + forMs);
  }

  #move(toMs: number): void {
    this.wallMs += toMs - this.nowMs;
    this.nowMs = toMs;
  }

  #push(timer: Timer): void {
    const heap = this.#heap;
    let at = heap.push(timer) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(timer, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = timer;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let at = 0;
    while (true) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }
}

function isBefore(one: Timer, other: Timer): boolean {
  return one.dueMs < other.dueMs || (one.dueMs === other.dueMs && one.sequence < other.sequence);
}

/** One owner's view of the time, with the number of timers it holds. */
export class OwnedClock implements Clock {
  pending = 0;
  halted = false;
  readonly #time: VirtualTime;

  constructor(time: VirtualTime) {
    this.#time = time;
  }

  now(): number {
    return this.#time.nowMs;
  }

  wall(): number {
    return this.#time.wallMs;
  }

  /** Nothing of it runs any more: its owner is dead. */
  halt(): void {
    this.halted = true;
  }

  after(delayMs: number, task: () => void): () => void {
    return this.#time.schedule(this, delayMs, task);
  }
}
