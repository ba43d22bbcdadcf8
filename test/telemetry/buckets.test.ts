import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Buckets, DURATION_BUCKETS, OVERHEAD_BUCKETS, saneMs } from '../../src/telemetry/buckets.ts';

/** The definition: the first bound that is not below the value. */
function slowIndex(buckets: Buckets, durationMs: number): number {
  const index = buckets.boundsMs.findIndex((boundMs) => durationMs <= boundMs);
  return index === -1 ? buckets.boundsMs.length : index;
}

describe.each([
  ['durations', DURATION_BUCKETS],
  ['overhead', OVERHEAD_BUCKETS],
  ['bounds close to each other', new Buckets([0.001, 0.0015, 3, 3.1, 3.2, 3.3, 3.4])],
])('buckets of %s', (_name, buckets) => {
  test('put every value where its definition does', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e9, noNaN: true }), (durationMs) => {
        expect(buckets.indexOf(durationMs)).toBe(slowIndex(buckets, durationMs));
      }),
    );
    fc.assert(
      fc.property(fc.double({ min: 0, max: 100, noNaN: true }), (durationMs) => {
        expect(buckets.indexOf(durationMs)).toBe(slowIndex(buckets, durationMs));
      }),
    );
  });

  test('count a value on a bound below it, as Prometheus means `le`', () => {
    buckets.boundsMs.forEach((boundMs, index) => {
      expect(buckets.indexOf(boundMs)).toBe(index);
      expect(buckets.indexOf(boundMs * 1.0001)).toBe(index + 1);
    });
  });

  test('put 0 first and the enormous last', () => {
    expect(buckets.indexOf(0)).toBe(0);
    expect(buckets.indexOf(1e9)).toBe(buckets.size - 1);
    expect(buckets.indexOf(Number.POSITIVE_INFINITY)).toBe(buckets.size - 1);
  });
});

test('a figure that is no duration becomes one before it reaches a sum', () => {
  expect([Number.NaN, -1, Number.POSITIVE_INFINITY, 2.5].map(saneMs)).toEqual([0, 0, 1e9, 2.5]);
});
