import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { longestFastGapMs } from '../../src/core/check.ts';
import { seededRandom } from '../../src/core/random.ts';
import { fastTurnMs, FirstTurns, phaseOf, retryTurnMs, steadyTurnMs } from '../../src/health/schedule.ts';
import { TIMING } from './fixtures.ts';

describe('phaseOf', () => {
  it('is the same for the same name', () => {
    expect(phaseOf('web/a/tcp')).toBe(phaseOf('web/a/tcp'));
  });

  it('spreads similar names evenly', () => {
    const buckets = new Array<number>(50).fill(0);
    for (let index = 0; index < 50_000; index++) buckets[Math.floor(phaseOf(`web/10.0.0.1-${index}/tcp`) * 50)]!++;
    expect(Math.min(...buckets)).toBeGreaterThan(850);
    expect(Math.max(...buckets)).toBeLessThan(1150);
  });
});

describe('steadyTurnMs', () => {
  const timing = fc.record({
    intervalMs: fc.integer({ min: 100, max: 60_000 }),
    jitter: fc.double({ min: 0, max: 0.5, noNaN: true }),
  });
  const phase = fc.double({ min: 0, max: 0.999_999, noNaN: true });

  it('keeps neighbouring turns within the interval and its jitter, and on the grid for ever', () => {
    fc.assert(
      fc.property(timing, phase, fc.nat(), ({ intervalMs, jitter }, at, seed) => {
        const random = seededRandom(seed);
        const full = { ...TIMING, intervalMs, jitter };
        let turnMs = steadyTurnMs(full, at, undefined, 1234, random);
        expect(turnMs).toBeGreaterThanOrEqual(1234);
        expect(turnMs).toBeLessThanOrEqual(1234 + intervalMs * (1 + jitter / 2) + 1e-6);
        const firstMs = turnMs;
        for (let count = 1; count <= 50; count++) {
          const next = steadyTurnMs(full, at, turnMs, turnMs + 1, random);
          expect(next - turnMs).toBeLessThanOrEqual(intervalMs * (1 + jitter) + 1e-6);
          expect(next - turnMs).toBeGreaterThanOrEqual(intervalMs * (1 - jitter) - 1e-6);
          expect(Math.abs(next - firstMs - count * intervalMs)).toBeLessThanOrEqual(intervalMs * jitter + 1e-6);
          turnMs = next;
        }
      }),
    );
  });

  it('skips turns that were missed and never names a time that has passed', () => {
    fc.assert(
      fc.property(
        timing,
        phase,
        fc.integer({ min: 0, max: 10_000_000 }),
        fc.nat(),
        ({ intervalMs, jitter }, at, lateMs, seed) => {
          const random = seededRandom(seed);
          const full = { ...TIMING, intervalMs, jitter };
          const turnMs = steadyTurnMs(full, at, undefined, 0, random);
          const nowMs = turnMs + lateMs;
          const next = steadyTurnMs(full, at, turnMs, nowMs, random);
          expect(next).toBeGreaterThanOrEqual(nowMs);
          expect(next).toBeLessThanOrEqual(nowMs + intervalMs * (1 + jitter) + 1e-6);
        },
      ),
    );
  });
});

describe('turns off the grid', () => {
  it('shortens the fast gap by jitter and never lengthens it', () => {
    const random = seededRandom(3);
    for (let count = 0; count < 1000; count++) {
      const gapMs = fastTurnMs(TIMING, 100, 150, random) - 100;
      expect(gapMs).toBeLessThanOrEqual(longestFastGapMs(TIMING));
      expect(gapMs).toBeGreaterThanOrEqual(longestFastGapMs(TIMING) * 0.8);
    }
  });

  it('comes at once after a run that took longer than the fast gap', () => {
    expect(fastTurnMs(TIMING, 0, 2000, seededRandom(1))).toBe(2000);
  });

  it('asks again within the fast gap after a result that did not count', () => {
    const random = seededRandom(3);
    for (let count = 0; count < 100; count++) {
      const inMs = retryTurnMs(TIMING, 1000, random) - 1000;
      expect(inMs).toBeGreaterThanOrEqual(500);
      expect(inMs).toBeLessThanOrEqual(1000);
    }
  });
});

describe('FirstTurns', () => {
  it('asks a lone newcomer at once, also after a long pause', () => {
    const turns = new FirstTurns(1000);
    expect(turns.next(50)).toBe(50);
    expect(turns.next(100_000)).toBe(100_000);
  });

  it('spreads thousands that arrive together in order of arrival', () => {
    const turns = new FirstTurns(1000);
    const given = Array.from({ length: 3000 }, () => turns.next(500));
    expect(given.slice(0, 100).every((turnMs) => turnMs === 500)).toBe(true);
    expect(given.at(-1)).toBeCloseTo(500 + 2900, 5);
    expect(given).toEqual([...given].sort((a, b) => a - b));
  });
});
