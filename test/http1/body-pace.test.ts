import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BodyPace } from '../../src/http1/body-pace.ts';

const limits = { bodyIdleMs: 60_000, bodyMinBytesPerSecond: 240, bodyGraceMs: 10_000 };

describe('the pace of a request body', () => {
  it('is looked at first after the grace, or after the rest it may have where that is shorter', () => {
    expect(new BodyPace(limits).begin(1000)).toBe(11_000);
    expect(new BodyPace({ ...limits, bodyIdleMs: 3000 }).begin(1000)).toBe(4000);
  });

  it('is too slow from the grace on below the least rate, and not before', () => {
    const pace = new BodyPace(limits);
    pace.begin(0);
    expect(pace.look(9999, 1, false)).toBeDefined();
    expect(pace.look(10_000, 2399, false)).toBeUndefined();
    expect(pace.look(10_000, 2400, false)).toBe(20_000);
  });

  it('is too slow after a rest, however fast it was before', () => {
    const pace = new BodyPace(limits);
    pace.begin(0);
    expect(pace.look(10_000, 1_000_000, false)).toBe(20_000);
    expect(pace.look(69_999, 1_000_000, false)).toBe(70_000);
    expect(pace.look(70_000, 1_000_000, false)).toBeUndefined();
  });

  it('does not count what we hold back ourselves', () => {
    const pace = new BodyPace(limits);
    pace.begin(0);
    pace.pause(1000);
    expect(pace.look(500_000, 240, true)).toBe(510_000);
    expect(pace.resume(600_000)).toBe(610_000);
    expect(pace.look(600_100, 264, false)).toBeDefined();
    expect(pace.look(609_000, 2399, false)).toBeUndefined();
  });

  it('knows nothing of the body before', () => {
    const pace = new BodyPace(limits);
    pace.begin(0);
    expect(pace.look(10_000, 100_000, false)).toBeDefined();
    pace.begin(100_000);
    expect(pace.look(110_000, 2399, false)).toBeUndefined();
  });

  it('never refuses what comes at the least rate and does not rest', () => {
    const steps = fc.array(fc.integer({ min: 1, max: 59_000 }), { minLength: 1, maxLength: 50 });
    fc.assert(
      fc.property(steps, (waits) => {
        const pace = new BodyPace(limits);
        pace.begin(0);
        let nowMs = 0;
        for (const waitMs of waits) {
          nowMs += waitMs;
          const nextMs = pace.look(nowMs, Math.ceil((240 * nowMs) / 1000), false);
          expect(nextMs).toBeGreaterThan(nowMs);
          expect(nextMs).toBeLessThanOrEqual(nowMs + limits.bodyGraceMs);
        }
      }),
    );
  });
});
