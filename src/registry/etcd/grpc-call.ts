import { constants, type ClientHttp2Stream, type IncomingHttpHeaders, type IncomingHttpStatusHeader } from 'node:http2';
import { frame, messages } from './grpc-framing.ts';
import { MalformedMessage } from './protobuf.ts';

/** The server's verdict on a call, where it is not OK (grpc.github.io, doc/statuscodes.md). */
export class GrpcStatus extends Error {
  override readonly name = 'GrpcStatus';
  readonly code: number;

  constructor(code: number, message: string) {
    super(message === '' ? `status ${code}` : message);
    this.code = code;
  }
}

/** One call on a connection. */
export class GrpcCall {
  readonly #stream: ClientHttp2Stream;
  readonly #maxMessageBytes: number;
  readonly #explain: (error: unknown) => Error;
  readonly #verdict = Promise.withResolvers<GrpcStatus | undefined>();
  #failure: unknown;

  constructor(stream: ClientHttp2Stream, maxMessageBytes: number, explainError: (error: unknown) => Error) {
    this.#stream = stream;
    this.#maxMessageBytes = maxMessageBytes;
    this.#explain = explainError;
    stream.on('error', (error: Error) => {
      this.#failure ??= error;
    });
    stream.once('response', (headers) => this.#onHead(headers));
    stream.once('trailers', (trailers: IncomingHttpHeaders) => this.#verdict.resolve(statusOf(trailers)));
    stream.once('close', () => this.#verdict.resolve(undefined));
  }

  send(message: Buffer): void {
    this.#stream.write(frame(message));
  }

  /** Says that no message follows. */
  end(): void {
    this.#stream.end();
  }

  /** Cancels the call on the server too; `messages()` throws this error, explained. */
  fail(error: Error): void {
    this.#failure ??= error;
    this.#stream.destroy(error);
  }

  /** Ends without a sound when the server says OK; throws in every other case. For one reader, once. */
  async *messages(): AsyncGenerator<Buffer, void, undefined> {
    try {
      yield* messages(this.#stream, this.#maxMessageBytes);
      this.#stream.end();
    } catch (error) {
      throw this.#explain(this.#failure ?? error);
    } finally {
      if (!this.#stream.writableEnded) this.#stream.close(constants.NGHTTP2_CANCEL);
    }
    const status = await this.#verdict.promise;
    if (this.#failure !== undefined) throw this.#explain(this.#failure);
    if (!status) throw this.#explain(new Error('the call ended without a status'));
    if (status.code !== 0) throw status;
  }

  #onHead(headers: IncomingHttpHeaders & IncomingHttpStatusHeader): void {
    const type = headers['content-type'] ?? 'nothing';
    if (headers[':status'] !== 200 || !type.startsWith('application/grpc')) {
      this.fail(new MalformedMessage(`HTTP status ${headers[':status'] ?? 0} with ${type} in place of gRPC`));
    } else if (headers['grpc-status'] !== undefined) {
      this.#verdict.resolve(statusOf(headers));
    }
  }
}

function statusOf(headers: IncomingHttpHeaders): GrpcStatus {
  const code = Number(headers['grpc-status'] ?? '2');
  const message = headers['grpc-message'];
  return new GrpcStatus(Number.isInteger(code) ? code : 2, unescape(typeof message === 'string' ? message : ''));
}

/** grpc-message is percent-encoded UTF-8; a sender that does it wrong is shown as it is. */
function unescape(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
