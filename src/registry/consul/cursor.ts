import type { Answer } from './answer.ts';

/**
 * Where a loop of waiting reads stands. Consul's index can go backwards (a restored snapshot, another cluster behind
 * the same address), and under `stale` every server has its own: waiting beyond one that is never reached again would
 * be waiting for ever.
 */
export class Cursor {
  #index = 0n;
  #endpoint: string | undefined;

  /** To be waited beyond; 0 = read at once. */
  get index(): bigint {
    return this.#index;
  }

  /** false: the answer belongs to another history. Start over from index 0, and do not use it. */
  advance(answer: Pick<Answer, 'index' | 'endpoint'>): boolean {
    const isForeign = this.#index > 0n && (answer.index < this.#index || answer.endpoint !== this.#endpoint);
    this.#index = isForeign ? 0n : answer.index;
    this.#endpoint = answer.endpoint;
    return !isForeign;
  }
}
