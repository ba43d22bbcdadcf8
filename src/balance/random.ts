import type { Random } from '../core/random.ts';
import type { Balancer, Candidates, LoadFigures } from './balancer.ts';
import { WeightedDraw } from './draw.ts';
import { nextUntried, wasTried } from './tried.ts';

/** Draws that may hit a tried candidate before a scan decides. */
const REDRAWS = 4;

/** By weight and chance alone. */
export class WeightedRandom implements Balancer {
  readonly #draw: WeightedDraw;

  constructor(figures: LoadFigures, random: Random) {
    this.#draw = new WeightedDraw(figures.weight, random);
  }

  pick(candidates: Candidates, tried: Int32Array, triedCount: number): number {
    const slots = candidates.slots;
    if (slots.length === 0) return -1;
    this.#draw.use(candidates);
    let at = 0;
    for (let draw = 0; draw < REDRAWS; draw++) {
      at = this.#draw.next();
      const slot = slots[at] as number;
      if (!wasTried(slot, tried, triedCount)) return slot;
    }
    at = nextUntried(slots, at, tried, triedCount);
    return at < 0 ? -1 : (slots[at] as number);
  }
}
