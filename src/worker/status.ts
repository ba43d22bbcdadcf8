/** Cells of one thread, in the order of `STATUS`, over four bytes each. */
const CELLS = 16;

/** Where each figure is. */
const STATUS = {
  heartbeat: 0,
  connections: 1,
  requests: 2,
  idleUpstream: 3,
  heapMb: 4,
  threadId: 5,
  memoryMb: 6,
  /** Since the start of the process: outlives the thread. */
  refusedRequests: 7,
  /** Request of the last descriptor that the thread has taken, or one of the threads before it. */
  taken: 8,
} as const;
export type StatusFigure = keyof typeof STATUS;

/**
 * What each data-plane thread says of itself without being asked, over memory that all share: it is read by a scrape,
 * by the watchdog, and by the other threads, where a limit is one over all of them.
 */
export class ThreadStatus {
  readonly threads: number;
  readonly buffer: SharedArrayBuffer;
  readonly #cells: Int32Array;

  constructor(threads: number, buffer?: SharedArrayBuffer) {
    this.threads = threads;
    this.buffer = buffer ?? new SharedArrayBuffer(threads * CELLS * 4);
    this.#cells = new Int32Array(this.buffer);
  }

  get(thread: number, figure: StatusFigure): number {
    return Atomics.load(this.#cells, thread * CELLS + STATUS[figure]);
  }

  set(thread: number, figure: StatusFigure, value: number): void {
    Atomics.store(this.#cells, thread * CELLS + STATUS[figure], value);
  }

  add(thread: number, figure: StatusFigure, by: number): void {
    Atomics.add(this.#cells, thread * CELLS + STATUS[figure], by);
  }

  beat(thread: number): void {
    this.add(thread, 'heartbeat', 1);
  }

  sum(figure: StatusFigure): number {
    let sum = 0;
    for (let thread = 0; thread < this.threads; thread++) sum += this.get(thread, figure);
    return sum;
  }

  /** The thread is no more: what it had open is closed, and it has not begun to live again. */
  clear(thread: number): void {
    for (const figure of ['heartbeat', 'connections', 'requests', 'idleUpstream', 'heapMb', 'memoryMb'] as const)
      this.set(thread, figure, 0);
  }
}
