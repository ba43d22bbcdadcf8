import http2, { type ClientHttp2Session, type ClientHttp2Stream, type IncomingHttpHeaders } from 'node:http2';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { Check } from '../../core/check.ts';
import { addressOf } from '../../core/instance.ts';
import type { Probe, ProbeAnswer, ProbeTarget, Report } from '../probe.ts';
import { connect, type ConnectOptions, type TlsOptions } from './connect.ts';
import { failureOf } from './failure-text.ts';
import { decodeCheckResponse, encodeCheckRequest } from './grpc-message.ts';
import type { KeptConnections } from './kept-connections.ts';

export interface GrpcProbeOptions {
  readonly connect: ConnectOptions;
  /** Asked for every connection; missing = plain HTTP/2 with prior knowledge (h2c). */
  readonly tls: (() => TlsOptions) | undefined;
  readonly kept: KeptConnections;
  readonly userAgent: string;
}

type GrpcCheck = Extract<Check, { readonly type: 'grpc' }>;

const PATH = '/grpc.health.v1.Health/Check';
/** The answer has 2 bytes of content; a few more are left to future fields. */
const MAX_ANSWER_BYTES = 1024;
const STATUS_TEXTS: ReadonlyMap<string, string> = new Map([
  ['1', 'CANCELLED'],
  ['2', 'UNKNOWN'],
  ['4', 'DEADLINE_EXCEEDED'],
  ['5', 'NOT_FOUND: the server does not know the service asked for'],
  ['7', 'PERMISSION_DENIED'],
  ['8', 'RESOURCE_EXHAUSTED'],
  ['12', 'UNIMPLEMENTED: the server has no grpc.health.v1.Health service'],
  ['13', 'INTERNAL'],
  ['14', 'UNAVAILABLE'],
  ['16', 'UNAUTHENTICATED'],
]);

type Stage = 'idle' | 'connection' | 'handshake' | 'answer';

/** Asks `grpc.health.v1.Health/Check` (grpc/grpc doc/health-checking.md) over an HTTP/2 connection kept between runs. */
export class GrpcProbe implements Probe {
  readonly #options: GrpcProbeOptions;
  readonly #to: ProbeTarget;
  readonly #check: GrpcCheck;
  readonly #report: Report;
  readonly #request: Buffer;
  #stage: Stage = 'idle';
  #socket: Socket | undefined;
  #session: ClientHttp2Session | undefined;
  #reused = false;
  #kept = false;

  constructor(options: GrpcProbeOptions, to: ProbeTarget, check: GrpcCheck, report: Report) {
    this.#options = options;
    this.#to = to;
    this.#check = check;
    this.#report = report;
    this.#request = encodeCheckRequest(check.grpcService);
  }

  start(): void {
    this.#releaseKept();
    this.#reused = this.#session !== undefined;
    if (this.#session === undefined) this.#open();
    else this.#ask(this.#session);
  }

  abort(): string {
    const stage = this.#stage;
    this.close();
    if (stage === 'handshake') return 'no TLS handshake';
    return stage === 'answer' ? 'no answer' : 'no connection';
  }

  close(): void {
    this.#stage = 'idle';
    this.#releaseKept();
    const session = this.#session;
    const socket = this.#socket;
    this.#session = undefined;
    this.#socket = undefined;
    session?.destroy();
    socket?.destroy();
  }

  #open(): void {
    const { tls } = this.#options;
    this.#stage = 'connection';
    const socket = connect(this.#options.connect, this.#to, tls?.());
    this.#socket = socket;
    const mine = (): boolean => this.#socket === socket;
    socket.on('error', (error) => mine() && this.#broken(error));
    socket.on('close', () => mine() && this.#broken(undefined));
    if (tls === undefined) socket.once('connect', () => mine() && this.#connected(socket));
    else {
      socket.once('connect', () => mine() && (this.#stage = 'handshake'));
      socket.once('secureConnect', () => mine() && this.#connected(socket));
    }
  }

  #connected(socket: Socket): void {
    if (socket instanceof TLSSocket && socket.alpnProtocol !== 'h2') {
      this.#finish({ result: 'fail', text: 'TLS: the server does not offer HTTP/2 (ALPN h2)' }, false);
      return;
    }
    const scheme = this.#options.tls === undefined ? 'http' : 'https';
    const session = http2.connect(`${scheme}://${addressOf(this.#to)}`, {
      createConnection: () => socket,
      settings: { enablePush: false, maxHeaderListSize: 16_384 },
      maxHeaderListPairs: 64,
    });
    this.#session = session;
    const mine = (): boolean => this.#session === session;
    session.on('error', (error: Error) => mine() && this.#broken(error));
    session.on('close', () => mine() && this.#broken(undefined));
    // Whatever is under way ends by itself; the next run takes a new connection.
    session.on('goaway', () => mine() && this.#stage === 'idle' && this.close());
    this.#ask(session);
  }

  #ask(session: ClientHttp2Session): void {
    this.#stage = 'answer';
    const stream = session.request(
      {
        ':method': 'POST',
        ':path': PATH,
        ':authority': this.#check.host ?? addressOf(this.#to),
        'content-type': 'application/grpc',
        te: 'trailers',
        'user-agent': this.#options.userAgent,
        'grpc-timeout': `${Math.max(1, Math.ceil(this.#check.timeoutMs))}m`,
      },
      { endStream: false },
    );
    new Answer(stream, (answer, begun) => {
      if (this.#session !== session || this.#stage !== 'answer') return;
      // What the session has to say of its end, it says next, and it knows better.
      if (answer === undefined && session.destroyed) return;
      if (answer !== undefined) this.#finish(answer, !session.closed && !session.destroyed);
      else if (this.#reused && !begun) this.#askAgain();
      else
        this.#finish(
          { result: 'fail', text: begun ? 'the stream was reset within the answer' : 'the stream was reset' },
          false,
        );
    });
    stream.end(this.#request);
  }

  /** A kept connection was dead: that says nothing about the instance. */
  #askAgain(): void {
    this.close();
    this.#reused = false;
    this.#open();
  }

  #broken(error: Error | undefined): void {
    const stage = this.#stage;
    if (stage === 'idle') this.close();
    else if (stage === 'answer' && this.#reused) this.#askAgain();
    else if (error === undefined) this.#finish({ result: 'fail', text: 'connection closed' }, false);
    else if (isProtocolError(error)) this.#finish({ result: 'fail', text: 'the port does not speak HTTP/2' }, false);
    else {
      const failure = failureOf(error);
      if (failure.everywhere === true) this.#options.kept.shrink();
      const within = stage === 'handshake' && !failure.text.startsWith('TLS') ? ' in the TLS handshake' : '';
      this.#finish({ ...failure, text: `${failure.text}${within}` }, false);
    }
  }

  #finish(answer: ProbeAnswer, reusable: boolean): void {
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

/** Collects one answer. Tells it once; undefined where the stream ended without one. */
class Answer {
  #status: number | undefined;
  #grpcStatus: string | undefined;
  #body: Buffer[] = [];
  #bytes = 0;

  constructor(stream: ClientHttp2Stream, tell: (answer: ProbeAnswer | undefined, begun: boolean) => void) {
    stream.on('response', (headers) => {
      this.#status = headers[':status'];
      this.#grpcStatus ??= single(headers['grpc-status']);
    });
    stream.on('trailers', (trailers: IncomingHttpHeaders) => {
      this.#grpcStatus ??= single(trailers['grpc-status']);
    });
    stream.on('data', (piece: Buffer) => {
      this.#bytes += piece.length;
      if (this.#bytes > MAX_ANSWER_BYTES) stream.close(http2.constants.NGHTTP2_CANCEL);
      else this.#body.push(piece);
    });
    // What an error of the stream means is said by what came before it, and by the errors of the session.
    let failed = false;
    stream.on('error', () => {
      failed = true;
    });
    stream.on('close', () => {
      const reset = failed || stream.rstCode !== http2.constants.NGHTTP2_NO_ERROR;
      tell(
        reset && this.#bytes <= MAX_ANSWER_BYTES && this.#grpcStatus === undefined ? undefined : this.#answer(),
        this.#status !== undefined,
      );
    });
  }

  #answer(): ProbeAnswer {
    if (this.#bytes > MAX_ANSWER_BYTES) return { result: 'fail', text: 'the answer is longer than 1 KiB' };
    if (this.#status !== 200)
      return { result: 'fail', text: `HTTP status ${this.#status ?? 'missing'} in place of a gRPC answer` };
    const status = this.#grpcStatus;
    if (status === undefined) return { result: 'fail', text: 'the answer has no gRPC status' };
    if (status !== '0') {
      const known = STATUS_TEXTS.get(status);
      return {
        result: 'fail',
        text: known ?? (/^\d{1,3}$/.test(status) ? `gRPC status ${status}` : 'the gRPC status is malformed'),
      };
    }
    const serving = decodeCheckResponse(Buffer.concat(this.#body));
    if (serving === undefined) return { result: 'fail', text: 'the answer is no HealthCheckResponse' };
    return { result: serving === 'SERVING' ? 'pass' : 'fail', text: serving };
  }
}

function single(value: string | string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : value?.[0];
}

function isProtocolError(error: Error): boolean {
  return 'code' in error && (error.code === 'ERR_HTTP2_ERROR' || error.code === 'ERR_HTTP2_SESSION_ERROR');
}
