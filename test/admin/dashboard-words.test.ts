import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { quantile, Rates } from '../../src/admin/dashboard/rates.js';
import { age, bytes, duration, figure, percent, plain, time } from '../../src/admin/dashboard/text.js';

describe('words of others', () => {
  test('what cannot be seen, or turns directions, is written out', () => {
    expect(plain('a\u202eb\u0000\n\u200b\ud800')).toBe('a\\u{202e}b\\u{0}\\u{a}\\u{200b}\\u{d800}');
    expect(plain('<img src=x onerror=alert(1)>')).toBe('<img src=x onerror=alert(1)>');
    expect(plain(undefined)).toBe('');
  });

  test('whatever comes is bounded and has no control characters', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 2000 }), (text) => {
        const shown = plain(text);
        expect(shown).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
        expect(shown.length).toBeLessThanOrEqual(601 * 10);
      }),
      { numRuns: 200 },
    );
  });
});

test.each([
  [age(400), '< 1 s'],
  [age(61_000), '1 min 1 s'],
  [age(3 * 3_600_000), '3 h'],
  [age(2 * 86_400_000 + 3_600_000), '2 d 1 h'],
  [duration(0.5), '0.50 ms'],
  [duration(12.34), '12.3 ms'],
  [duration(1234), '1.2 s'],
  [figure(0), '0'],
  [figure(0.001), '< 0.01'],
  [figure(12_345), '12,345'],
  [percent(0), '0 %'],
  [percent(1), '100 %'],
  [percent(0.99999), '> 99.9 %'],
  [percent(0.00001), '< 0.01 %'],
  [percent(0.0123), '1.2 %'],
  [bytes(3 * 2 ** 20), '3.0 MiB'],
])('%s', (shown, expected) => {
  expect(shown).toBe(expected);
});

test('a time has its day where it is not today', () => {
  const now = new Date(2026, 10, 21, 3, 4, 5).getTime();
  expect(time(now, now)).toBe('03:04:05');
  expect(time(now - 86_400_000, now)).toBe('2026-11-20 03:04:05');
});

describe('rates', () => {
  const BOUNDS = [10, 100];
  const traffic = (requests: number, errors = 0, durations = [requests, 0, 0]) => ({
    name: 'web',
    traffic: { requests, errors, retries: 0, retriesForbidden: 0, durations },
  });

  test('need two looks, and are over the last 30 s', () => {
    const rates = new Rates();
    rates.add([traffic(1000)], 0, BOUNDS);
    expect(rates.of('web')).toBeUndefined();
    rates.add([traffic(1100, 11)], 10_000, BOUNDS);
    expect(rates.of('web')).toMatchObject({ perSecond: 10, errorShare: 0.11 });
    rates.add([traffic(1500, 11)], 40_000, BOUNDS);
    // The first look is forgotten by now.
    expect(rates.of('web')).toMatchObject({ perSecond: 400 / 30, errorShare: 0 });
  });

  test('begin anew when counts fall, and have no share of nothing', () => {
    const rates = new Rates();
    rates.add([traffic(1000)], 0, BOUNDS);
    rates.add([traffic(5)], 2000, BOUNDS);
    expect(rates.of('web')).toBeUndefined();
    rates.add([traffic(5)], 4000, BOUNDS);
    expect(rates.of('web')).toMatchObject({ perSecond: 0, errorShare: undefined, p99Ms: undefined });
  });

  test('forget services that are no longer looked at', () => {
    const rates = new Rates();
    rates.add([traffic(1)], 0, BOUNDS);
    rates.add([], 1000, BOUNDS);
    rates.add([traffic(2)], 2000, BOUNDS);
    expect(rates.of('web')).toBeUndefined();
  });

  test('a quantile lies within the bucket of its rank', () => {
    expect(quantile(0.5, [10, 0, 0], BOUNDS)).toBe(5);
    expect(quantile(0.99, [0, 100, 0], BOUNDS)).toBeCloseTo(99.1);
    expect(quantile(0.99, [1, 0, 1], BOUNDS)).toBe(Infinity);
    expect(quantile(0.99, [0, 0, 0], BOUNDS)).toBeUndefined();
  });
});
