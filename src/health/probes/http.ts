import type { OnReadOpts, Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { HttpCheck } from '../../core/check.ts';
import type { Probe, ProbeAnswer, ProbeTarget, Report } from '../probe.ts';
import { connect, type ConnectOptions, type TlsOptions } from './connect.ts';
import { failureOf } from './failure-text.ts';
import type { ExchangePool, HttpExchange } from './http-exchange.ts';
import type { RequestTemplate } from './http-request.ts';
import type { KeptConnections } from './kept-connections.ts';

export interface HttpProbeOptions {
  readonly connect: ConnectOptions;
  /** Missing = plain. */
  readonly tls: TlsOptions | undefined;
  readonly kept: KeptConnections;
  readonly exchanges: ExchangePool;
  /** All probes of a thread read into it: what is read is consumed at once. */
  readonly readBuffer: Uint8Array;
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
export class HttpProbe implements Probe {
  readonly #options: HttpProbeOptions;
  readonly #to: ProbeTarget;
  readonly #check: HttpCheck;
  readonly #report: Report;
  readonly #request: RequestTemplate;
  #stage: Stage = 'idle';
  #socket: Socket | undefined = undefined;
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
  }

  start(): void {
    const problem = this.#request.problemWith(this.#to);
    if (problem !== undefined) {
      this.#report({ result: 'fail', text: problem });
      return;
    }
    if (this.#socket?.writable === false) this.close();
    this.#releaseKept();
    this.#reused = this.#socket !== undefined;
    if (this.#socket === undefined) this.#open();
    else this.#send(this.#socket);
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
    const socket = this.#socket;
    this.#socket = undefined;
    if (socket === undefined) return;
    // A peer that has stopped never answers a FIN, which would keep the connection half-closed for a minute.
    if (socket.connecting || socket.destroyed || socket instanceof TLSSocket) socket.destroy();
    else socket.resetAndDestroy();
  }

  #open(): void {
    const { connect: options, tls, readBuffer } = this.#options;
    this.#stage = 'connection';
    const onread: OnReadOpts = {
      buffer: readBuffer,
      callback: (length, bytes) => {
        if (this.#socket === socket) this.#read(bytes as Buffer, length);
        return true;
      },
    };
    const socket = connect(options, this.#to, tls, onread);
    this.#socket = socket;
    socket.once('connect', () => {
      if (this.#socket !== socket) return;
      if (tls === undefined) this.#send(socket);
      else this.#stage = 'handshake';
    });
    if (tls !== undefined) socket.once('secureConnect', () => this.#socket === socket && this.#send(socket));
    socket.on('error', (error) => this.#socket === socket && this.#broken(error));
    socket.on('end', () => this.#socket === socket && this.#broken(undefined));
    socket.on('close', () => this.#socket === socket && this.#broken(undefined));
  }

  #send(socket: Socket): void {
    this.#stage = 'answer';
    this.#exchange ??= this.#options.exchanges.take();
    this.#exchange.begin(this.#request);
    socket.write(this.#request.textFor(this.#to), 'latin1');
  }

  #read(bytes: Buffer, length: number): void {
    const exchange = this.#exchange;
    if (exchange === undefined) {
      // Nothing was asked: whatever this is, the next answer could be mistaken for it.
      this.close();
      return;
    }
    const progress = exchange.push(bytes, length);
    if (progress === 'failed') this.#finish({ result: 'fail', text: exchange.reader.failure });
    else if (progress === 'done') this.#conclude(exchange);
  }

  #broken(error: Error | undefined): void {
    const stage = this.#stage;
    const exchange = this.#exchange;
    if (stage === 'idle') this.close();
    else if (exchange !== undefined && this.#reused && !exchange.reader.begun) {
      this.close();
      this.#reused = false;
      this.#open();
    } else if (error !== undefined) this.#failed(error);
    else if (exchange === undefined) {
      this.#finish({
        result: 'fail',
        text: `connection closed${stage === 'handshake' ? ' in the TLS handshake' : ''}`,
      });
    } else if (exchange.reader.end() === 'done') this.#conclude(exchange);
    else this.#finish({ result: 'fail', text: exchange.reader.failure });
  }

  #failed(error: Error): void {
    const failure = failureOf(error);
    if (failure.everywhere === true) this.#options.kept.shrink();
    const handshake = this.#stage === 'handshake' && !failure.text.startsWith('TLS');
    const within = handshake
      ? ' in the TLS handshake'
      : this.#exchange?.reader.begun === true
        ? ' within the answer'
        : '';
    this.#finish({ ...failure, text: `${failure.text}${within}` });
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
    const reusable = this.#exchange?.reader.reusable === true && this.#socket?.writable === true;
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
