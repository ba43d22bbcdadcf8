import { describe, expect, it } from 'vitest';
import { PowerOfTwoChoices } from '../../src/balance/p2c.ts';
import { seededRandom } from '../../src/core/random.ts';
import { balancerContract, candidates, figures } from '../contract/balancer.ts';

const NOBODY = new Int32Array(0);

balancerContract('p2c', (load, random) => new PowerOfTwoChoices(load, random));

describe('p2c', () => {
  it('never sends to the busier of two', () => {
    const load = figures();
    load.inflight[1] = 5;
    load.inflight[2] = 4;
    const balancer = new PowerOfTwoChoices(load, seededRandom(1));
    for (let pick = 0; pick < 100; pick++) expect(balancer.pick(candidates([1, 2]), NOBODY, 0)).toBe(2);
  });

  it('lets two idle instances take turns', () => {
    const balancer = new PowerOfTwoChoices(figures(), seededRandom(5));
    const view = candidates([1, 2], true);
    const picks = Array.from({ length: 10 }, () => balancer.pick(view, NOBODY, 0));
    expect(picks.join('')).toMatch(/^(12)+$|^(21)+$/);
  });

  it('never sends to the busiest of many, and sends to every other', () => {
    const load = figures();
    const slots = [0, 1, 2, 3, 4, 5, 6, 7];
    for (const slot of slots) load.inflight[slot] = 1 + slot;
    const balancer = new PowerOfTwoChoices(load, seededRandom(2));
    const seen = new Set<number>();
    const view = candidates(slots, true);
    for (let pick = 0; pick < 2000; pick++) seen.add(balancer.pick(view, NOBODY, 0));
    expect([...seen].sort()).toEqual([0, 1, 2, 3, 4, 5, 6]);
  });

  it('measures load against weight', () => {
    const load = figures();
    load.weight[1] = 10;
    load.inflight[1] = 4; // (4 + 1) / 10 < (0 + 1) / 1
    const balancer = new PowerOfTwoChoices(load, seededRandom(3));
    for (let pick = 0; pick < 100; pick++) expect(balancer.pick(candidates([1, 2]), NOBODY, 0)).toBe(1);
  });

  it.each([
    ['equal', [1, 1, 1, 1]],
    ['unequal', [4, 2, 1, 1]],
  ])('holds in-flight requests by weight when all are busy: %s weights', (_name, weights) => {
    const load = figures();
    const slots = weights.map((_, at) => at);
    slots.forEach((slot) => (load.weight[slot] = weights[slot]!));
    const random = seededRandom(4);
    const balancer = new PowerOfTwoChoices(load, random);
    const view = candidates(slots);
    const held: number[] = [];
    const sums = weights.map(() => 0);
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    for (let round = 0; round < 20_000; round++) {
      if (held.length === 20 * total) load.inflight[held.splice(Math.floor(random() * held.length), 1)[0]!]!--;
      const slot = balancer.pick(view, NOBODY, 0);
      load.inflight[slot]!++;
      held.push(slot);
      if (round >= 10_000) slots.forEach((each) => (sums[each]! += load.inflight[each]!));
    }
    slots.forEach((slot) => {
      const share = sums[slot]! / 10_000 / (20 * total);
      expect(share / (weights[slot]! / total)).toBeGreaterThan(0.9);
      expect(share / (weights[slot]! / total)).toBeLessThan(1.1);
    });
  });
});
