/** Slices of the window: what is old leaves it in steps of a tenth. */
const BUCKETS = 10;
/** Successes of a bucket at twice its index, failures after them. */
const CELLS = 2 * BUCKETS;

/** The states as the columns have them, by number. */
export const CLOSED = 0;
export const OPEN = 1;
export const HALF_OPEN = 2;
/** For good: the instance is no longer registered. Of no interest to those who only want to know. */
const SHUT = 3;

const STATE_BITS = 2;
const STATE_MASK = 3;

export interface AttemptCounts {
  readonly successes: number;
  readonly failures: number;
  /** Failures without a success between them. */
  readonly consecutiveFailures: number;
}

/**
 * What threads share of the breakers, as columns by slot. Every thread counts here and admits by what it reads here;
 * only the control thread decides, and writes the state.
 */
export class BreakerColumns {
  readonly capacity: number;
  readonly buffer: SharedArrayBuffer;
  /** 0 closed, 1 open, 2 half-open: for those who only want to know. */
  readonly states: Uint8Array;
  /** State and epoch in one cell, so that both are read at once. The epoch rises with every change of state. */
  readonly #circuit: Int32Array;
  /** Who has the trial of a half-open breaker: 0 = nobody yet. */
  readonly #trial: Int32Array;
  /** Failures without a success between them. */
  readonly #consecutive: Int32Array;
  /** Number of the current bucket of the window, since the clock began. */
  readonly #bucket: Int32Array;
  readonly #counts: Int32Array;

  /** `buffer` is that of another `BreakerColumns` of the same capacity. Memory is touched only as slots come into use. */
  constructor(capacity: number, buffer?: SharedArrayBuffer) {
    this.capacity = capacity;
    this.buffer = buffer ?? new SharedArrayBuffer(capacity * ((4 + CELLS) * 4 + 1));
    const column = (at: number, width: number): Int32Array =>
      new Int32Array(this.buffer, at * capacity * 4, capacity * width);
    this.#circuit = column(0, 1);
    this.#trial = column(1, 1);
    this.#consecutive = column(2, 1);
    this.#bucket = column(3, 1);
    this.#counts = column(4, CELLS);
    this.states = new Uint8Array(this.buffer, capacity * (4 + CELLS) * 4, capacity);
  }

  /** State and epoch as one number: equal numbers mean that nothing has changed in between. */
  circuit(slot: number): number {
    return Atomics.load(this.#circuit, slot);
  }

  static stateOf(circuit: number): number {
    return circuit & STATE_MASK;
  }

  /** Control thread only. Attempts admitted before lose their say. */
  change(slot: number, state: number): void {
    const epoch = (this.circuit(slot) >> STATE_BITS) + 1;
    Atomics.store(this.#trial, slot, 0);
    Atomics.store(this.#circuit, slot, (epoch << STATE_BITS) | state);
    this.states[slot] = state === SHUT ? CLOSED : state;
  }

  /** Forgets all counts. */
  forget(slot: number): void {
    Atomics.store(this.#consecutive, slot, 0);
    this.#counts.fill(0, slot * CELLS, (slot + 1) * CELLS);
  }

  /** A new owner of the slot: closed, and attempts of the old one have no say. */
  clear(slot: number): void {
    this.change(slot, CLOSED);
    this.forget(slot);
  }

  /** From this moment on no thread admits an attempt. What is counted is forgotten. */
  shut(slot: number): void {
    this.change(slot, SHUT);
    this.forget(slot);
  }

  isShut(slot: number): boolean {
    return BreakerColumns.stateOf(this.circuit(slot)) === SHUT;
  }

  trialHolder(slot: number): number {
    return Atomics.load(this.#trial, slot);
  }

  /** True where `holder` has it now, and `circuit` still holds. */
  takeTrial(slot: number, holder: number, circuit: number): boolean {
    if (Atomics.compareExchange(this.#trial, slot, 0, holder) !== 0) return false;
    if (this.circuit(slot) === circuit) return true;
    Atomics.compareExchange(this.#trial, slot, holder, 0);
    return false;
  }

  /** Half-open, and its one trial has yet to be taken. */
  trialReady(slot: number): boolean {
    return this.states[slot] === HALF_OPEN && this.trialHolder(slot) === 0;
  }

  consecutiveFailures(slot: number): number {
    return Atomics.load(this.#consecutive, slot);
  }

  succeeded(slot: number, nowMs: number, windowMs: number): void {
    // Nearly always nothing has failed before: reading is cheaper than writing what others read.
    if (this.#consecutive[slot] !== 0) Atomics.store(this.#consecutive, slot, 0);
    this.#count(slot, nowMs, windowMs, 0);
  }

  failed(slot: number, nowMs: number, windowMs: number): void {
    Atomics.add(this.#consecutive, slot, 1);
    this.#count(slot, nowMs, windowMs, 1);
  }

  counts(slot: number, nowMs: number, windowMs: number): AttemptCounts {
    return {
      successes: this.successes(slot, nowMs, windowMs),
      failures: this.failures(slot, nowMs, windowMs),
      consecutiveFailures: this.consecutiveFailures(slot),
    };
  }

  /** Of the last `windowMs`, give or take a tenth. */
  successes(slot: number, nowMs: number, windowMs: number): number {
    return this.#sum(slot, nowMs, windowMs, 0);
  }

  failures(slot: number, nowMs: number, windowMs: number): number {
    return this.#sum(slot, nowMs, windowMs, 1);
  }

  #count(slot: number, nowMs: number, windowMs: number, failed: 0 | 1): void {
    const bucket = bucketAt(nowMs, windowMs);
    if (this.#bucket[slot] !== bucket) this.#turn(slot, bucket);
    Atomics.add(this.#counts, slot * CELLS + 2 * within(bucket) + failed, 1);
  }

  #sum(slot: number, nowMs: number, windowMs: number, failed: 0 | 1): number {
    this.#turn(slot, bucketAt(nowMs, windowMs));
    let sum = 0;
    for (let at = slot * CELLS + failed, end = (slot + 1) * CELLS; at < end; at += 2) sum += this.#counts[at] as number;
    return sum;
  }

  /** One of the threads that find the bucket over begins the next one. */
  #turn(slot: number, bucket: number): void {
    const before = Atomics.load(this.#bucket, slot);
    const passed = (bucket - before) | 0;
    // A thread that is a little behind counts into what is current for the others.
    if (passed === 0 || (passed < 0 && passed > -BUCKETS)) return;
    if (Atomics.compareExchange(this.#bucket, slot, before, bucket) !== before) return;
    // After a whole window of silence, or a change of its length, every bucket is stale once.
    const stale = passed < 0 ? BUCKETS : Math.min(passed, BUCKETS);
    for (let back = 0; back < stale; back++) {
      const at = slot * CELLS + 2 * within((bucket - back) | 0);
      this.#counts[at] = 0;
      this.#counts[at + 1] = 0;
    }
  }
}

/** Wraps around: only differences mean anything. */
function bucketAt(nowMs: number, windowMs: number): number {
  return Math.floor(nowMs / (windowMs / BUCKETS)) | 0;
}

function within(bucket: number): number {
  return (bucket >>> 0) % BUCKETS;
}
