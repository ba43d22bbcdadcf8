import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { longestFastGapMs, worstCaseDetectionMs, type CheckTiming } from '../../src/core/check.ts';

const DEFAULTS: CheckTiming & { type: 'tcp' } = {
  type: 'tcp',
  intervalMs: 5000,
  timeoutMs: 2000,
  healthyThreshold: 2,
  unhealthyThreshold: 3,
  fastIntervalMs: 1000,
  jitter: 0.2,
};

describe('worstCaseDetectionMs', () => {
  it.each([
    ['defaults: a late turn, then three timeouts', DEFAULTS, 6000 + 2 * 2000 + 2000],
    [
      'probes each second with half a second of patience',
      { ...DEFAULTS, intervalMs: 1000, timeoutMs: 500 },
      1200 + 2 * 800 + 500,
    ],
    ['one failure is enough', { ...DEFAULTS, unhealthyThreshold: 1 }, 6000 + 2000],
    ['a fast gap longer than the timeout', { ...DEFAULTS, timeoutMs: 300 }, 6000 + 2 * 1000 + 300],
    ['no jitter', { ...DEFAULTS, jitter: 0, fastIntervalMs: 5000 }, 5000 + 2 * 5000 + 2000],
    [
      'an instance that reports by itself',
      { ...DEFAULTS, type: 'ttl' as const, timeoutMs: 15_000, unhealthyThreshold: 2 },
      30_000,
    ],
  ])('%s', (_name, check, expected) => {
    expect(worstCaseDetectionMs(check)).toBeCloseTo(expected, 6);
  });

  it('stays within interval × threshold + timeout for thresholds from two on and timeouts below the shortest interval', () => {
    const timing = fc
      .record({
        intervalMs: fc.integer({ min: 100, max: 60_000 }),
        fastIntervalMs: fc.integer({ min: 10, max: 60_000 }),
        unhealthyThreshold: fc.integer({ min: 2, max: 10 }),
        jitter: fc.double({ min: 0, max: 0.9, noNaN: true }),
        share: fc.double({ min: 0.01, max: 1, noNaN: true }),
      })
      .map(({ share, ...rest }) => ({ ...DEFAULTS, ...rest, timeoutMs: rest.intervalMs * (1 - rest.jitter) * share }));
    fc.assert(
      fc.property(timing, (check) => {
        const { intervalMs, unhealthyThreshold, timeoutMs } = check;
        expect(worstCaseDetectionMs(check)).toBeLessThanOrEqual(intervalMs * unhealthyThreshold + timeoutMs + 1e-6);
        expect(longestFastGapMs(check)).toBeLessThanOrEqual(intervalMs);
      }),
    );
  });
});
