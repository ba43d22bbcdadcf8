import { saneMs, type Buckets } from './buckets.ts';
import type { Family } from './exposition.ts';

/** A histogram without labels, recorded without allocation. */
export class HistogramMeter {
  readonly #buckets: Buckets;
  readonly #counts: Float64Array;
  #sumMs = 0;

  constructor(buckets: Buckets) {
    this.#buckets = buckets;
    this.#counts = new Float64Array(buckets.size);
  }

  /** Nothing has been recorded yet. */
  get isEmpty(): boolean {
    return this.#counts.every((count) => count === 0);
  }

  record(durationMs: number): void {
    const sane = saneMs(durationMs);
    const bucket = this.#buckets.indexOf(sane);
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#sumMs += sane;
  }

  /** `labels` as in `Family.sample`. */
  write(family: Family, labels: string): void {
    family.histogram(labels, this.#buckets, (bucket) => this.#counts[bucket] ?? 0, this.#sumMs);
  }
}
