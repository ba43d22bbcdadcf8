import type { Random } from '../core/random.ts';
import type { Balancer, Candidates, LoadFigures } from './balancer.ts';
import { WeightedDraw } from './draw.ts';
import { nextUntried, wasTried } from './tried.ts';

/** Draws that may hit a tried or equal candidate before a scan decides. */
const REDRAWS = 4;

/**
 * Power of two choices (Mitzenmacher 2001): of two distinct random candidates the one with the lower
 * (in flight + 1) / weight. Constant time whatever the size, and no herd on the least loaded one. The draw itself is by
 * weight, and where both are idle the first drawn wins: load cannot tell them apart, weight must. Only the one that
 * was picked last gives way to an equal one, so that two idle instances take turns.
 */
export class PowerOfTwoChoices implements Balancer {
  readonly #figures: LoadFigures;
  readonly #draw: WeightedDraw;
  #last = -1;

  constructor(figures: LoadFigures, random: Random) {
    this.#figures = figures;
    this.#draw = new WeightedDraw(figures.weight, random);
  }

  pick(candidates: Candidates, tried: Int32Array, triedCount: number): number {
    const slots = candidates.slots;
    if (slots.length === 0) return -1;
    this.#draw.use(candidates);
    const first = this.#untried(slots, tried, triedCount, -1);
    if (first < 0) return -1;
    const one = slots[first] as number;
    if (slots.length === 1) return one;
    const second = this.#untried(slots, tried, triedCount, first);
    return second < 0 ? one : (this.#last = this.#lighter(one, slots[second] as number));
  }

  #untried(slots: Int32Array, tried: Int32Array, triedCount: number, except: number): number {
    let at = 0;
    for (let draw = 0; draw < REDRAWS; draw++) {
      at = this.#draw.next();
      if (at !== except && !wasTried(slots[at] as number, tried, triedCount)) return at;
    }
    return nextUntried(slots, at, tried, triedCount, except);
  }

  #lighter(one: number, other: number): number {
    const { inflight, weight } = this.#figures;
    const busyOne = inflight[one] as number;
    const busyOther = inflight[other] as number;
    if (busyOne === 0 && busyOther === 0) return one === this.#last && weight[one] === weight[other] ? other : one;
    return (busyOther + 1) * (weight[one] as number) < (busyOne + 1) * (weight[other] as number) ? other : one;
  }
}
