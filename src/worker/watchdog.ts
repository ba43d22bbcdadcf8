import type { Clock } from '../core/clock.ts';

export interface WatchdogOptions {
  readonly clock: Clock;
  readonly threads: number;
  /** Rises as long as the thread is alive. */
  readonly beatsOf: (thread: number) => number;
  /** CPU time that the thread has used, in milliseconds; undefined where it cannot be known. */
  readonly cpuOf: (thread: number) => number | undefined;
  /** MiB. */
  readonly heapOf: (thread: number) => number;
  readonly maxHeapMb: number;
  readonly onBloated: (thread: number, heapMb: number) => void;
  /** The thread has not come round its event loop for `forMs`. */
  readonly onStuck: (thread: number, forMs: number) => void;
}

const LOOK_MS = 150;
/** Looks in a row that find no beat. */
const STUCK_LOOKS = 4;
/** A thread that hardly ran meanwhile is not in a loop: it was not given the CPU, or waits for a disk. It has longer. */
const IDLE_LOOKS = 20;
const LOOP_SHARE = 0.6;
/** A look that is later than this says nothing: whoever is late itself has no right to judge. */
const LATE_MS = 75;

/** Finds data-plane threads that do not come round their event loop any more, or whose heap grows without end. */
export class Watchdog {
  readonly #options: WatchdogOptions;
  readonly #beats: number[];
  readonly #missed: number[];
  /** CPU time at the first look that found no beat. */
  readonly #cpuMs: (number | undefined)[] = [];
  #lookedMs: number;
  #cancel: () => void;

  constructor(options: WatchdogOptions) {
    this.#options = options;
    this.#beats = new Array<number>(options.threads).fill(-1);
    this.#missed = new Array<number>(options.threads).fill(0);
    this.#lookedMs = options.clock.now();
    this.#cancel = this.#later();
  }

  /** The thread begins anew: it is watched from its first beat on. */
  reset(thread: number): void {
    this.#beats[thread] = -1;
    this.#missed[thread] = 0;
  }

  stop(): void {
    this.#cancel();
  }

  #later(): () => void {
    return this.#options.clock.after(LOOK_MS, () => {
      this.#look();
      this.#cancel = this.#later();
    });
  }

  #loops(thread: number, missed: number): boolean {
    const before = this.#cpuMs[thread];
    const now = this.#options.cpuOf(thread);
    if (before === undefined || now === undefined) return true;
    return now - before >= LOOP_SHARE * (missed - 1) * LOOK_MS;
  }

  #weigh(thread: number): void {
    const { heapOf, maxHeapMb, onBloated } = this.#options;
    const heapMb = heapOf(thread);
    if (heapMb > maxHeapMb) onBloated(thread, heapMb);
  }

  #look(): void {
    const { clock, threads, beatsOf, onStuck } = this.#options;
    const nowMs = clock.now();
    const late = nowMs - this.#lookedMs > LOOK_MS + LATE_MS;
    this.#lookedMs = nowMs;
    for (let thread = 0; thread < threads; thread++) {
      this.#weigh(thread);
      const beats = beatsOf(thread);
      const before = this.#beats[thread];
      const first = before === -1;
      if (first && beats === 0) continue;
      this.#beats[thread] = beats;
      if (late || first || beats !== before) {
        this.#missed[thread] = 0;
        continue;
      }
      const missed = ++(this.#missed[thread] as number);
      if (missed === 1) this.#cpuMs[thread] = this.#options.cpuOf(thread);
      if (missed < STUCK_LOOKS || (missed < IDLE_LOOKS && !this.#loops(thread, missed))) continue;
      this.reset(thread);
      onStuck(thread, missed * LOOK_MS);
    }
  }
}
