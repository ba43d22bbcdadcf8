/**
 * Cost of one pick by size of the service: `node --expose-gc bench/micro/pick.ts`.
 * Goal (S9): from 10 to 100,000 instances no more than 10 % of the CPU of a request, and no garbage.
 */
import { createBalancer } from '../../src/balance/create.ts';
import type { BalancerName } from '../../src/core/policy.ts';
import { seededRandom } from '../../src/core/random.ts';
import { Figures } from '../../src/upstream/figures.ts';
import { measure } from './measure.ts';

const TRIED = new Int32Array(4);
const WEIGHTS = { 'equal weights': () => 1, 'weights of 1 to 10': (slot: number) => 1 + (slot % 10) };

for (const name of ['p2c', 'round-robin', 'random'] satisfies BalancerName[]) {
  for (const [kind, weightOf] of Object.entries(WEIGHTS)) {
    for (const count of [10, 1000, 100_000]) {
      const figures = new Figures(count);
      const random = seededRandom(1);
      const slots = Int32Array.from({ length: count }, (_, slot) => slot);
      for (const slot of slots) {
        figures.clear(slot);
        figures.weight[slot] = weightOf(slot);
        figures.inflight[slot] = Math.floor(4 * random());
      }
      const candidates = { revision: 1, slots, uniform: kind === 'equal weights' };
      const balancer = createBalancer(name, figures, random);
      await measure(`${name}, ${kind}, ${count}`, () => balancer.pick(candidates, TRIED, 0));
      await measure(
        `${name}, ${kind}, ${count}, first pick of a revision`,
        () => balancer.pick({ ...candidates }, TRIED, 0),
        200,
      );
    }
  }
}
