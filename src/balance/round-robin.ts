import type { Random } from '../core/random.ts';
import type { Balancer, Candidates, LoadFigures } from './balancer.ts';
import { nextUntried, wasTried } from './tried.ts';

/** Fractions of successive multiples of it spread as evenly over [0, 1) as any sequence can. */
const GOLDEN = 0.6180339887498949;
/** Passes are counted modulo this, so that their product with a weight stays exact. */
const PASSES = 2 ** 30;

/**
 * Takes turns, smoothly by weight, as nginx does, but without nginx's look at every instance for every request: static
 * stride scheduling, as gRPC's weighted round robin has it. A pass goes over all candidates; in each the heaviest has a
 * turn, and one of relative weight w has a turn in every (1/w)-th, each starting at another fraction of its stride, so
 * that the light ones do not come in a heap: tests find nobody three turns away from what is due (nginx: two). A pick
 * costs (heaviest / average weight) steps on average, one where all are equal, and at most two passes.
 */
export class RoundRobin implements Balancer {
  readonly #weight: Float64Array;
  readonly #random: Random;
  #candidates: Candidates | undefined;
  /** Index of the candidate whose turn is considered next. */
  #at = 0;
  #pass = 0;
  /** 0 = all weights are the same. */
  #heaviest = 0;

  constructor(figures: LoadFigures, random: Random) {
    this.#weight = figures.weight;
    this.#random = random;
  }

  pick(candidates: Candidates, tried: Int32Array, triedCount: number): number {
    const slots = candidates.slots;
    const length = slots.length;
    if (length === 0) return -1;
    if (this.#candidates !== candidates) this.#use(candidates);
    for (let step = 0; step < length; step++) {
      const at = this.#at;
      const turn = this.#hasTurn(at, slots[at] as number);
      this.#advance(length);
      if (turn && !wasTried(slots[at] as number, tried, triedCount)) return slots[at] as number;
    }
    // Every one that had a turn in a whole pass was tried already: whoever is next, then.
    const at = nextUntried(slots, this.#at, tried, triedCount);
    return at < 0 ? -1 : (slots[at] as number);
  }

  #hasTurn(at: number, slot: number): boolean {
    if (this.#heaviest === 0) return true;
    const share = (this.#weight[slot] as number) / this.#heaviest;
    const phase = (at * GOLDEN) % 1;
    // Both ends by the same expression: the end of one stride is then exactly the beginning of the next.
    return Math.floor(share * (this.#pass + 1) + phase) > Math.floor(share * this.#pass + phase);
  }

  #advance(length: number): void {
    this.#at++;
    if (this.#at < length) return;
    this.#at = 0;
    this.#pass = (this.#pass + 1) % PASSES;
  }

  #use(candidates: Candidates): void {
    const slots = candidates.slots;
    // Every gateway beginning with the first instance would send it the first request of each at once.
    if (!this.#candidates) this.#at = Math.floor(this.#random() * slots.length);
    this.#candidates = candidates;
    if (this.#at >= slots.length) this.#at = 0;
    this.#heaviest = candidates.uniform ? 0 : this.#heaviestOf(slots);
  }

  #heaviestOf(slots: Int32Array): number {
    let heaviest = 0;
    let lightest = Infinity;
    for (let at = 0; at < slots.length; at++) {
      const own = this.#weight[slots[at] as number] as number;
      if (own > heaviest) heaviest = own;
      if (own < lightest) lightest = own;
    }
    return heaviest === lightest ? 0 : heaviest;
  }
}
