import { connect, constants, type ClientHttp2Session } from 'node:http2';
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Clock } from '../../core/clock.ts';
import { Deadline, DeadlinePassed } from '../deadline.ts';
import { parseEndpoint } from '../endpoint.ts';
import { abortReason } from '../http-exchange.ts';
import { TooLarge } from '../http-stream.ts';
import { explainNetworkError, RegistryUnreachable, type RegistryLabel } from '../network-fault.ts';
import { checkTlsMaterial, tlsOptions, type TlsMaterial } from '../tls-material.ts';
import { GrpcCall } from './grpc-call.ts';
import { MalformedMessage } from './protobuf.ts';

export interface GrpcOptions extends RegistryLabel {
  /** `http://host:port` for plain text, `https://host:port` for TLS. */
  readonly endpoint: string;
  readonly tls: TlsMaterial | undefined;
  /** Until the server has spoken HTTP/2. */
  readonly connectMs: number;
  /** A larger message is an error. */
  readonly maxMessageBytes: number;
  readonly clock: Clock;
}

export type Metadata = Readonly<Record<string, string>>;

/**
 * One connection that speaks gRPC over HTTP/2 (grpc/grpc, doc/PROTOCOL-HTTP2.md): unary and streaming calls with
 * uncompressed messages. It never reconnects and never retries: when it breaks, every call on it fails, and it is done.
 *
 * Calls fail with `GrpcStatus` where the server said so, with `RegistryUnreachable` otherwise.
 */
export class GrpcConnection {
  readonly #session: ClientHttp2Session;
  readonly #socket: Socket;
  readonly #options: GrpcOptions;
  #broken: unknown;

  private constructor(session: ClientHttp2Session, socket: Socket, options: GrpcOptions) {
    this.#session = session;
    this.#socket = socket;
    this.#options = options;
    const onError = (error: Error): void => {
      this.#broken ??= error;
      this.close();
    };
    session.on('error', onError);
    socket.on('error', onError);
    // A server that shuts down finishes what it was asked; a watch it would never finish.
    session.once('goaway', () => onError(new Error('the server is shutting down')));
    // Twice a call's own: a watch whose reader is busy must not hold up the answers to heartbeats.
    session.setLocalWindowSize(2 * WINDOW_BYTES);
  }

  /** Resolves once the server has answered in HTTP/2. */
  static open(options: GrpcOptions, signal: AbortSignal): Promise<GrpcConnection> {
    const url = parseEndpoint(options.endpoint, options);
    checkTlsMaterial(options.tls, options, options.endpoint);
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(abortReason(signal));
        return;
      }
      const socket = openSocket(url, options.tls);
      const session = connect(url, {
        createConnection: () => socket,
        settings: { initialWindowSize: WINDOW_BYTES, enablePush: false },
        maxSessionMemory: 2 * (options.maxMessageBytes / 1_048_576),
      });
      const settle = (): void => {
        deadline.clear();
        signal.removeEventListener('abort', onAbort);
      };
      const fail = (error?: unknown): void => {
        settle();
        // The session may call itself destroyed and yet wait for a socket that reported an error but does not close:
        // so it is when the server refuses our certificate under TLS 1.3 (Node 24).
        session.destroy();
        socket.destroy();
        reject(signal.aborted ? abortReason(signal) : explain(options, error ?? new Error('it hung up')));
      };
      const deadline = new Deadline(options.clock, fail);
      const onAbort = (): void => fail();
      signal.addEventListener('abort', onAbort, { once: true });
      deadline.set('connection', options.connectMs);
      socket.on('error', fail);
      session.on('error', fail);
      session.once('close', fail);
      // A connection alone proves nothing: a frozen server accepts too, and so does one of another protocol.
      session.once('remoteSettings', () => {
        settle();
        resolve(new GrpcConnection(session, socket, options));
      });
    });
  }

  /** One request, one answer, within `deadlineMs`. */
  async unary(path: string, message: Buffer, metadata: Metadata, deadlineMs: number): Promise<Buffer> {
    // The server gives up a little later than we do: our own deadline is the one that is explained.
    const call = this.#call(path, { ...metadata, 'grpc-timeout': `${Math.ceil(deadlineMs) + 1000}m` });
    const deadline = new Deadline(this.#options.clock, (passed) => call.fail(passed));
    deadline.set('answer', deadlineMs);
    try {
      call.send(message);
      call.end();
      let answer: Buffer | undefined;
      for await (const each of call.messages()) answer = each;
      if (!answer) throw explain(this.#options, new MalformedMessage('a call ended without an answer'));
      return answer;
    } finally {
      deadline.clear();
    }
  }

  /** A call with any number of messages in both directions; ends when either side ends it. */
  stream(path: string, metadata: Metadata): GrpcCall {
    return this.#call(path, metadata);
  }

  /** Ends every call and the connection. Idempotent. */
  close(): void {
    this.#session.destroy();
    this.#socket.destroy();
  }

  #call(path: string, metadata: Metadata): GrpcCall {
    const options = this.#options;
    if (this.#session.destroyed || this.#session.closed) {
      throw explain(options, this.#broken ?? new Error('the connection is closed'));
    }
    const stream = this.#session.request(
      {
        [constants.HTTP2_HEADER_METHOD]: 'POST',
        [constants.HTTP2_HEADER_PATH]: path,
        [constants.HTTP2_HEADER_CONTENT_TYPE]: 'application/grpc',
        [constants.HTTP2_HEADER_TE]: 'trailers',
        [constants.HTTP2_HEADER_USER_AGENT]: 'fairlead',
        ...metadata,
      },
      { endStream: false },
    );
    return new GrpcCall(stream, options.maxMessageBytes, (error) => explain(options, this.#broken ?? error));
  }
}

/** Enough for a page of keys to arrive without waiting for window updates. */
const WINDOW_BYTES = 4 * 1_048_576;

function openSocket(url: URL, material: TlsMaterial | undefined): Socket {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (url.protocol === 'http:')
    return connectTcp({ host, port: Number(url.port === '' ? 80 : url.port), noDelay: true });
  const port = Number(url.port === '' ? 443 : url.port);
  // RFC 6066 section 3: no server name for addresses.
  const name = isIP(host) === 0 ? { servername: host } : {};
  return connectTls({ host, port, ALPNProtocols: ['h2'], ...name, ...tlsOptions(material) });
}

function explain(options: GrpcOptions, error: unknown): RegistryUnreachable {
  if (error instanceof RegistryUnreachable) return error;
  const check = `check registries[].${options.addressSetting}`;
  if (error instanceof DeadlinePassed) {
    const text = `${error.message}: it hangs or is cut off; if it never answers, ${check}`;
    return new RegistryUnreachable(options, options.endpoint, { fault: 'timeout', text }, error);
  }
  if (error instanceof TooLarge) {
    return new RegistryUnreachable(options, options.endpoint, { fault: 'too-large', text: error.message }, error);
  }
  if (error instanceof MalformedMessage) {
    const text = `what answers there is not etcd's client port (${error.message}); ${check}`;
    return new RegistryUnreachable(options, options.endpoint, { fault: 'protocol', text }, error);
  }
  const tls = options.endpoint.startsWith('https:');
  return new RegistryUnreachable(options, options.endpoint, explainNetworkError(error, options, tls), error);
}
