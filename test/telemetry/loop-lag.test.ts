import { expect, test } from 'vitest';
import { ManualClock, type Clock } from '../../src/core/clock.ts';
import { watchLoopLag } from '../../src/telemetry/loop-lag.ts';

test('tells how late its timer fires, ten times a second, until it is ended', () => {
  const manual = new ManualClock();
  let lateMs = 0;
  const clock: Clock = {
    now: () => manual.now(),
    wall: () => manual.wall(),
    after: (delayMs, task) => manual.after(delayMs + lateMs, task),
  };
  const lags: number[] = [];
  const end = watchLoopLag(clock, (lagMs) => lags.push(lagMs));
  lateMs = 40;
  manual.advance(100);
  manual.advance(140);
  expect(lags).toEqual([0, 40]);
  end();
  manual.advance(1000);
  expect([lags.length, manual.pending]).toEqual([2, 0]);
});
