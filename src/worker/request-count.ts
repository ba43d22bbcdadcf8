import type { RequestsUnderWay } from '../proxy/context.ts';
import type { ThreadStatus } from './status.ts';

/** With so few threads it costs next to nothing to look at what each of them has, for every request. */
const FEW = 8;

/**
 * Requests under way on one thread, which all the others see at once: their limit is one over all of them. With many
 * threads the others are looked at only where the limit may be near, since each look takes a cache line from its writer;
 * until then what `sample` saw is good enough. Then half of the limit would have to come between two samples to pass it.
 */
export class RequestCount implements RequestsUnderWay {
  /** The limit over all threads. */
  atMost: number;
  readonly #status: ThreadStatus;
  readonly #thread: number;
  #own = 0;
  #sampled = 0;

  constructor(status: ThreadStatus, thread: number, atMost: number) {
    this.atMost = atMost;
    this.#status = status;
    this.#thread = thread;
  }

  get own(): number {
    return this.#own;
  }

  set own(requests: number) {
    this.#own = requests;
    this.#status.set(this.#thread, 'requests', requests);
  }

  get limit(): number {
    const { atMost } = this;
    const { threads } = this.#status;
    if (threads === 1) return atMost;
    if (threads > FEW && 2 * (this.#own + this.#sampled) < atMost) return atMost - this.#sampled;
    return atMost - this.#elsewhere;
  }

  refuse(): void {
    this.#status.add(this.#thread, 'refusedRequests', 1);
  }

  /** To be called some twenty times a second. */
  sample(): void {
    if (this.#status.threads > FEW) this.#sampled = this.#elsewhere;
  }

  get #elsewhere(): number {
    return this.#status.sum('requests') - this.#own;
  }
}
