/** Values are kept in units of 0.1 µs: 2^31 of them are 214 s, more than any run here lasts. */
const UNITS_PER_US = 10;
/** 128 steps to each power of two: a value is known to better than 1 %. */
const STEP_BITS = 7;
const STEPS = 1 << STEP_BITS;
const MAX_UNITS = 2 ** 31 - 1;

export interface Percentiles {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** A log-linear histogram after HdrHistogram: fixed memory, no allocation while recording. */
export class Histogram {
  // Exact below 2 × STEPS, then STEPS buckets for each further power of two up to 2^31.
  readonly #counts = new Uint32Array(STEPS * (32 - STEP_BITS));
  #total = 0;
  #maxUs = 0;

  /** Negative values, which only a clock that went backwards gives, count as 0. */
  recordUs(us: number): void {
    const units = Math.min(Math.max(0, Math.round(us * UNITS_PER_US)), MAX_UNITS);
    const index = indexOf(units);
    this.#counts[index] = (this.#counts[index] ?? 0) + 1;
    this.#total += 1;
    if (us > this.#maxUs) this.#maxUs = us;
  }

  get total(): number {
    return this.#total;
  }

  /** The value in µs that the given share (0–1) of the recorded ones does not exceed; NaN while there are none. */
  percentileUs(share: number): number {
    if (this.#total === 0) return Number.NaN;
    const rank = Math.max(1, Math.ceil(share * this.#total));
    let seen = 0;
    for (let index = 0; index < this.#counts.length; index += 1) {
      seen += this.#counts[index] ?? 0;
      if (seen >= rank) return Math.min(middleOf(index) / UNITS_PER_US, this.#maxUs);
    }
    return this.#maxUs;
  }

  percentilesUs(): Percentiles {
    return {
      p50: this.percentileUs(0.5),
      p90: this.percentileUs(0.9),
      p99: this.percentileUs(0.99),
      p999: this.percentileUs(0.999),
      max: this.#maxUs,
    };
  }
}

function indexOf(units: number): number {
  if (units < 2 * STEPS) return units;
  const shift = 31 - Math.clz32(units) - STEP_BITS;
  return shift * STEPS + (units >>> shift);
}

function middleOf(index: number): number {
  if (index < 2 * STEPS) return index;
  const shift = Math.floor(index / STEPS) - 1;
  const lowest = (index - shift * STEPS) * 2 ** shift;
  return lowest + (2 ** shift - 1) / 2;
}
