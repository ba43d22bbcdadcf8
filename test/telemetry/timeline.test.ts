import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import { Timeline, type TimelineEvent } from '../../src/telemetry/timeline.ts';

function timeline(part: { perSubject?: number; total?: number; latest?: number } = {}): Timeline {
  return new Timeline({ clock: new ManualClock(), ...part });
}

function probe(it: Timeline, instance: string, to: string): TimelineEvent {
  return it.add({ kind: 'probe', service: 'web', instance, to, cause: 'test' });
}

const fates = (events: readonly TimelineEvent[]): string[] => events.map(({ to }) => to);

test('tells what happened to an instance, to its service as a whole and to everything', () => {
  const it = timeline();
  probe(it, 'i-1', 'failing');
  it.add({ kind: 'panic', service: 'web', from: 'off', to: 'on', cause: '1 of 3 available', evidence: 'below 50 %' });
  it.add({ kind: 'config', to: 'reloaded', cause: 'SIGHUP' });
  probe(it, 'i-2', 'passing');
  expect(fates(it.of('web', 'i-1'))).toEqual(['failing']);
  expect(fates(it.of('web'))).toEqual(['on']);
  expect(fates(it.of(undefined))).toEqual(['reloaded']);
  expect(it.of('web', 'i-9')).toEqual([]);
  expect(fates(it.latest())).toEqual(['failing', 'on', 'reloaded', 'passing']);
  expect(it.of('web')[0]).toEqual({
    sequence: 2,
    wall: 1_700_000_000_000,
    kind: 'panic',
    service: 'web',
    instance: undefined,
    from: 'off',
    to: 'on',
    cause: '1 of 3 available',
    evidence: 'below 50 %',
  });
});

test('an instance that flaps forgets its own past only', () => {
  const it = timeline({ perSubject: 3 });
  probe(it, 'quiet', 'failing');
  for (let flap = 0; flap < 100; flap++) probe(it, 'flapping', `${flap}`);
  expect(fates(it.of('web', 'flapping'))).toEqual(['97', '98', '99']);
  expect(fates(it.of('web', 'quiet'))).toEqual(['failing']);
});

test('when there are too many, those that have been quiet for longest are forgotten', () => {
  const it = timeline({ total: 10 });
  for (let id = 0; id < 10; id++) probe(it, `i-${id}`, 'passing');
  probe(it, 'i-0', 'failing');
  expect(it.of('web', 'i-1')).toEqual([]);
  expect(fates(it.of('web', 'i-0'))).toEqual(['passing', 'failing']);
});

test('memory is bounded, whatever comes', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 30 }), { maxLength: 500 }),
      fc.integer({ min: 1, max: 8 }),
      fc.integer({ min: 8, max: 40 }),
      (instances, perSubject, total) => {
        const it = timeline({ perSubject, total, latest: 20 });
        for (const id of instances) {
          probe(it, `i-${id}`, 'x');
          expect(it.of('web', `i-${id}`).length).toBeGreaterThan(0);
        }
        const kept = Array.from({ length: 31 }, (_, id) => it.of('web', `i-${id}`).length);
        expect(Math.max(...kept)).toBeLessThanOrEqual(perSubject);
        expect(kept.reduce((all, one) => all + one, 0)).toBe(it.size);
        expect(it.size).toBeLessThanOrEqual(total);
        expect(it.latest().length).toBe(Math.min(20, instances.length));
      },
    ),
  );
});

test('what is kept of a subject is what came last, whatever came of others', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 200 }), (instances) => {
      const it = timeline({ perSubject: 4, total: 12 });
      const model = new Map<number, TimelineEvent[]>();
      instances.forEach((id, nth) => {
        const events = [...(model.get(id) ?? []), probe(it, `i-${id}`, `${nth}`)].slice(-4);
        model.delete(id);
        model.set(id, events);
        const total = (): number => [...model.values()].reduce((sum, { length }) => sum + length, 0);
        while (total() > 12) for (const quietest of [...model.keys()].slice(0, 1)) model.delete(quietest);
      });
      for (let id = 0; id <= 5; id++) expect(it.of('web', `i-${id}`)).toEqual(model.get(id) ?? []);
    }),
  );
});

test('long evidence is cut', () => {
  const event = timeline().add({ kind: 'probe', to: 'failing', cause: 'c'.repeat(999), evidence: 'e'.repeat(999) });
  expect([event.cause.length, event.evidence?.length]).toEqual([257, 257]);
});

test('followers hear each event once, and can ask for what they missed', () => {
  const it = timeline();
  const heard: number[] = [];
  probe(it, 'i', 'a');
  const end = it.subscribe(({ sequence }) => heard.push(sequence));
  probe(it, 'i', 'b');
  probe(it, 'i', 'c');
  end();
  end();
  probe(it, 'i', 'd');
  expect(heard).toEqual([2, 3]);
  expect(fates(it.latest({ after: 3 }))).toEqual(['d']);
  expect(fates(it.latest({ limit: 2 }))).toEqual(['c', 'd']);
});
