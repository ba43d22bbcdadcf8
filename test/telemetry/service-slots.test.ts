import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import { OTHER_SERVICES, ServiceSlots } from '../../src/telemetry/service-slots.ts';

function slots(capacity: number): { slots: ServiceSlots; clock: ManualClock } {
  const clock = new ManualClock();
  return { clock, slots: new ServiceSlots({ clock, capacity, lingerMs: 1000 }) };
}

test('a service keeps its row while it lives, and one that nobody had before needs no clearing', () => {
  const { slots: it } = slots(8);
  const first = it.acquire('web');
  expect(first.fresh).toBe(false);
  expect(it.acquire('web')).toEqual({ slot: first.slot, fresh: false });
  expect([...it.entries()].map(([, name]) => name)).toEqual(['(none)', '(other)', 'web']);
});

test('a row outlives its service for a while, and goes on counting when the service comes back', () => {
  const { slots: it, clock } = slots(8);
  const { slot } = it.acquire('web');
  it.release('web');
  clock.advance(900);
  it.reclaim();
  expect(it.acquire('web')).toEqual({ slot, fresh: false });
  it.release('web');
  clock.advance(1001);
  it.reclaim();
  expect([...it.entries()]).toHaveLength(2);
  expect(it.acquire('web').fresh).toBe(true);
});

test('services beyond the rows count together, and are told apart from the others', () => {
  const { slots: it } = slots(4);
  it.acquire('a');
  it.acquire('b');
  expect(it.acquire('c').slot).toBe(OTHER_SERVICES);
  expect([it.isCrowdedOut('a'), it.isCrowdedOut('c'), it.crowdedOut]).toEqual([false, true, 1]);
  it.release('c');
  expect(it.crowdedOut).toBe(0);
});

test('a service that is here takes the row of one that has gone, without waiting', () => {
  const { slots: it } = slots(4);
  it.acquire('a');
  const { slot } = it.acquire('b');
  it.release('b');
  expect(it.acquire('c')).toEqual({ slot, fresh: true });
});

test('no two services ever share a row of their own, and rows never run over', () => {
  const step = fc.record({
    name: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'),
    kind: fc.constantFrom('acquire', 'release', 'wait'),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      const { slots: it, clock } = slots(5);
      for (const { name, kind } of steps) {
        if (kind === 'acquire') it.acquire(name);
        else if (kind === 'release') it.release(name);
        else clock.advance(600);
        const entries = [...it.entries()];
        expect(new Set(entries.map(([slot]) => slot)).size).toBe(entries.length);
        expect(new Set(entries.map(([, label]) => label)).size).toBe(entries.length);
        expect(entries.every(([slot]) => slot < 5)).toBe(true);
      }
    }),
  );
});
