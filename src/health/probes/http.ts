import type { HttpCheck } from '../../core/check.ts';
import type { Transport, TransportSink } from '../../http1/transport.ts';
import type { Probe, ProbeAnswer, ProbeTarget, Report } from '../probe.ts';
import { type ConnectOptions, DEAF, open, type Opening, type TlsOptions } from './connect.ts';
import { failureOfCode } from './failure-text.ts';
import type { ExchangePool, HttpExchange } from './http-exchange.ts';
import type { RequestBuffer, RequestTemplate } from './http-request.ts';
import type { KeptConnections } from './kept-connections.ts';

export interface HttpProbeOptions {
  readonly connect: ConnectOptions;
  /** Asked for every connection; missing = plain. Throws where what is configured cannot be had. */
  readonly tls: ((to: ProbeTarget, check: HttpCheck) => TlsOptions) | undefined;
  readonly kept: KeptConnections;
  readonly exchanges: ExchangePool;
  readonly requests: RequestBuffer;
}

/** Passing answers by status: there are few, and one for each of 100,000 instances would be many. */
const PASSES: ProbeAnswer[] = [];

/** What a run is waiting for; the words of `abort`. */
type Stage = 'idle' | 'connection' | 'handshake' | 'answer';

/**
 * Asks by HTTP/1.1 over a connection that is kept between runs where the server lets it. A kept connection that turns
 * out to be dead before any byte of the answer says nothing about the instance: the request goes once more, on a new
 * connection, within the same deadline.
 */
export class HttpProbe implements Probe, TransportSink, Opening {
  readonly #options: HttpProbeOptions;
  readonly #to: ProbeTarget;
  readonly #check: HttpCheck;
  readonly #report: Report;
  readonly #request: RequestTemplate;
  readonly #problem: string | undefined;
  #stage: Stage = 'idle';
  #transport: Transport | undefined = undefined;
  /** Gives up a connection that is being opened. */
  #giveUp: (() => void) | undefined = undefined;
  /** While a run lasts. */
  #exchange: HttpExchange | undefined = undefined;
  /** The connection had carried a run before this one. */
  #reused = false;
  /** While idle: the connection counts among the kept. */
  #kept = false;

  constructor(options: HttpProbeOptions, to: ProbeTarget, check: HttpCheck, request: RequestTemplate, report: Report) {
    this.#options = options;
    this.#to = to;
    this.#check = check;
    this.#request = request;
    this.#report = report;
    this.#problem = request.problemWith(to);
  }

  start(): void {
    if (this.#problem !== undefined) {
      this.#report({ result: 'fail', text: this.#problem });
      return;
    }
    if (this.#transport?.destroyed === true) this.close();
    this.#releaseKept();
    this.#reused = this.#transport !== undefined;
    if (this.#transport === undefined) this.#open();
    else this.#send(this.#transport);
  }

  abort(): string {
    const stage = this.#stage;
    const { status = 0, begun = false } = this.#exchange?.reader ?? {};
    this.close();
    if (stage === 'handshake') return 'no TLS handshake';
    if (stage !== 'answer') return 'no connection';
    if (status > 0) return `status ${status}, but no end of the body`;
    return begun ? 'no complete head of an answer' : 'no answer';
  }

  close(): void {
    this.#stage = 'idle';
    this.#releaseKept();
    this.#giveExchange();
    this.#giveUp?.();
    this.#giveUp = undefined;
    const transport = this.#transport;
    this.#transport = undefined;
    if (transport === undefined) return;
    transport.sink = DEAF;
    // A peer that has stopped never answers a FIN, which would keep the connection half-closed for a minute.
    transport.reset();
  }

  onConnected(): void {
    this.#stage = 'handshake';
  }

  onOpen(transport: Transport): void {
    this.#giveUp = undefined;
    this.#transport = transport;
    transport.resume();
    this.#send(transport);
  }

  onFailed(failure: ProbeAnswer): void {
    this.#giveUp = undefined;
    this.#failed(failure);
  }

  onBytes(buffer: Buffer, start: number, end: number): void {
    const exchange = this.#exchange;
    if (exchange === undefined) {
      // Nothing was asked: whatever this is, the next answer could be mistaken for it.
      this.close();
      return;
    }
    const progress = exchange.push(buffer, start, end);
    if (progress === 'failed') this.#finish({ result: 'fail', text: exchange.reader.failure });
    else if (progress === 'done') this.#conclude(exchange);
  }

  onEnd(): void {
    const exchange = this.#exchange;
    if (exchange === undefined) this.close();
    else if (this.#mayAskAgain(exchange)) this.#askAgain();
    else if (exchange.reader.end() === 'done') this.#conclude(exchange);
    else this.#finish({ result: 'fail', text: exchange.reader.failure });
  }

  onDrain(): void {
    // The request has left; the answer is what is waited for.
  }

  onClose(code: string | undefined): void {
    const exchange = this.#exchange;
    if (code === undefined) this.onEnd();
    else if (exchange === undefined) this.close();
    else if (this.#mayAskAgain(exchange)) this.#askAgain();
    else this.#failed(failureOfCode(code));
  }

  #open(): void {
    const { connect, tls } = this.#options;
    this.#stage = 'connection';
    this.#giveUp = open(connect, this.#to, tls?.(this.#to, this.#check), this, this);
  }

  #send(transport: Transport): void {
    this.#stage = 'answer';
    this.#exchange ??= this.#options.exchanges.take();
    this.#exchange.begin(this.#request);
    this.#options.requests.send(transport, this.#request.textFor(this.#to));
  }

  #mayAskAgain({ reader }: HttpExchange): boolean {
    return this.#reused && !reader.begun;
  }

  #askAgain(): void {
    this.close();
    this.#reused = false;
    this.#open();
  }

  #failed(failure: ProbeAnswer): void {
    if (failure.everywhere === true) this.#options.kept.shrink();
    const handshake = this.#stage === 'handshake' && !failure.text.startsWith('TLS');
    const within = handshake
      ? ' in the TLS handshake'
      : this.#exchange?.reader.begun === true
        ? ' within the answer'
        : '';
    this.#finish(within === '' ? failure : { ...failure, text: `${failure.text}${within}` });
  }

  #conclude({ reader: { status }, bodyProblem }: HttpExchange): void {
    const { statuses } = this.#check;
    if (!statuses.some(([from, to]) => status >= from && status <= to)) {
      const expected = statuses.map(([from, to]) => (from === to ? String(from) : `${from}-${to}`)).join(', ');
      const redirect = status >= 300 && status < 400 ? ' (redirects are not followed)' : '';
      this.#finish({ result: 'fail', text: `status ${status}, expected ${expected}${redirect}` });
    } else if (bodyProblem !== undefined) {
      this.#finish({ result: 'fail', text: `status ${status}, but ${bodyProblem}` });
    } else this.#finish((PASSES[status] ??= { result: 'pass', text: `status ${status}` }));
  }

  #finish(answer: ProbeAnswer): void {
    const reusable = this.#exchange?.reader.reusable === true && this.#transport?.destroyed === false;
    this.#stage = 'idle';
    this.#giveExchange();
    if (reusable && this.#options.kept.take()) this.#kept = true;
    else this.close();
    if (answer.result === 'pass' && !this.#reused) this.#options.kept.grow();
    this.#report(answer);
  }

  #giveExchange(): void {
    if (this.#exchange === undefined) return;
    this.#options.exchanges.give(this.#exchange);
    this.#exchange = undefined;
  }

  #releaseKept(): void {
    if (!this.#kept) return;
    this.#kept = false;
    this.#options.kept.release();
  }
}
