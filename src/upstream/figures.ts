/** Share of a new sample in the average time to the response head. */
const LATENCY_WEIGHT = 0.1;
/** How far one sample moves the estimate of the p99, in averages. */
const QUANTILE_STEP = 0.5;

/**
 * Live figures of instances as a struct of arrays, indexed by an instance's slot: they cost nothing per request, can
 * be shared between threads and are read by a scrape without a message. Rows are zeroed when a slot is given out.
 */
export class Figures {
  readonly capacity: number;
  /** Attempts begun and not ended: taken once, released once, when the response body ends. */
  readonly inflight: Int32Array;
  /** Relative weight, 1 by default; slow start scales it. Written on change, read by balancers. */
  readonly weight: Float64Array;
  /** Attempts begun, ever. */
  readonly attempts: Float64Array;
  /** Attempts that counted as failures, ever. */
  readonly failures: Float64Array;
  /** Attempts without a success between them. */
  readonly consecutiveFailures: Int32Array;
  /** Average time to the response head, exponentially weighted, milliseconds. 0 = no sample yet. */
  readonly latencyMs: Float64Array;
  /** Running estimate of the 99th percentile of the same, milliseconds. 0 = no sample yet. */
  readonly latencyP99Ms: Float64Array;
  /** 0 closed, 1 open, 2 half-open: written by the breaker, read by everyone. */
  readonly breaker: Uint8Array;
  /** `clock.now()` of the last success. */
  readonly lastSuccessMs: Float64Array;

  /** Memory is reserved for `capacity` slots at once, and touched only as they come into use. */
  constructor(capacity: number) {
    this.capacity = capacity;
    const column = (bytes: number): SharedArrayBuffer => new SharedArrayBuffer(capacity * bytes);
    this.inflight = new Int32Array(column(4));
    this.weight = new Float64Array(column(8));
    this.attempts = new Float64Array(column(8));
    this.failures = new Float64Array(column(8));
    this.consecutiveFailures = new Int32Array(column(4));
    this.latencyMs = new Float64Array(column(8));
    this.latencyP99Ms = new Float64Array(column(8));
    this.breaker = new Uint8Array(column(1));
    this.lastSuccessMs = new Float64Array(column(8));
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
    this.consecutiveFailures[slot] = 0;
    this.latencyMs[slot] = 0;
    this.latencyP99Ms[slot] = 0;
    this.breaker[slot] = 0;
    this.lastSuccessMs[slot] = 0;
  }
}
