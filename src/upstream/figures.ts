import { BreakerColumns } from '../breaker/columns.ts';

/** Share of a new sample in the average time to the response head. */
const LATENCY_WEIGHT = 0.1;
/** How far one sample moves the estimate of the p99, in averages. */
const QUANTILE_STEP = 0.5;

/** What one thread hands to another, so that both have the same figures. */
export interface SharedFigures {
  readonly capacity: number;
  readonly columns: SharedArrayBuffer;
  readonly breakers: SharedArrayBuffer;
}

/**
 * Live figures of instances as a struct of arrays, indexed by an instance's slot: they cost nothing per request, are
 * shared between threads and are read by a scrape without a message. Rows are zeroed when a slot is given out. What
 * must be exact is changed by atomic operations (`take` and `release`); averages are written as they come.
 */
export class Figures {
  readonly capacity: number;
  readonly shared: SharedFigures;
  /** Attempts begun and not ended, on all threads: taken once, released once, when the response body ends. */
  readonly inflight: Int32Array;
  /** Relative weight, 1 by default; slow start scales it. Written on change, read by balancers. */
  readonly weight: Float64Array;
  /** Attempts begun, modulo 2^32. */
  readonly attempts: Uint32Array;
  /** Attempts that counted as failures, modulo 2^32. */
  readonly failures: Uint32Array;
  /** Average time to the response head, exponentially weighted, milliseconds. 0 = no sample yet. */
  readonly latencyMs: Float64Array;
  /** Running estimate of the 99th percentile of the same, milliseconds. 0 = no sample yet. */
  readonly latencyP99Ms: Float64Array;
  /** `clock.now()` of the last success. */
  readonly lastSuccessMs: Float64Array;
  /** Attempts in flight that the instance has proven to bear. 0 = nothing is known yet. See proxy/adaptive-limit.ts. */
  readonly limit: Float64Array;
  /** The average time to the response head over hundreds of answers, milliseconds; kept for the limit. */
  readonly latencyLongMs: Float64Array;
  /** `clock.now()` at which the limit was last cut. */
  readonly limitCutMs: Float64Array;
  /** The attempts of `inflight` that this thread has begun: what is given back where the thread dies. */
  readonly own: OwnFigures;
  readonly breakers: BreakerColumns;

  /** Memory is reserved for `capacity` slots at once, and touched only as they come into use. */
  constructor(given: number | SharedFigures, own?: OwnFigures) {
    const capacity = typeof given === 'number' ? given : given.capacity;
    const columns = typeof given === 'number' ? new SharedArrayBuffer(capacity * ROW_BYTES) : given.columns;
    this.capacity = capacity;
    this.breakers = new BreakerColumns(capacity, typeof given === 'number' ? undefined : given.breakers);
    this.shared = { capacity, columns, breakers: this.breakers.buffer };
    this.own = own ?? new OwnFigures(capacity);
    // The wide ones first: each column must begin at a multiple of its width.
    let at = 0;
    const next = (width: number): [SharedArrayBuffer, number, number] => {
      const from = at;
      at += width * capacity;
      return [columns, from, capacity];
    };
    this.weight = new Float64Array(...next(8));
    this.latencyMs = new Float64Array(...next(8));
    this.latencyP99Ms = new Float64Array(...next(8));
    this.lastSuccessMs = new Float64Array(...next(8));
    this.limit = new Float64Array(...next(8));
    this.latencyLongMs = new Float64Array(...next(8));
    this.limitCutMs = new Float64Array(...next(8));
    this.inflight = new Int32Array(...next(4));
    this.attempts = new Uint32Array(...next(4));
    this.failures = new Uint32Array(...next(4));
  }

  /** 0 closed, 1 open, 2 half-open. */
  get breaker(): Uint8Array {
    return this.breakers.states;
  }

  /** An attempt begins. Returns how many there were before it. */
  take(slot: number): number {
    (this.own.inflight[slot] as number)++;
    Atomics.add(this.attempts, slot, 1);
    return Atomics.add(this.inflight, slot, 1);
  }

  /** An attempt has ended. Returns how many are left. */
  release(slot: number): number {
    (this.own.inflight[slot] as number)--;
    return Atomics.sub(this.inflight, slot, 1) - 1;
  }

  failed(slot: number): void {
    Atomics.add(this.failures, slot, 1);
  }

  /** A response head has come after `sampleMs`. */
  answered(slot: number, sampleMs: number, nowMs: number): void {
    this.lastSuccessMs[slot] = nowMs;
    const before = this.latencyMs[slot] as number;
    const average = before === 0 ? sampleMs : before + (sampleMs - before) * LATENCY_WEIGHT;
    this.latencyMs[slot] = average;
    // Frugal streaming estimate: at rest where one sample in a hundred lies above.
    const step = average * QUANTILE_STEP;
    const quantile = (this.latencyP99Ms[slot] as number) || sampleMs;
    this.latencyP99Ms[slot] = sampleMs > quantile ? quantile + step * 0.99 : quantile - step * 0.01;
  }

  clear(slot: number): void {
    this.inflight[slot] = 0;
    this.weight[slot] = 1;
    this.attempts[slot] = 0;
    this.failures[slot] = 0;
    this.latencyMs[slot] = 0;
    this.latencyP99Ms[slot] = 0;
    this.lastSuccessMs[slot] = 0;
    this.limit[slot] = 0;
    this.latencyLongMs[slot] = 0;
    this.limitCutMs[slot] = 0;
    this.breakers.clear(slot);
  }

  /** The attempts of a thread that is no more have ended. Looks at every slot. */
  giveBack(dead: OwnFigures): void {
    for (let slot = 0; slot < this.capacity; slot++) {
      const count = dead.inflight[slot] as number;
      if (count === 0) continue;
      dead.inflight[slot] = 0;
      Atomics.sub(this.inflight, slot, count);
    }
  }
}

const ROW_BYTES = 7 * 8 + 3 * 4;

/** The figures that one thread alone writes. */
export class OwnFigures {
  readonly buffer: SharedArrayBuffer;
  readonly inflight: Int32Array;

  constructor(given: number | SharedArrayBuffer) {
    this.buffer = typeof given === 'number' ? new SharedArrayBuffer(4 * given) : given;
    this.inflight = new Int32Array(this.buffer);
  }
}
