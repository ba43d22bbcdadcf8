import { expect, it } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import { Pace } from '../../src/core/pace.ts';

it('lets a burst come at once, then one turn in each interval, and after a rest a burst again', () => {
  const clock = new ManualClock();
  const pace = new Pace(clock, { burst: 3, everyMs: 10 });
  const turnsNow = (): number => {
    let turns = 0;
    for (; pace.waitMs <= 0; turns++) pace.turn();
    return turns;
  };
  // The one that uses the burst up is let through as well.
  expect(turnsNow()).toBe(4);
  expect(pace.waitMs).toBe(10);
  clock.advance(10);
  expect(turnsNow()).toBe(1);
  clock.advance(25);
  expect(turnsNow()).toBe(2);
  clock.advance(1000);
  expect(turnsNow()).toBe(4);
});

it('asks for no wait where the interval is nothing', () => {
  const pace = new Pace(new ManualClock(), { burst: 1, everyMs: 0 });
  for (let turn = 0; turn < 10; turn++) {
    expect(pace.waitMs).toBeLessThanOrEqual(0);
    pace.turn();
  }
});
