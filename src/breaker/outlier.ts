import type { OutlierPolicy } from '../core/policy.ts';

/** Beyond this many instances the median is taken of as many evenly spaced ones: sorting all would take too long. */
const MEDIAN_OF = 4096;

/** What instances of one service did in one interval, each with enough attempts to be judged. */
export class OutlierSamples {
  count = 0;
  slots = new Int32Array(16);
  attempts = new Float64Array(16);
  /** 1 = none failed. */
  successRates = new Float64Array(16);
  /** Average time to the response head. 0 = none came. */
  latencyMs = new Float64Array(16);

  clear(): void {
    this.count = 0;
  }

  add(slot: number, attempts: number, failures: number, latencyMs: number): void {
    const at = this.count++;
    if (at === this.slots.length) this.#grow();
    this.slots[at] = slot;
    this.attempts[at] = attempts;
    // Attempts of the interval before may have failed in this one.
    this.successRates[at] = 1 - Math.min(failures, attempts) / attempts;
    this.latencyMs[at] = latencyMs;
  }

  #grow(): void {
    const length = 2 * this.slots.length;
    const grown = <A extends Int32Array | Float64Array>(to: A, from: A): A => {
      to.set(from);
      return to;
    };
    this.slots = grown(new Int32Array(length), this.slots);
    this.attempts = grown(new Float64Array(length), this.attempts);
    this.successRates = grown(new Float64Array(length), this.successRates);
    this.latencyMs = grown(new Float64Array(length), this.latencyMs);
  }
}

export type OutlierKind = 'success-rate' | 'latency';

export interface Outlier {
  readonly slot: number;
  readonly by: OutlierKind;
  /** The figures it was judged by, for people. */
  readonly text: string;
}

/**
 * Instances that do clearly worse than their peers, the worst first, each once. Of fewer than `minInstances` nobody is an
 * outlier: there is no telling who is the odd one.
 *
 * - Success rate: below mean − `stdevFactor` × standard deviation (Envoy's rule; of n instances no more than
 *   n / (1 + factor²) can be), and by `minRateGap` at least, since among equally good ones some deviation is always there.
 * - Latency: above `latencyFactor` × the median, and by `minLatencyGapMs` at least: three times of very little is little.
 */
export function findOutliers(samples: OutlierSamples, policy: OutlierPolicy): Outlier[] {
  if (samples.count < policy.minInstances) return [];
  const failing = policy.successRate === 'off' ? [] : bySuccessRate(samples, policy);
  const known = new Set(failing.map(({ slot }) => slot));
  const slow = policy.latency === 'off' ? [] : byLatency(samples, policy);
  return [...failing, ...slow.filter(({ slot }) => !known.has(slot))];
}

function bySuccessRate(samples: OutlierSamples, { stdevFactor, minRateGap }: OutlierPolicy): Outlier[] {
  const { count, slots, attempts, successRates } = samples;
  const rate = (at: number): number => successRates[at] as number;
  let sum = 0;
  for (let at = 0; at < count; at++) sum += rate(at);
  const mean = sum / count;
  let squares = 0;
  for (let at = 0; at < count; at++) squares += (rate(at) - mean) ** 2;
  const limit = Math.min(mean - stdevFactor * Math.sqrt(squares / count), mean - minRateGap);
  const worst = indexesWhere(count, (at) => rate(at) < limit);
  return worst
    .sort((one, other) => rate(one) - rate(other))
    .map((at) => ({
      slot: slots[at] as number,
      by: 'success-rate',
      text: `success rate ${percent(rate(at))} of ${attempts[at]} attempts; ${count} instances have ${percent(mean)} on average, the limit is ${percent(limit)}`,
    }));
}

function byLatency(samples: OutlierSamples, { latencyFactor, minLatencyGapMs }: OutlierPolicy): Outlier[] {
  const { count, slots, latencyMs } = samples;
  const median = medianOf(latencyMs, count);
  const limit = Math.max(latencyFactor * median, median + minLatencyGapMs);
  const worst = indexesWhere(count, (at) => (latencyMs[at] as number) > limit);
  return worst
    .sort((one, other) => (latencyMs[other] as number) - (latencyMs[one] as number))
    .map((at) => ({
      slot: slots[at] as number,
      by: 'latency',
      text: `${milliseconds(latencyMs[at] as number)} to the response head on average; the median of ${count} instances is ${milliseconds(median)}, the limit ${milliseconds(limit)}`,
    }));
}

function indexesWhere(count: number, holds: (at: number) => boolean): number[] {
  const found: number[] = [];
  for (let at = 0; at < count; at++) if (holds(at)) found.push(at);
  return found;
}

/** The lower one where there are two in the middle: nobody who is not above half of the others is above it. */
function medianOf(values: Float64Array, count: number): number {
  const step = Math.max(1, Math.ceil(count / MEDIAN_OF));
  const some = new Float64Array(Math.ceil(count / step));
  for (let at = 0; at < some.length; at++) some[at] = values[at * step] as number;
  some.sort();
  return some[(some.length - 1) >> 1] as number;
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

function milliseconds(durationMs: number): string {
  return `${durationMs.toFixed(durationMs < 10 ? 1 : 0)} ms`;
}
