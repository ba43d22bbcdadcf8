import type { Random } from '../core/random.ts';
import type { Candidates } from './balancer.ts';

/**
 * Draws indexes of candidates with a probability proportional to weight. Equal weights need no table: the draw is one
 * multiplication. Unequal ones make one pass over the candidates per revision, into running sums that are searched by
 * halving.
 */
export class WeightedDraw {
  readonly #weight: Float64Array;
  readonly #random: Random;
  #candidates: Candidates | undefined;
  #length = 0;
  #uniform = true;
  /** `#sums[i]` = weights of the candidates 0 to i. Grows, never shrinks: bounded by the largest service. */
  #sums = new Float64Array(0);

  constructor(weight: Float64Array, random: Random) {
    this.#weight = weight;
    this.#random = random;
  }

  /** Obligation: before `next`, whenever the candidates may have changed, and never with none of them. */
  use(candidates: Candidates): void {
    if (this.#candidates === candidates) return;
    this.#candidates = candidates;
    this.#length = candidates.slots.length;
    this.#uniform = candidates.uniform || !this.#sum(candidates.slots);
  }

  /** An index into the slots of the candidates in use. */
  next(): number {
    if (this.#uniform) return Math.floor(this.#random() * this.#length);
    const sums = this.#sums;
    const aim = this.#random() * (sums[this.#length - 1] as number);
    let low = 0;
    let high = this.#length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((sums[middle] as number) > aim) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Fills the running sums; false where all weights turn out to be the same. */
  #sum(slots: Int32Array): boolean {
    if (this.#sums.length < slots.length) this.#sums = new Float64Array(Math.max(slots.length, 2 * this.#sums.length));
    const weight = this.#weight;
    const sums = this.#sums;
    const first = weight[slots[0] as number] as number;
    let total = 0;
    let differs = false;
    for (let at = 0; at < slots.length; at++) {
      const own = weight[slots[at] as number] as number;
      if (own !== first) differs = true;
      total += own;
      sums[at] = total;
    }
    return differs;
  }
}
