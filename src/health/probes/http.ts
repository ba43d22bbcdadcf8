import type { OnReadOpts, Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { HttpCheck } from '../../core/check.ts';
import type { Probe, ProbeAnswer, ProbeTarget, Report } from '../probe.ts';
import { connect, type ConnectOptions, type TlsOptions } from './connect.ts';
import { failureOf } from './failure-text.ts';
import { BodyCheck } from './http-body.ts';
import { requestText, type RequestText } from './http-request.ts';
import { HttpResponseReader, type HttpProbeTransport } from './http-response.ts';
import type { KeptConnections } from './kept-connections.ts';

export interface HttpProbeOptions {
  readonly connect: ConnectOptions;
  /** Missing = plain. */
  readonly tls: TlsOptions | undefined;
  readonly kept: KeptConnections;
  readonly userAgent: string;
  /** All probes of a thread read into it: what is read is consumed at once. */
  readonly readBuffer: Uint8Array;
}

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
  readonly #request: RequestText;
  readonly #reader: HttpProbeTransport = new HttpResponseReader();
  readonly #body: BodyCheck;
  readonly #onBody = (bytes: Buffer, start: number, end: number): boolean => this.#body.push(bytes, start, end);
  #stage: Stage = 'idle';
  #socket: Socket | undefined;
  /** The connection had carried a run before this one. */
  #reused = false;
  /** While idle: the connection counts among the kept. */
  #kept = false;
  #passed: ProbeAnswer = { result: 'pass', text: '' };
  #passedStatus = 0;

  constructor(options: HttpProbeOptions, to: ProbeTarget, check: HttpCheck, report: Report) {
    this.#options = options;
    this.#to = to;
    this.#check = check;
    this.#report = report;
    this.#request = requestText(check, to, options.userAgent);
    this.#body = new BodyCheck(check.bodyContains);
  }

  start(): void {
    if ('problem' in this.#request) {
      this.#report({ result: 'fail', text: this.#request.problem });
      return;
    }
    this.#releaseKept();
    this.#reused = this.#socket !== undefined;
    if (this.#socket === undefined) this.#open();
    else this.#send(this.#socket);
  }

  abort(): string {
    const stage = this.#stage;
    this.close();
    if (stage === 'handshake') return 'no TLS handshake';
    if (stage !== 'answer') return 'no connection';
    const { status, begun } = this.#reader;
    if (status > 0) return `status ${status}, but no end of the body`;
    return begun ? 'no complete head of an answer' : 'no answer';
  }

  close(): void {
    this.#stage = 'idle';
    this.#releaseKept();
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
    if ('problem' in this.#request) return;
    this.#stage = 'answer';
    this.#reader.begin(this.#check.method === 'HEAD', this.#onBody);
    this.#body.begin();
    socket.write(this.#request.text, 'latin1');
  }

  #read(bytes: Buffer, length: number): void {
    // Nothing was asked: whatever this is, the next answer could be mistaken for it.
    if (this.#stage !== 'answer') {
      this.close();
      return;
    }
    const progress = this.#reader.push(bytes, length);
    if (progress === 'failed') this.#finish({ result: 'fail', text: this.#reader.failure });
    else if (progress === 'done') this.#conclude();
  }

  #broken(error: Error | undefined): void {
    const stage = this.#stage;
    const stale = stage === 'answer' && this.#reused && !this.#reader.begun;
    if (stage === 'idle' || stale) {
      this.close();
      if (stale) {
        this.#reused = false;
        this.#open();
      }
      return;
    }
    if (error !== undefined) {
      const failure = failureOf(error);
      if (failure.everywhere === true) this.#options.kept.shrink();
      const within =
        stage === 'answer' && this.#reader.begun
          ? ' within the answer'
          : stage === 'handshake'
            ? ' in the TLS handshake'
            : '';
      this.#finish({ ...failure, text: `${failure.text}${failure.text.startsWith('TLS') ? '' : within}` });
    } else if (stage !== 'answer') {
      this.#finish({
        result: 'fail',
        text: stage === 'handshake' ? 'connection closed in the TLS handshake' : 'connection closed',
      });
    } else if (this.#reader.end() === 'done') this.#conclude();
    else this.#finish({ result: 'fail', text: this.#reader.failure });
  }

  #conclude(): void {
    const { status } = this.#reader;
    const { statuses } = this.#check;
    if (!statuses.some(([from, to]) => status >= from && status <= to)) {
      const expected = statuses.map(([from, to]) => (from === to ? String(from) : `${from}-${to}`)).join(', ');
      const redirect = status >= 300 && status < 400 ? ' (redirects are not followed)' : '';
      this.#finish({ result: 'fail', text: `status ${status}, expected ${expected}${redirect}` });
      return;
    }
    const problem = this.#body.problem;
    if (problem !== undefined) {
      this.#finish({ result: 'fail', text: `status ${status}, but ${problem}` });
      return;
    }
    if (this.#passedStatus !== status) {
      this.#passedStatus = status;
      this.#passed = { result: 'pass', text: `status ${status}` };
    }
    this.#finish(this.#passed);
  }

  #finish(answer: ProbeAnswer): void {
    const reusable = this.#stage === 'answer' && this.#reader.reusable && this.#socket?.writable === true;
    this.#stage = 'idle';
    if (reusable && this.#options.kept.take()) this.#kept = true;
    else this.close();
    if (answer.result === 'pass' && !this.#reused) this.#options.kept.grow();
    this.#report(answer);
  }

  #releaseKept(): void {
    if (!this.#kept) return;
    this.#kept = false;
    this.#options.kept.release();
  }
}
