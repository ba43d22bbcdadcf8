import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import { TimingWheel } from '../../src/core/wheel.ts';
import { Turns } from '../../src/health/turns.ts';
import { StallingClock } from './fixtures.ts';

const TICK_MS = 10;

function setUp<C extends ManualClock | StallingClock>(clock: C, onTurn: (row: number, nowMs: number) => void) {
  const wheel = new TimingWheel({ clock, tickMs: TICK_MS, slots: 64 });
  return { clock, turns: new Turns(wheel, TICK_MS, onTurn) };
}

describe('Turns', () => {
  it('come once each, never early and at most a tick late, however rows are moved, taken out and added', () => {
    const row = fc.integer({ min: 1, max: 40 });
    const step = fc.oneof(
      // Beyond the 20 s of one rotation as well, and in the past.
      fc.record({ do: fc.constant('schedule' as const), row, by: fc.integer({ min: -50, max: 70_000 }) }),
      fc.record({ do: fc.constant('schedule' as const), row, by: fc.integer({ min: 0, max: 100 }) }),
      fc.record({ do: fc.constant('cancel' as const), row, by: fc.constant(0) }),
      fc.record({ do: fc.constant('advance' as const), row, by: fc.integer({ min: 0, max: 30_000 }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const waiting = new Map<number, { dueMs: number; sinceMs: number }>();
        const { clock, turns } = setUp(new ManualClock(), (came, nowMs) => {
          const { dueMs, sinceMs } = waiting.get(came)!;
          expect(nowMs).toBeGreaterThanOrEqual(dueMs);
          expect(nowMs).toBeLessThanOrEqual(Math.max(dueMs, sinceMs) + TICK_MS);
          expect(turns.at(came)).toBe(dueMs);
          waiting.delete(came);
        });
        for (const { do: what, row: at, by } of steps) {
          const nowMs = clock.now();
          if (what === 'advance') clock.advance(by);
          else if (what === 'cancel') {
            turns.cancel(at);
            waiting.delete(at);
          } else {
            turns.schedule(at, nowMs + by);
            waiting.set(at, { dueMs: nowMs + by, sinceMs: nowMs });
          }
          if (waiting.size === 0) expect(clock.pending).toBe(0);
        }
        clock.advance(100_000);
        expect([waiting.size, clock.pending]).toEqual([0, 0]);
      }),
      { numRuns: 300 },
    );
  });

  it('survive what a turn does to those that are due with it', () => {
    const came: number[] = [];
    const { clock, turns } = setUp(new ManualClock(), (row, nowMs) => {
      came.push(row);
      if (row !== 2 || came.length > 2) return;
      turns.cancel(3);
      turns.schedule(4, nowMs + 1000);
      turns.schedule(2, nowMs);
      // Far more rows than there was room for.
      turns.schedule(5000, nowMs);
    });
    for (const row of [1, 2, 3, 4, 5]) turns.schedule(row, 15);
    clock.advance(20);
    expect(came).toEqual([1, 2, 5]);
    clock.advance(10);
    expect(came).toEqual([1, 2, 5, 2, 5000]);
    clock.advance(2000);
    expect(came.filter((row) => row === 4)).toHaveLength(1);
    expect(came).not.toContain(3);
  });

  it('of a bucket come all the same where one of them throws', () => {
    const came: number[] = [];
    const { clock, turns } = setUp(new StallingClock(), (row) => {
      came.push(row);
      if (row === 1) throw new Error('a turn that fails');
    });
    for (const row of [1, 2, 3]) turns.schedule(row, 15);
    expect(() => clock.advance(30)).toThrow('a turn that fails');
    clock.advance(30);
    expect(came).toEqual([1, 2, 3]);
    expect(clock.pending).toBe(0);
  });

  it('that fell due together in a stall come over several ticks, so that the loop is not blocked again', () => {
    let came = 0;
    const { clock, turns } = setUp(new StallingClock(), () => came++);
    for (let row = 1; row <= 10_000; row++) turns.schedule(row, 100 + (row % 500));
    clock.stall(5000);
    expect(came).toBe(4096);
    clock.advance(10);
    expect(came).toBe(8192);
    clock.advance(10);
    expect(came).toBe(10_000);
    expect(clock.pending).toBe(0);
  });

  it('have a time', () => {
    const { turns } = setUp(new ManualClock(), () => undefined);
    expect(() => turns.schedule(1, Number.NaN)).toThrow('a turn needs a time');
  });
});
