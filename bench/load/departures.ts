import { Histogram } from './histogram.ts';

/** The process may lose the processor between the two readings, but not each time. */
const readTwice = (): number => Number(process.hrtime.bigint()) / 1e6 - performance.now();
const MONOTONIC_MS = Math.max(...Array.from({ length: 20 }, readTwice));

/** The same on all threads of the machine, unlike `performance.now()`. */
export const monotonicMs = (): number => MONOTONIC_MS + performance.now();

const HEAD = 0;
const TAIL = 1;
const STOPPED = 2;
const CELLS = 3;
const NO_REQUEST = -1;

/** What the one who sends and the one who reads replies share, on one thread or on two. */
export class Slots {
  readonly buffer: SharedArrayBuffer;
  readonly #cells: Int32Array;
  /** Free connections, used in turn so that all of them stay warm. */
  readonly #free: Int32Array;
  /** Index into the schedule of what each connection waits for. */
  readonly #waiting: Int32Array;

  constructor(connections: number, buffer = new SharedArrayBuffer((CELLS + 2 * connections) * 4)) {
    this.buffer = buffer;
    this.#cells = new Int32Array(buffer, 0, CELLS);
    this.#free = new Int32Array(buffer, CELLS * 4, connections);
    this.#waiting = new Int32Array(buffer, (CELLS + connections) * 4, connections);
  }

  /** Takes a free connection for a request; undefined = none is free. */
  take(request: number): number | undefined {
    const head = this.#cells[HEAD] ?? 0;
    if (head === Atomics.load(this.#cells, TAIL)) return undefined;
    const slot = this.#free[head % this.#free.length] ?? 0;
    this.#cells[HEAD] = head + 1;
    Atomics.store(this.#waiting, slot, request);
    return slot;
  }

  /** Never more often than there are connections: a lost one is not given back. */
  give(slot: number): void {
    const tail = this.#cells[TAIL] ?? 0;
    this.#free[tail % this.#free.length] = slot;
    Atomics.store(this.#cells, TAIL, tail + 1);
    Atomics.notify(this.#cells, TAIL);
  }

  /** Blocks until a connection may be free, `forMs` at the longest. */
  waitForFree(forMs: number): void {
    const head = this.#cells[HEAD] ?? 0;
    Atomics.wait(this.#cells, TAIL, head, forMs);
  }

  /** Blocks for so long, to a few microseconds where the kernel's timer slack is small. */
  sleep(forMs: number): void {
    Atomics.wait(this.#cells, STOPPED, 0, forMs);
  }

  /** What the connection waits for, which from now on is nothing; undefined = it is free. */
  settle(slot: number): number | undefined {
    const request = Atomics.exchange(this.#waiting, slot, NO_REQUEST);
    return request === NO_REQUEST ? undefined : request;
  }

  clear(): void {
    this.#waiting.fill(NO_REQUEST);
  }

  stop(): void {
    Atomics.store(this.#cells, STOPPED, 1);
    Atomics.notify(this.#cells, STOPPED);
  }

  get stopped(): boolean {
    return Atomics.load(this.#cells, STOPPED) === 1;
  }
}

export interface DeparturesOptions {
  /** Ascending, in ms from `startMs`. */
  readonly due: Float64Array;
  /** By `monotonicMs`. */
  readonly startMs: number;
  /** What is due before is sent, and not timed. */
  readonly timedFromMs: number;
  readonly slots: Slots;
  readonly write: (slot: number) => void;
}

/** Sends each request when it is due, or as soon after as a connection is free. */
export class Departures {
  /** From due to written: what the generator itself, or a lack of free connections, added. */
  readonly late = new Histogram();
  readonly #options: DeparturesOptions;
  #next = 0;

  constructor(options: DeparturesOptions) {
    this.#options = options;
  }

  get sent(): number {
    return this.#next;
  }

  /** Until the next one is due, in ms; 0 = it is due, and no connection is free; Infinity = all are sent. */
  sendDue(): number {
    const { due, startMs, timedFromMs, slots, write } = this.#options;
    for (;;) {
      const dueMs = due[this.#next];
      if (dueMs === undefined) return Infinity;
      const inMs = startMs + dueMs - monotonicMs();
      if (inMs > 0) return inMs;
      const slot = slots.take(this.#next);
      if (slot === undefined) return 0;
      this.#next += 1;
      write(slot);
      if (dueMs >= timedFromMs) this.late.recordUs((monotonicMs() - startMs - dueMs) * 1000);
    }
  }
}
