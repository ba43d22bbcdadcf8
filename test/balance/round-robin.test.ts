import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RoundRobin } from '../../src/balance/round-robin.ts';
import { balancerContract, candidates, figures } from '../contract/balancer.ts';

const NOBODY = new Int32Array(0);

balancerContract('round-robin', (load, random) => new RoundRobin(load, random));

/** nginx's smooth weighted round robin (ngx_http_upstream_round_robin.c), as the measure of smoothness. */
function nginx(weights: readonly number[]): () => number {
  const current = weights.map(() => 0);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return () => {
    let best = 0;
    weights.forEach((weight, at) => {
      current[at]! += weight;
      if (current[at]! > current[best]!) best = at;
    });
    current[best]! -= total;
    return best;
  };
}

/** How far the number of turns ever is from the number due: 0 would be a fluid. */
function worstDeviation(next: () => number, weights: readonly number[], picks: number): number {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const counts = weights.map(() => 0);
  let worst = 0;
  for (let pick = 1; pick <= picks; pick++) {
    counts[next()]!++;
    weights.forEach((weight, at) => (worst = Math.max(worst, Math.abs(counts[at]! - (pick * weight) / total))));
  }
  return worst;
}

function ours(weights: readonly number[]): () => number {
  const load = figures();
  weights.forEach((weight, at) => (load.weight[at] = weight));
  const balancer = new RoundRobin(load, () => 0);
  const view = candidates(weights.map((_, at) => at));
  return () => balancer.pick(view, NOBODY, 0);
}

function letters(next: () => number, picks: number): string {
  return Array.from({ length: picks }, () => 'abcdefgh'.charAt(next())).join('');
}

describe('round robin', () => {
  it('goes round where weights are equal', () => {
    expect(letters(ours([1, 1, 1]), 9)).toBe('abcabcabc');
    expect(letters(ours([7, 7]), 4)).toBe('abab');
  });

  it('begins somewhere else in each gateway', () => {
    const view = candidates([0, 1, 2, 3], true);
    expect(new RoundRobin(figures(), () => 0.6).pick(view, NOBODY, 0)).toBe(2);
  });

  it('interleaves a heavy instance with light ones, as nginx does', () => {
    const both = [letters(ours([5, 1, 1]), 14), letters(nginx([5, 1, 1]), 14)];
    expect(both).toEqual(['aabaacaaabaaca', 'aabacaaaabacaa']);
    for (const text of both) expect(text).not.toContain('aaaaa');
  });

  it('gives each exactly its share in a whole cycle', () => {
    const turns = letters(ours([4, 2, 1]), 70);
    expect(['a', 'b', 'c'].map((letter) => turns.split(letter).length - 1)).toEqual([40, 20, 10]);
  });

  it('is never three turns away from what is due, whatever the weights: nginx stays within two', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 2, maxLength: 30 }), (weights) => {
        expect(worstDeviation(ours(weights), weights, 1000)).toBeLessThan(3);
        expect(worstDeviation(nginx(weights), weights, 1000)).toBeLessThan(2);
      }),
      { numRuns: 100, seed: 1 },
    );
  });

  it('does not begin again when the candidates change', () => {
    const balancer = new RoundRobin(figures(), () => 0);
    const seen = Array.from({ length: 8 }, () => balancer.pick(candidates([0, 1, 2, 3], true), NOBODY, 0));
    expect(seen).toEqual([0, 1, 2, 3, 0, 1, 2, 3]);
  });

  it('goes on when the list has become shorter than its place in it', () => {
    const balancer = new RoundRobin(figures(), () => 0.99);
    expect(balancer.pick(candidates([0, 1, 2, 3], true), NOBODY, 0)).toBe(3);
    balancer.pick(candidates([0, 1, 2, 3], true), NOBODY, 0);
    balancer.pick(candidates([0, 1, 2, 3], true), NOBODY, 0);
    expect(balancer.pick(candidates([5], true), NOBODY, 0)).toBe(5);
  });

  it('steps over a few candidates per turn, not over all, at 100,000 of unequal weight', () => {
    let reads = 0;
    const count = 100_000;
    const weight = new Float64Array(count).map((_, at) => 1 + (at % 10));
    const load = {
      ...figures(),
      weight: new Proxy(weight, { get: (target, key) => (reads++, Reflect.get(target, key) as unknown) }),
    };
    const balancer = new RoundRobin(load, () => 0);
    const view = candidates(Array.from({ length: count }, (_, at) => at));
    balancer.pick(view, NOBODY, 0);
    reads = 0;
    for (let pick = 0; pick < 1000; pick++) balancer.pick(view, NOBODY, 0);
    expect(reads).toBeLessThan(5000);
  });
});
