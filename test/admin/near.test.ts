import { expect, test } from 'vitest';
import { ageText } from '../../src/admin/age.ts';
import { nearMatches } from '../../src/admin/near.ts';

test('a misspelling comes first, then names that contain the word, three at most', () => {
  const names = ['payment', 'payment-v2', 'old-payment', 'web', 'paiment'];
  expect(nearMatches('payment', names)).toEqual(['paiment', 'payment', 'payment-v2']);
  expect(nearMatches('wbe', names)).toEqual(['web']);
  expect(nearMatches('zzz', names)).toEqual([]);
  expect(nearMatches('', names)).toEqual([]);
});

test('very many names and a very long word cost little', () => {
  const names = Array.from({ length: 100_000 }, (_, at) => `service-${at}`);
  expect(nearMatches('x'.repeat(10_000), names)).toEqual([]);
  expect(nearMatches('servcie-12', names)).toEqual(['service-12']);
});

test('ages are told in the largest unit that fits', () => {
  const ages = [0, 0.4, 999, 1000, 59_999, 60_000, 3_599_999, 3_600_000, 86_400_000, -5];
  expect(ages.map(ageText)).toEqual(['0 ms', '0 ms', '999 ms', '1 s', '59 s', '1 min', '59 min', '1 h', '1 d', '0 ms']);
});
