import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { OUTCOMES } from '../../src/core/outcome.ts';
import { METHODS, methodIndex, RETRY_REASONS, type MethodIndex } from '../../src/telemetry/closed-sets.ts';
import {
  CODE_SLOTS,
  methodOfKey,
  ROW,
  ROW_CELLS,
  RowSum,
  statusOfKey,
  TrafficMeters,
} from '../../src/telemetry/traffic.ts';

function codesOf(sum: RowSum): Map<string, number> {
  return new Map(
    [...sum.codes].map(([key, count]) => [`${METHODS[methodOfKey(key)] ?? '?'} ${statusOfKey(key)}`, count]),
  );
}

function total(sum: RowSum, at: number, size: number): number {
  return sum.cells.subarray(at, at + size).reduce((all, count) => all + count, 0);
}

describe('the counters of a service', () => {
  test('count what they are told, whatever the order, and sum it over threads', () => {
    const request = fc.record({
      method: fc.integer({ min: 0, max: 7 }),
      status: fc.constantFrom(200, 204, 301, 404, 499, 502, 503),
      durationMs: fc.double({ min: 0, max: 1e5, noNaN: true }),
      thread: fc.integer({ min: 0, max: 2 }),
    });
    fc.assert(
      fc.property(fc.array(request, { maxLength: 200 }), (requests) => {
        const threads = [0, 1, 2].map(() => new TrafficMeters({ services: 4 }));
        const rows = threads.map((thread) => thread.row(3));
        const expected = new Map<string, number>();
        for (const { method, status, durationMs, thread } of requests) {
          rows[thread]!.request(method as MethodIndex, status, durationMs, durationMs / 10);
          const name = `${METHODS[method]!} ${status}`;
          expected.set(name, (expected.get(name) ?? 0) + 1);
        }
        const sum = new RowSum();
        sum.load(threads, 3);
        expect(codesOf(sum)).toEqual(expected);
        expect(total(sum, ROW.duration, ROW.durationSumMs - ROW.duration)).toBe(requests.length);
        expect(total(sum, ROW.overhead, ROW.overheadSumMs - ROW.overhead)).toBe(requests.length);
        const expectedMs = requests.reduce((all, { durationMs }) => all + durationMs, 0);
        expect(sum.at(ROW.durationSumMs)).toBeCloseTo(expectedMs, 3);
        expect(sum.at(ROW.overheadSumMs)).toBeCloseTo(expectedMs / 10, 3);
      }),
      { numRuns: 50 },
    );
  });

  test('stay within their row: neighbours see nothing', () => {
    const meters = new TrafficMeters({ services: 3 });
    const row = meters.row(1);
    for (let status = 100; status < 600; status++) row.request(7, status, 1e12, 1e12);
    for (const outcome of OUTCOMES) row.attempt(outcome);
    for (const reason of RETRY_REASONS) row.retry(reason);
    row.budgetExhausted();
    row.breakerTransition('half-open');
    row.probe('ttl', 'timeout');
    row.registration();
    row.deregistration('replaced');
    const sum = new RowSum();
    for (const neighbour of [0, 2]) {
      sum.load([meters], neighbour);
      expect(sum.cells.every((cell) => cell === 0)).toBe(true);
      expect(sum.codes.size).toBe(0);
    }
    sum.load([meters], 1);
    const sets = [
      ROW.attempts,
      ROW.retries,
      ROW.budgetExhausted,
      ROW.breakerTransitions,
      ROW.probes,
      ROW.registrations,
    ];
    const ends = [...sets.slice(1), ROW.deregistrations];
    expect(sets.map((at, index) => total(sum, at, ends[index]! - at))).toEqual([
      OUTCOMES.length,
      RETRY_REASONS.length,
      1,
      1,
      1,
      1,
    ]);
    expect(total(sum, ROW.deregistrations, ROW_CELLS - ROW.deregistrations)).toBe(1);
  });

  test('bound the pairs of method and status, and lose no request over it', () => {
    const meters = new TrafficMeters({ services: 1 });
    const row = meters.row(0);
    for (let status = 100; status < 600; status++) row.request(0, status, 1, 0);
    const sum = new RowSum();
    sum.load([meters], 0);
    expect(sum.codes.size).toBe(CODE_SLOTS);
    expect(sum.at(ROW.codeOther)).toBe(500 - CODE_SLOTS);
  });

  test.each([0, 42, 99, 600, 1023, 70_000, -1, Number.NaN])('count the impossible status %s as other', (status) => {
    const meters = new TrafficMeters({ services: 1 });
    meters.row(0).request(2, status, 1, 0);
    const sum = new RowSum();
    sum.load([meters], 0);
    expect(sum.codes.size).toBe(0);
    expect(sum.at(ROW.codeOther + 2)).toBe(1);
  });

  test('are seen by a reader of the same shared buffer, and cleared for the next owner of the row', () => {
    const writer = new TrafficMeters({ services: 2 });
    const reader = new TrafficMeters({ services: 2, buffer: writer.buffer });
    writer.row(1).request(0, 200, 3, 1);
    const sum = new RowSum();
    sum.load([reader], 1);
    expect(codesOf(sum)).toEqual(new Map([['GET 200', 1]]));
    writer.clear(1);
    sum.load([reader], 1);
    expect(sum.codes.size + sum.at(ROW.duration)).toBe(0);
    expect(() => new TrafficMeters({ services: 3, buffer: writer.buffer })).toThrow('rows');
    expect(() => writer.row(2)).toThrow(RangeError);
  });
});

test('methods are a closed set, and case matters', () => {
  expect(METHODS.slice(0, -1).map((method) => METHODS[methodIndex(method)])).toEqual(METHODS.slice(0, -1));
  for (const method of ['get', 'PROPFIND', '__proto__', '']) expect(METHODS[methodIndex(method)]).toBe('other');
});
