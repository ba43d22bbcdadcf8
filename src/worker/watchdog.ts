import type { Clock } from '../core/clock.ts';

export interface WatchdogOptions {
  readonly clock: Clock;
  readonly threads: number;
  /** Rises as long as the thread is alive. */
  readonly beatsOf: (thread: number) => number;
  /** CPU time that the thread has used, in milliseconds; undefined where it cannot be known. */
  readonly cpuOf: (thread: number) => number | undefined;
  /** Heap and buffers as the thread itself says when it beats, in MiB. */
  readonly memoryOf: (thread: number) => number;
  /** The same asked from outside, of a thread that does not beat. */
  readonly weigh: (thread: number) => Promise<number | undefined>;
  readonly maxMemoryOf: (thread: number) => number;
  /** Once in a life. */
  readonly onBloated: (thread: number, memoryMb: number) => void;
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

/** Finds data-plane threads that do not come round their event loop any more, or whose memory grows without end. */
export class Watchdog {
  readonly #options: WatchdogOptions;
  readonly #beats: number[];
  readonly #missed: number[];
  /** CPU time at the first look that found no beat. */
  readonly #cpuMs: (number | undefined)[] = [];
  /** Which thread of the seat it is: answers about the one before it come too late. */
  readonly #lives: number[];
  readonly #bloated = new Set<number>();
  /** Asked for their memory just now. */
  readonly #asked = new Set<number>();
  #lookedMs: number;
  #cancel: () => void;

  constructor(options: WatchdogOptions) {
    this.#options = options;
    this.#beats = new Array<number>(options.threads).fill(-1);
    this.#missed = new Array<number>(options.threads).fill(0);
    this.#lives = new Array<number>(options.threads).fill(0);
    this.#lookedMs = options.clock.now();
    this.#cancel = this.#later();
  }

  /** The thread begins anew: it is watched from its first beat on. */
  reset(thread: number): void {
    this.#beats[thread] = -1;
    this.#missed[thread] = 0;
    (this.#lives[thread] as number)++;
    this.#bloated.delete(thread);
    this.#asked.delete(thread);
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

  #judge(thread: number, memoryMb: number): void {
    const { maxMemoryOf, onBloated } = this.#options;
    if (memoryMb <= maxMemoryOf(thread) || this.#bloated.has(thread)) return;
    this.#bloated.add(thread);
    onBloated(thread, memoryMb);
  }

  /** A loop that takes memory has taken gigabytes before it counts as stuck. */
  #ask(thread: number): void {
    if (this.#asked.has(thread)) return;
    this.#asked.add(thread);
    const life = this.#lives[thread];
    void this.#options.weigh(thread).then((memoryMb) => {
      if (this.#lives[thread] !== life) return;
      this.#asked.delete(thread);
      if (memoryMb !== undefined) this.#judge(thread, memoryMb);
    });
  }

  #look(): void {
    const { clock, threads, beatsOf, memoryOf, onStuck } = this.#options;
    const nowMs = clock.now();
    const late = nowMs - this.#lookedMs > LOOK_MS + LATE_MS;
    this.#lookedMs = nowMs;
    for (let thread = 0; thread < threads; thread++) {
      this.#judge(thread, memoryOf(thread));
      const beats = beatsOf(thread);
      const before = this.#beats[thread];
      const first = before === -1;
      if (first && beats === 0) continue;
      this.#beats[thread] = beats;
      if (beats === before) this.#ask(thread);
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
