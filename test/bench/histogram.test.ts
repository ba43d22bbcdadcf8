import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Histogram } from '../../bench/load/histogram.ts';

/** The definition: the least recorded value that at least this share of all does not exceed. */
function exact(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(1, Math.ceil(share * sorted.length)) - 1] ?? Number.NaN;
}

describe('the histogram of latencies', () => {
  it('gives every percentile to 1 %, and to 0.1 µs where 1 % is less', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0, max: 2e8, noNaN: true }), { minLength: 1, maxLength: 300 }),
        fc.constantFrom(0.5, 0.9, 0.99, 0.999, 1),
        (values, share) => {
          const histogram = new Histogram();
          for (const value of values) histogram.recordUs(value);
          const expected = exact(values, share);
          const got = histogram.percentileUs(share);
          expect(Math.abs(got - expected)).toBeLessThanOrEqual(Math.max(0.1, expected * 0.01));
        },
      ),
    );
  });

  it('knows values below 25.6 µs to the unit it keeps them in', () => {
    const histogram = new Histogram();
    for (const value of [0, 0.1, 12.3, 25.5]) histogram.recordUs(value);
    expect([0.25, 0.5, 0.75, 1].map((share) => histogram.percentileUs(share))).toEqual([0, 0.1, 12.3, 25.5]);
  });

  it('never says more than the greatest value it was given', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0, max: 1e9, noNaN: true }), { minLength: 1 }), (values) => {
        const histogram = new Histogram();
        for (const value of values) histogram.recordUs(value);
        const { p50, p90, p99, p999, max } = histogram.percentilesUs();
        expect(max).toBe(Math.max(...values));
        expect([p50, p90, p99, p999, max]).toEqual([p50, p90, p99, p999, max].sort((a, b) => a - b));
      }),
    );
  });

  it('counts what is longer than it can hold in its last bucket, and keeps its greatest value as it was', () => {
    const histogram = new Histogram();
    histogram.recordUs(1e12);
    expect(histogram.total).toBe(1);
    expect(histogram.percentilesUs().max).toBe(1e12);
    expect(histogram.percentileUs(0.5)).toBeGreaterThan(2.1e8);
  });

  it('counts what a clock that went backwards gave as 0', () => {
    const histogram = new Histogram();
    histogram.recordUs(-5);
    expect(histogram.percentilesUs()).toEqual({ p50: 0, p90: 0, p99: 0, p999: 0, max: 0 });
  });

  it('has no percentile before the first value', () => {
    expect(new Histogram().percentileUs(0.5)).toBeNaN();
  });
});
