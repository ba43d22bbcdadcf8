import { describe, expect, it } from 'vitest';
import { WeightedRandom } from '../../src/balance/random.ts';
import { balancerContract, candidates, figures } from '../contract/balancer.ts';

balancerContract('random', (load, random) => new WeightedRandom(load, random));

describe('random', () => {
  it('stays within the candidates at both ends of the draw', () => {
    const load = figures();
    load.weight[4] = 0.1;
    load.weight[5] = 0.2;
    load.weight[6] = 0.3;
    const draws = [0, 1 - 2 ** -32];
    let next = 0;
    const balancer = new WeightedRandom(load, () => draws[next++ % 2]!);
    expect(balancer.pick(candidates([4, 5, 6]), new Int32Array(0), 0)).toBe(4);
    expect(balancer.pick(candidates([4, 5, 6]), new Int32Array(0), 0)).toBe(6);
  });
});
