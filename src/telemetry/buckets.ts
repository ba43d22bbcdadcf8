/**
 * Fixed histogram bounds with an index found in a few steps: the octave of the value in microseconds (one `clz32`)
 * names the first bound that can hold it, and at most the bounds of one octave are compared after that.
 */
export class Buckets {
  /** Upper bounds, inclusive, ascending, milliseconds. One more bucket above them takes the rest. */
  readonly boundsMs: readonly number[];
  /** Number of buckets, the one above the last bound included. */
  readonly size: number;
  /** What ends the labels of each bucket's sample: `le="0.005"} `, in seconds. */
  readonly labels: readonly string[];
  readonly #ceilings: Float64Array;
  readonly #firstOfOctave = new Uint8Array(33);

  constructor(boundsMs: readonly number[]) {
    this.boundsMs = boundsMs;
    this.size = boundsMs.length + 1;
    this.labels = [...boundsMs.map((boundMs) => String(boundMs / 1000)), '+Inf'].map((bound) => `le="${bound}"} `);
    this.#ceilings = Float64Array.from([...boundsMs, Number.POSITIVE_INFINITY]);
    for (let leadingZeros = 0; leadingZeros < 32; leadingZeros++) {
      const lowestMs = 2 ** (31 - leadingZeros) / 1000;
      this.#firstOfOctave[leadingZeros] = this.#ceilings.findIndex((ceilingMs) => lowestMs <= ceilingMs);
    }
  }

  /** The bucket of a duration in milliseconds; it must not be NaN. */
  indexOf(durationMs: number): number {
    // Beyond 2^32 µs the conversion wraps round to a lower octave: that costs steps and never the right answer.
    let index = this.#firstOfOctave[Math.clz32(durationMs * 1000)] ?? 0;
    while (durationMs > (this.#ceilings[index] ?? Number.POSITIVE_INFINITY)) index++;
    return index;
  }
}

/** Whole requests and probes: half a millisecond to a minute. */
export const DURATION_BUCKETS = new Buckets([
  0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000,
]);

/** What the gateway itself adds, and lags of its own clockwork: ten microseconds to a second. */
export const OVERHEAD_BUCKETS = new Buckets([0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 1000]);

/** An anomalous figure (negative, NaN, infinite) must not poison a sum for ever. */
export function saneMs(durationMs: number): number {
  return durationMs > 0 ? Math.min(durationMs, 1e9) : 0;
}
