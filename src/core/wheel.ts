import type { Clock } from './clock.ts';

/**
 * Something with a due time. Intrusive: the links live in the entry itself, so that arming, re-arming and cancelling
 * allocate nothing. An entry belongs to one wheel at a time.
 */
export abstract class WheelEntry {
  /** When it is due, as `clock.now()` counts. Written by the wheel alone. */
  dueMs = Number.NaN;
  /** Tick of the slot that holds the entry. At or before the due time: a later due time is found out there. */
  wheelTick = 0;
  wheelNext: WheelEntry | undefined = undefined;
  wheelPrevious: WheelEntry | undefined = undefined;

  /** Whether a wheel holds the entry. False inside `expire`. */
  get scheduled(): boolean {
    return this.wheelNext !== undefined;
  }

  /**
   * Called once per `schedule`, never before `dueMs`, never from within `schedule`. The entry is free again and may
   * schedule itself or others; what is due already then comes with the next turn, so no entry can spin the wheel.
   */
  abstract expire(nowMs: number): void;
}

/** An entry that runs a function. For the few; whoever has thousands extends `WheelEntry`. */
export class Alarm extends WheelEntry {
  readonly #ring: (nowMs: number) => void;

  constructor(ring: (nowMs: number) => void) {
    super();
    this.#ring = ring;
  }

  expire(nowMs: number): void {
    this.#ring(nowMs);
  }
}

export interface TimingWheelOptions {
  readonly clock: Clock;
  /** Resolution: entries expire up to one tick late. Smaller = more wake-ups while many entries wait. */
  readonly tickMs: number;
  /** A power of two from 32 on. Due times past `slots * tickMs` cost one extra visit per rotation. */
  readonly slots: number;
  /** At most so many entries expire in one turn of the event loop; the rest follows in the next ones. Default 1024. */
  readonly maxPerTurn?: number;
  /** Called at every wake-up, before anything expires, with how late it came: the lag of the event loop. */
  readonly onWake?: (lateMs: number, nowMs: number) => void;
  /**
   * A wake-up later than `lateMs` is a pause of our own: what fell due in it expires `restMs` later, so that what lies
   * unread is read first and nobody is blamed for our absence; `restMs` after the last of several. Default: none.
   */
  readonly stall?: { readonly lateMs: number; readonly restMs: number };
}

/** So many pauses in a row, none a rest away from the one before, hold deadlines back. */
const MAX_RESTS = 4;

/** The head of a circular list: linked to itself while the list is empty. */
class Sentinel extends WheelEntry {
  declare wheelNext: WheelEntry;
  declare wheelPrevious: WheelEntry;

  constructor() {
    super();
    this.wheelNext = this;
    this.wheelPrevious = this;
  }

  expire(): void {
    throw new Error('the head of a wheel slot never expires');
  }
}

/**
 * Hashed timing wheel (Varghese and Lauck, 1987, scheme 6): O(1) to arm, re-arm and cancel, one timer of the clock for
 * all entries, set for the next slot in use and absent while there are no entries. Re-arming to a later time, the
 * common case of deadlines, only writes the due time.
 *
 * When the event loop was blocked, whatever fell due meanwhile expires once, in order of slots, `maxPerTurn` per turn.
 */
export class TimingWheel {
  readonly #clock: Clock;
  readonly #tickMs: number;
  readonly #mask: number;
  readonly #maxPerTurn: number;
  readonly #onWake: ((lateMs: number, nowMs: number) => void) | undefined;
  readonly #stall: TimingWheelOptions['stall'];
  readonly #heads: readonly Sentinel[];
  /** One bit per slot in use. */
  readonly #used: Int32Array;
  /** Entries of the slot being emptied: apart, so that whatever `expire` does to the wheel cannot disturb the walk. */
  readonly #due = new Sentinel();
  /** The last tick whose slot was emptied. */
  #cursorTick: number;
  /** New entries go behind this tick. */
  #floorTick: number;
  #firing = false;
  #stopped = false;
  #size = 0;
  #cancelTimer: (() => void) | undefined;
  #armedTick = Number.POSITIVE_INFINITY;
  /** Lateness counts from here: before it, nobody waited for the timer. */
  #armedSinceMs = 0;
  #held = false;
  /** Pauses since the wheel was last free of one. */
  #rests = 0;
  #heldUntilMs = Number.NEGATIVE_INFINITY;

  constructor(options: TimingWheelOptions) {
    const { slots, tickMs } = options;
    if (slots < 32 || (slots & (slots - 1)) !== 0)
      throw new RangeError(`slots must be a power of two from 32 on, not ${slots}`);
    if (!(tickMs > 0)) throw new RangeError(`tickMs must be above 0, not ${tickMs}`);
    this.#clock = options.clock;
    this.#tickMs = tickMs;
    this.#mask = slots - 1;
    this.#maxPerTurn = options.maxPerTurn ?? 1024;
    this.#onWake = options.onWake;
    this.#stall = options.stall;
    this.#heads = Array.from({ length: slots }, () => new Sentinel());
    this.#used = new Int32Array(slots / 32);
    this.#cursorTick = Math.floor(options.clock.now() / tickMs);
    this.#floorTick = this.#cursorTick;
  }

  /** Entries scheduled and not yet expired. */
  get size(): number {
    return this.#size;
  }

  /**
   * Arms the entry for `dueMs` on the wheel's clock, moving it when it is armed already. A time in the past is due at
   * the next tick. After `stop` nothing is armed any more.
   */
  schedule(entry: WheelEntry, dueMs: number): void {
    const tick = Math.ceil(dueMs / this.#tickMs);
    if (entry.wheelNext !== undefined) {
      if (tick >= entry.wheelTick) {
        entry.dueMs = dueMs;
        return;
      }
      this.#unlink(entry);
    }
    if (Number.isNaN(dueMs)) throw new RangeError('an entry needs a due time, not NaN');
    if (this.#stopped) return;
    entry.dueMs = dueMs;
    if (this.#size === 0 && !this.#firing) {
      this.#cursorTick = Math.floor(this.#clock.now() / this.#tickMs);
      this.#floorTick = this.#cursorTick;
    }
    this.#link(entry, tick);
    if (!this.#firing && entry.wheelTick < this.#armedTick) this.#arm(this.#clock.now());
  }

  /**
   * Nothing expires before then. For whoever has found out by other means that this process stood still. What is held
   * already is held for longer, up to four times: whoever stands still all the time keeps deadlines all the same.
   */
  hold(untilMs: number): void {
    if (this.#size === 0) return;
    if (!this.#holdsSomething && this.#clock.now() >= this.#heldUntilMs) this.#held = false;
    this.#rest(untilMs);
  }

  #rest(untilMs: number): void {
    // Several may tell of the same pause.
    if (this.#held && (untilMs <= this.#heldUntilMs + this.#tickMs || this.#rests >= MAX_RESTS)) return;
    this.#rests = this.#held ? this.#rests + 1 : 1;
    this.#held = true;
    this.#heldUntilMs = untilMs;
  }

  /** Whether anything falls due in the rest: if not, the rest ends without a wake-up. */
  get #holdsSomething(): boolean {
    return this.#armedTick * this.#tickMs <= this.#heldUntilMs;
  }

  /** Takes the entry out, so that it does not expire. Without effect on one that is not armed. */
  cancel(entry: WheelEntry): void {
    if (entry.wheelNext === undefined) return;
    this.#unlink(entry);
    if (this.#size === 0 && !this.#firing) this.#disarm();
  }

  /** Forgets every entry and gives up the timer, for good. */
  stop(): void {
    this.#stopped = true;
    for (const head of [this.#due, ...this.#heads]) {
      while (head.wheelNext !== head) this.#unlink(head.wheelNext);
    }
    this.#disarm();
  }

  #link(entry: WheelEntry, wantedTick: number): void {
    const tick = wantedTick > this.#floorTick ? wantedTick : this.#floorTick + 1;
    // The bits below the mask survive the conversion to 32 bits however long the clock has been running.
    const slot = tick & this.#mask;
    const head = this.#head(slot);
    const last = head.wheelPrevious;
    entry.wheelTick = tick;
    entry.wheelNext = head;
    entry.wheelPrevious = last;
    last.wheelNext = entry;
    head.wheelPrevious = entry;
    this.#used[slot >>> 5] = (this.#used[slot >>> 5] ?? 0) | (1 << (slot & 31));
    this.#size++;
  }

  #unlink(entry: WheelEntry): void {
    const { wheelNext: next, wheelPrevious: previous } = entry;
    if (next === undefined || previous === undefined) return;
    next.wheelPrevious = previous;
    previous.wheelNext = next;
    entry.wheelNext = undefined;
    entry.wheelPrevious = undefined;
    this.#size--;
    if (next === previous) this.#clearIfEmpty(entry.wheelTick & this.#mask);
  }

  #clearIfEmpty(slot: number): void {
    const head = this.#head(slot);
    if (head.wheelNext === head) this.#used[slot >>> 5] = (this.#used[slot >>> 5] ?? 0) & ~(1 << (slot & 31));
  }

  #head(slot: number): Sentinel {
    const head = this.#heads[slot];
    if (head === undefined) throw new RangeError(`the wheel has no slot ${slot}`);
    return head;
  }

  /** The first tick after the cursor whose slot is in use; Infinity where none is. */
  #nextTick(): number {
    const start = (this.#cursorTick + 1) & this.#mask;
    const words = this.#used.length;
    for (let step = 0; step <= words; step++) {
      const index = ((start >>> 5) + step) & (words - 1);
      let bits = this.#used[index] ?? 0;
      if (step === 0) bits &= -1 << (start & 31);
      // After a whole turn, the bits before the start remain.
      if (step === words) bits &= ~(-1 << (start & 31));
      if (bits !== 0) {
        const slot = index * 32 + (31 - Math.clz32(bits & -bits));
        return this.#cursorTick + 1 + ((slot - start) & this.#mask);
      }
    }
    return Number.POSITIVE_INFINITY;
  }

  #arm(sinceMs: number): void {
    if (this.#size === 0) {
      this.#disarm();
      return;
    }
    const tick = this.#due.wheelNext === this.#due ? this.#nextTick() : this.#cursorTick;
    if (this.#cancelTimer !== undefined) {
      if (tick === this.#armedTick) return;
      this.#cancelTimer();
    }
    this.#armedTick = tick;
    this.#armedSinceMs = Math.max(sinceMs, this.#heldUntilMs);
    const atMs = Math.max(tick * this.#tickMs, this.#heldUntilMs);
    this.#cancelTimer = this.#clock.after(Math.max(0, atMs - this.#clock.now()), this.#fire);
  }

  #disarm(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#armedTick = Number.POSITIVE_INFINITY;
    this.#held = false;
  }

  readonly #fire = (): void => {
    const nowMs = this.#clock.now();
    const lateMs = Math.max(0, nowMs - Math.max(this.#armedTick * this.#tickMs, this.#armedSinceMs));
    if (!this.#holdsSomething) this.#held = false;
    this.#cancelTimer = undefined;
    this.#armedTick = Number.POSITIVE_INFINITY;
    this.#firing = true;
    try {
      this.#onWake?.(lateMs, nowMs);
      if (this.#stall && lateMs > this.#stall.lateMs) this.#rest(nowMs + this.#stall.restMs);
      if (nowMs >= this.#heldUntilMs) {
        this.#held = false;
        this.#turn(nowMs);
      }
    } finally {
      // Also when an entry threw: the others still have their deadlines.
      this.#firing = false;
      if (!this.#stopped) this.#arm(nowMs);
    }
  };

  #turn(nowMs: number): void {
    const nowTick = Math.floor(nowMs / this.#tickMs);
    this.#floorTick = Math.max(this.#floorTick, nowTick);
    // After a stall of more than a rotation every slot is visited once, not once per rotation missed.
    this.#cursorTick = Math.max(this.#cursorTick, nowTick - this.#mask - 1);
    let budget = this.#maxPerTurn;
    while (true) {
      while (this.#due.wheelNext !== this.#due) {
        const entry = this.#due.wheelNext;
        if (entry.dueMs <= nowMs && budget-- === 0) return;
        this.#unlink(entry);
        if (entry.dueMs <= nowMs) entry.expire(nowMs);
        else this.#link(entry, Math.ceil(entry.dueMs / this.#tickMs));
      }
      const tick = this.#nextTick();
      if (tick > nowTick) {
        this.#cursorTick = Math.max(this.#cursorTick, nowTick);
        return;
      }
      this.#cursorTick = tick;
      this.#detach(tick & this.#mask);
    }
  }

  /** Moves a whole slot to the list of what is due, in constant time. */
  #detach(slot: number): void {
    const head = this.#head(slot);
    const { wheelNext: first, wheelPrevious: last } = head;
    if (first === head) return;
    this.#due.wheelNext = first;
    this.#due.wheelPrevious = last;
    first.wheelPrevious = this.#due;
    last.wheelNext = this.#due;
    head.wheelNext = head;
    head.wheelPrevious = head;
    this.#clearIfEmpty(slot);
  }
}
