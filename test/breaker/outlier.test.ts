import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { findOutliers, OutlierSamples } from '../../src/breaker/outlier.ts';
import type { OutlierPolicy } from '../../src/core/policy.ts';
import { POLICY } from '../policy.ts';

const policy: OutlierPolicy = { ...POLICY.outliers, successRate: 'eject', latency: 'eject' };

interface Row {
  readonly attempts: number;
  readonly failures: number;
  readonly latencyMs: number;
}

function samplesOf(rows: readonly Row[]): OutlierSamples {
  const samples = new OutlierSamples();
  for (const [slot, { attempts, failures, latencyMs }] of rows.entries()) {
    samples.add(slot, attempts, failures, latencyMs);
  }
  return samples;
}

const well: Row = { attempts: 200, failures: 0, latencyMs: 40 };
const slots = (rows: readonly Row[], part: Partial<OutlierPolicy> = {}): number[] =>
  findOutliers(samplesOf(rows), { ...policy, ...part }).map(({ slot }) => slot);

describe('an outlier by success rate', () => {
  const failing: Row = { ...well, failures: 60 };

  it('is found among peers that succeed, and told with its figures', () => {
    const found = findOutliers(samplesOf([well, well, failing, well, well]), policy);
    expect(found).toEqual([
      {
        slot: 2,
        by: 'success-rate',
        text: 'success rate 70.0 % of 200 attempts; 5 instances have 94.0 % on average, the limit is 71.2 %',
      },
    ]);
  });

  it.each<[string, Row[], Partial<OutlierPolicy>]>([
    ['among four', [well, well, failing, well], {}],
    ['where all fail alike', [failing, failing, failing, failing, failing], {}],
    ['for a gap of no account', [well, well, { ...well, failures: 4 }, well, well], {}],
    ['where it is not looked for', [well, well, failing, well, well], { successRate: 'off' }],
  ])('is not found %s', (_name, rows, part) => {
    expect(slots(rows, part)).toEqual([]);
  });

  it('is judged by no more failures than attempts, though older ones may have ended now', () => {
    const [outlier] = findOutliers(samplesOf([well, well, { ...well, failures: 500 }, well, well]), policy);
    expect(outlier?.text).toContain('success rate 0.0 % of 200 attempts');
  });
});

describe('an outlier by latency', () => {
  const slow: Row = { ...well, latencyMs: 200 };

  it('is found among faster peers, and told with its figures', () => {
    expect(findOutliers(samplesOf([well, slow, well, well, well]), policy)).toEqual([
      {
        slot: 1,
        by: 'latency',
        text: '200 ms to the response head on average; the median of 5 instances is 40 ms, the limit 140 ms',
      },
    ]);
  });

  it.each<[string, Row[], Partial<OutlierPolicy>]>([
    ['for three times of very little', [1, 1, 1, 1, 9].map((latencyMs) => ({ ...well, latencyMs })), {}],
    ['for much, but not three times', [500, 500, 500, 500, 1400].map((latencyMs) => ({ ...well, latencyMs })), {}],
    ['where half are slow', [well, well, well, slow, slow, slow], { latencyFactor: 5 }],
    ['where it is not looked for', [well, slow, well, well, well], { latency: 'off' }],
  ])('is not found %s', (_name, rows, part) => {
    expect(slots(rows, part)).toEqual([]);
  });

  it('comes after those that fail, the worst first, each once', () => {
    const rows = [...Array.from({ length: 12 }, () => well), slow, { ...slow, latencyMs: 900 }];
    const both = { ...slow, latencyMs: 500, failures: 100 };
    expect(slots([...rows, both])).toEqual([14, 13, 12]);
  });
});

describe('for any figures', () => {
  const row = fc.record({
    attempts: fc.integer({ min: 100, max: 10_000 }),
    failures: fc.nat(200),
    latencyMs: fc.oneof(fc.constant(0), fc.double({ min: 0.1, max: 10_000, noNaN: true })),
  });
  const rows = fc.array(row, { maxLength: 60 });
  const rate = (one: Row): number => 1 - one.failures / one.attempts;

  it('nobody is an outlier of fewer than the minimum', () => {
    fc.assert(fc.property(fc.array(row, { maxLength: 4 }), (few) => slots(few).length === 0));
  });

  it('nobody who does as well as an outlier is none, and most are none', () => {
    fc.assert(
      fc.property(rows, (all) => {
        const found = findOutliers(samplesOf(all), policy);
        const failing = new Set(found.filter(({ by }) => by === 'success-rate').map(({ slot }) => slot));
        const best = Math.max(...[...failing].map((slot) => rate(all[slot]!)));
        for (const [slot, one] of all.entries()) if (rate(one) < best) expect(failing).toContain(slot);
        // Cantelli's inequality.
        expect(failing.size).toBeLessThanOrEqual(all.length / (1 + policy.stdevFactor ** 2));
        const slow = new Set(found.filter(({ by }) => by === 'latency').map(({ slot }) => slot));
        const fastest = Math.min(...[...slow].map((slot) => all[slot]!.latencyMs));
        for (const [slot, one] of all.entries()) {
          if (one.latencyMs > fastest && !failing.has(slot)) expect(slow).toContain(slot);
        }
        expect(slow.size).toBeLessThanOrEqual(all.length / 2);
      }),
    );
  });

  it('every one of them is as far from its peers as the policy asks for', () => {
    fc.assert(
      fc.property(rows, (all) => {
        const mean = all.reduce((sum, one) => sum + rate(one), 0) / all.length;
        const sorted = all.map(({ latencyMs }) => latencyMs).sort((one, other) => one - other);
        const median = sorted[(sorted.length - 1) >> 1] ?? 0;
        for (const { slot, by } of findOutliers(samplesOf(all), policy)) {
          const { latencyMs } = all[slot]!;
          if (by === 'success-rate') expect(rate(all[slot]!)).toBeLessThan(mean - policy.minRateGap + 1e-9);
          else expect(latencyMs).toBeGreaterThan(Math.max(3 * median, median + 100));
        }
      }),
    );
  });

  it('their order does not matter', () => {
    fc.assert(
      fc.property(rows, (all) => {
        const there = new Set(slots(all));
        const back = new Set(slots([...all].reverse()).map((slot) => all.length - 1 - slot));
        expect(back).toEqual(there);
      }),
    );
  });
});
