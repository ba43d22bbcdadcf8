import { BodyCheck } from './http-body.ts';
import { HttpResponseReader, type HttpProbeTransport, type Progress } from './http-response.ts';
import type { RequestTemplate } from './http-request.ts';

/** What a run needs to understand its answer. */
export class HttpExchange {
  readonly reader: HttpProbeTransport = new HttpResponseReader();
  readonly #body = new BodyCheck();
  readonly #onBody = (bytes: Buffer, start: number, end: number): boolean => this.#body.push(bytes, start, end);

  begin({ toHead, wanted }: Pick<RequestTemplate, 'toHead' | 'wanted'>): void {
    this.#body.begin(wanted);
    this.reader.begin(toHead, this.#onBody);
  }

  push(bytes: Buffer, start: number, end: number): Progress {
    return this.reader.push(bytes, start, end);
  }

  /** Why the body is not what the check wants. */
  get bodyProblem(): string | undefined {
    return this.#body.problem;
  }
}

const MOST_SPARE = 256;
const NOTHING = { toHead: false, wanted: undefined };

/** Exchanges are needed while a run lasts: there are as many as runs at once, and not as many as instances. */
export class ExchangePool {
  readonly #spare: HttpExchange[] = [];

  take(): HttpExchange {
    return this.#spare.pop() ?? new HttpExchange();
  }

  give(exchange: HttpExchange): void {
    if (this.#spare.length >= MOST_SPARE) return;
    // Lets go of what it has read.
    exchange.begin(NOTHING);
    this.#spare.push(exchange);
  }
}
