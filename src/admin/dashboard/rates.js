/**
 * @typedef {import('../../telemetry/totals.ts').ServiceTotals} Totals
 * @typedef {{ nowMs: number, totals: Totals }} Sample
 * @typedef {{ perSecond: number, retriesPerSecond: number, errorShare: number | undefined, p99Ms: number | undefined }} Rate
 */

/** Rates are over the samples of so long. */
const WINDOW_MS = 30_000;

/** Rates out of counts that only grow, for the services that are looked at. */
export class Rates {
  /** @type {Map<string, Sample[]>} */
  #samples = new Map();
  /** @type {readonly number[]} */
  #boundsMs = [];

  /**
   * Forgets every service that is not in this answer.
   *
   * @param {readonly { name: string, traffic?: Totals | undefined }[]} services
   * @param {number} nowMs of the gateway, monotonic
   * @param {readonly number[]} boundsMs
   */
  add(services, nowMs, boundsMs) {
    this.#boundsMs = boundsMs;
    /** @type {Map<string, Sample[]>} */
    const next = new Map();
    for (const { name, traffic } of services) {
      if (!traffic) continue;
      let samples = this.#samples.get(name) ?? [];
      const last = samples.at(-1);
      // Counts of another process, or of a service that had gone and come back.
      if (last && (last.totals.requests > traffic.requests || last.nowMs > nowMs)) samples = [];
      next.set(name, [...samples.filter((sample) => nowMs - sample.nowMs <= WINDOW_MS), { nowMs, totals: traffic }]);
    }
    this.#samples = next;
  }

  clear() {
    this.#samples = new Map();
  }

  /** Undefined until there are two samples. @param {string} name @returns {Rate | undefined} */
  of(name) {
    const samples = this.#samples.get(name) ?? [];
    const [first] = samples;
    const last = samples.at(-1);
    if (!first || !last || last.nowMs <= first.nowMs) return undefined;
    const seconds = (last.nowMs - first.nowMs) / 1000;
    const requests = last.totals.requests - first.totals.requests;
    const durations = last.totals.durations.map((count, bucket) => count - (first.totals.durations[bucket] ?? 0));
    return {
      perSecond: requests / seconds,
      retriesPerSecond: (last.totals.retries - first.totals.retries) / seconds,
      errorShare: requests > 0 ? (last.totals.errors - first.totals.errors) / requests : undefined,
      p99Ms: quantile(0.99, durations, this.#boundsMs),
    };
  }
}

/**
 * As Prometheus does it: straight lines within a bucket. Infinity: above the last bound. Undefined: nothing counted.
 *
 * @param {number} share
 * @param {readonly number[]} counts one per bucket, not cumulated
 * @param {readonly number[]} bounds one less than there are buckets
 */
export function quantile(share, counts, bounds) {
  const total = counts.reduce((all, count) => all + count, 0);
  if (total === 0) return undefined;
  const rank = share * total;
  let before = 0;
  for (const [bucket, count] of counts.entries()) {
    if (count > 0 && before + count >= rank) {
      const upper = bounds[bucket];
      if (upper === undefined) return Infinity;
      const lower = bounds[bucket - 1] ?? 0;
      return lower + ((upper - lower) * (rank - before)) / count;
    }
    before += count;
  }
  return Infinity;
}
