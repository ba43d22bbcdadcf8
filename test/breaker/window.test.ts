import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BreakerColumns } from '../../src/breaker/columns.ts';
import { ManualClock } from '../../src/core/clock.ts';

/** The window of one slot among others that have counts of their own. */
class AttemptWindow {
  readonly columns = new BreakerColumns(3);
  readonly clock: ManualClock;
  readonly windowMs: number;

  constructor(clock: ManualClock, windowMs: number) {
    this.clock = clock;
    this.windowMs = windowMs;
    for (const slot of [0, 2]) this.columns.failed(slot, 0, windowMs);
  }

  addSuccess(): void {
    this.columns.succeeded(1, this.clock.now(), this.windowMs);
  }

  addFailure(): void {
    this.columns.failed(1, this.clock.now(), this.windowMs);
  }

  get successes(): number {
    return this.columns.successes(1, this.clock.now(), this.windowMs);
  }

  get failures(): number {
    return this.columns.failures(1, this.clock.now(), this.windowMs);
  }
}

describe('the window of attempts', () => {
  it('forgets what is older than itself', () => {
    const clock = new ManualClock();
    const window = new AttemptWindow(clock, 10_000);
    window.addFailure();
    clock.advance(8_999);
    window.addSuccess();
    expect([window.successes, window.failures]).toEqual([1, 1]);
    clock.advance(1_001);
    expect([window.successes, window.failures]).toEqual([1, 0]);
    clock.advance(1_000_000);
    expect([window.successes, window.failures]).toEqual([0, 0]);
  });

  it('counts, at any time, everything of the last nine tenths and nothing older than the whole', () => {
    const step = fc.record({ afterMs: fc.nat(3000), success: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: 'max' }), fc.nat(15_000), (steps, waitMs) => {
        const clock = new ManualClock();
        const window = new AttemptWindow(clock, 10_000);
        const log: { atMs: number; success: boolean }[] = [];
        for (const { afterMs, success } of steps) {
          clock.advance(afterMs);
          if (success) window.addSuccess();
          else window.addFailure();
          log.push({ atMs: clock.now(), success });
        }
        clock.advance(waitMs);
        const youngerThan = (ageMs: number, success: boolean): number =>
          log.filter((entry) => entry.success === success && clock.now() - entry.atMs < ageMs).length;
        for (const [counted, success] of [
          [window.successes, true],
          [window.failures, false],
        ] as const) {
          expect(counted).toBeGreaterThanOrEqual(youngerThan(9_000, success));
          expect(counted).toBeLessThanOrEqual(youngerThan(10_000, success));
        }
      }),
    );
  });
});
