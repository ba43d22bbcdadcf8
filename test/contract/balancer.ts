import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Balancer, Candidates, LoadFigures } from '../../src/balance/balancer.ts';
import type { Random } from '../../src/core/random.ts';
import { seededRandom } from '../../src/core/random.ts';

const CAPACITY = 2048;
const NOBODY = new Int32Array(8);

export function figures(): LoadFigures {
  return {
    inflight: new Int32Array(CAPACITY),
    weight: new Float64Array(CAPACITY).fill(1),
    latencyMs: new Float64Array(CAPACITY),
  };
}

let revision = 0;

export function candidates(slots: readonly number[], uniform = false): Candidates {
  return { revision: ++revision, slots: Int32Array.from(slots), uniform };
}

/** What every balancer owes, whatever its policy. */
export function balancerContract(name: string, create: (figures: LoadFigures, random: Random) => Balancer): void {
  describe(`${name}, as a balancer`, () => {
    const slotsArbitrary = fc.uniqueArray(fc.nat(CAPACITY - 1), { maxLength: 40, size: 'max' });
    const weightArbitrary = fc.oneof(
      fc.constant(1),
      fc.integer({ min: 1, max: 1000 }),
      fc.double({ min: 0.001, max: 10, noNaN: true }),
    );

    it('picks only candidates that were not tried, and says -1 exactly when none is left', () => {
      fc.assert(
        fc.property(
          slotsArbitrary,
          fc.array(fc.nat(CAPACITY - 1), { maxLength: 6 }),
          fc.array(weightArbitrary, { minLength: 40, maxLength: 40 }),
          fc.array(fc.nat(100), { minLength: 40, maxLength: 40 }),
          fc.nat(),
          (slots, strangers, weights, loads, seed) => {
            const load = figures();
            slots.forEach((slot, at) => {
              load.weight[slot] = weights[at]!;
              load.inflight[slot] = loads[at]!;
            });
            const balancer = create(load, seededRandom(seed));
            const view = candidates(slots);
            // Strangers among the tried: slots of an older view, which must not be mistaken for candidates.
            const tried = Int32Array.from([...strangers, ...slots.map(() => 0)]);
            const left = new Set(slots.filter((slot) => !strangers.includes(slot)));
            let count = strangers.length;
            while (left.size > 0) {
              const slot = balancer.pick(view, tried, count);
              expect(left.delete(slot)).toBe(true);
              tried[count++] = slot;
            }
            expect(balancer.pick(view, tried, count)).toBe(-1);
          },
        ),
        { numRuns: 300 },
      );
    });

    it('ignores what lies in `tried` past the count', () => {
      const balancer = create(figures(), seededRandom(1));
      expect(balancer.pick(candidates([5]), Int32Array.of(5), 0)).toBe(5);
    });

    it.each([
      ['equal weights', [1, 1, 1, 1, 1]],
      ['one heavy', [10, 1, 1, 1]],
      ['two', [3, 1]],
      ['fractions, as slow start has them', [1, 0.1, 0.55, 1]],
      ['many kinds', [1, 2, 3, 4, 5, 6, 7, 8]],
    ])('shares idle candidates by weight: %s', (_name, weights) => {
      const load = figures();
      const slots = weights.map((_, at) => 3 + 7 * at);
      slots.forEach((slot, at) => (load.weight[slot] = weights[at]!));
      for (const seed of [1, 2, 3]) {
        expectShares(create(load, seededRandom(seed)), candidates(slots), weights);
      }
    });

    it('keeps the shares while the candidates change under it', () => {
      const load = figures();
      const balancer = create(load, seededRandom(4));
      const views = [candidates([1, 2, 3, 4]), candidates([1, 2, 3, 4]), candidates([1, 2, 4])];
      const counts = new Map<number, number>();
      for (let round = 0; round < 30_000; round++) {
        const slot = balancer.pick(views[round % 2]!, NOBODY, 0);
        counts.set(slot, (counts.get(slot) ?? 0) + 1);
      }
      for (const slot of [1, 2, 3, 4]) expect(counts.get(slot)).toBeGreaterThan(7000);
      for (let round = 0; round < 100; round++) expect(balancer.pick(views[2]!, NOBODY, 0)).not.toBe(3);
    });

    it('follows weights that come with a new revision', () => {
      const load = figures();
      const balancer = create(load, seededRandom(5));
      balancer.pick(candidates([1, 2], true), NOBODY, 0);
      load.weight[2] = 9;
      expectShares(balancer, candidates([1, 2]), [1, 9]);
    });

    it('takes the caller at its word that weights are uniform', () => {
      expectShares(create(figures(), seededRandom(6)), candidates([9, 8, 7, 6], true), [1, 1, 1, 1]);
    });
  });
}

/** Pearson's chi-square below its 99.9 % quantile, for up to 7 degrees of freedom. */
function expectShares(balancer: Balancer, view: Candidates, weights: readonly number[]): void {
  const picks = 20_000;
  const counts = new Map<number, number>();
  for (let pick = 0; pick < picks; pick++) {
    const slot = balancer.pick(view, NOBODY, 0);
    counts.set(slot, (counts.get(slot) ?? 0) + 1);
  }
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  let chiSquare = 0;
  view.slots.forEach((slot, at) => {
    const expected = (picks * weights[at]!) / total;
    chiSquare += ((counts.get(slot) ?? 0) - expected) ** 2 / expected;
  });
  expect(chiSquare).toBeLessThan(24.3);
}
