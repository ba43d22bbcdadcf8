import type { BalancerName } from '../core/policy.ts';
import type { Random } from '../core/random.ts';
import type { Balancer, LoadFigures } from './balancer.ts';
import { PowerOfTwoChoices } from './p2c.ts';
import { WeightedRandom } from './random.ts';
import { RoundRobin } from './round-robin.ts';

/** The balancer of one service on one thread. */
export function createBalancer(name: BalancerName, figures: LoadFigures, random: Random): Balancer {
  switch (name) {
    case 'p2c':
      return new PowerOfTwoChoices(figures, random);
    case 'round-robin':
      return new RoundRobin(figures, random);
    case 'random':
      return new WeightedRandom(figures, random);
  }
}
