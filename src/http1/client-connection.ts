import { BodyReader, type BodySink, Output, type OutputKind } from './body-reader.ts';
import { Framing } from './framing.ts';
import { type HeadLimits, INCOMPLETE, REFUSED } from './head.ts';
import { ResponseHead } from './response-head.ts';
import { READ_BUFFER_BYTES, type Transport, type TransportSink } from './transport.ts';

/** What is done with the response to one request. After `onResponseEnd` or `onResponseFailed` nothing follows. */
export interface ResponseHandler {
  /** A 1xx that is not a 101, as it came in `buffer[start, end)`. */
  onInformational(head: ResponseHead, buffer: Buffer): void;
  /** The final head; or a 101, after which the connection is a pipe. Says how the body is to be handed on. */
  onResponse(head: ResponseHead, buffer: Buffer): OutputKind;
  onResponseBody(buffer: Buffer, start: number, end: number): void;
  /** All that had arrived with the head has been handed on, and the response is not over. */
  onResponsePause(): void;
  /** Returns whether nothing of the body is still being written, so that its memory may be used again. */
  onResponseEnd(): boolean;
  /** `protocol`: what came was not HTTP, and why. `reset`: the connection ended before the response did. */
  onResponseFailed(kind: 'reset' | 'protocol', reason: string): void;
  /** A pending write of the request has left. */
  onRequestDrain(): void;
  onServerTunnelBytes(buffer: Buffer, start: number, end: number): void;
  onServerTunnelEnd(): void;
}

export interface ClientConnectionOptions {
  readonly limits: HeadLimits;
  /** Called when an idle connection has died, or sent what nobody asked for. */
  readonly onIdleClosed: (connection: ClientConnection) => void;
  /** Called once its transport is gone, whatever ended it. */
  readonly onClosed?: () => void;
}

/** Longer informational chatter than this before an answer is an attack or a bug. */
const MAX_INFORMATIONAL = 16;
/** Bodies with more than this to come are read into memory of their own and written on from there without a copy. */
const BULK_BYTES = READ_BUFFER_BYTES;
const BULK_POOL = 64;

const State = { idle: 0, head: 1, body: 2, tunnel: 3, closed: 4 } as const;

const responseHead = new ResponseHead();
const bulkPool: Buffer[] = [];

/** The client's side of one upstream connection, RFC 9112 section 9. One request at a time; no pipelining. */
export class ClientConnection implements TransportSink, BodySink {
  transport!: Transport;
  /** Whether any byte of a response to the current request has come. */
  responseBegan = false;
  /** Requests begun on this connection. */
  requests = 0;
  /** `clock.now()` at which it became idle. For the pool. */
  idleSinceMs = 0;
  /** What the server said of how long it keeps an idle connection, milliseconds; -1 = nothing. */
  serverKeepAliveMs = -1;
  /**
   * Bytes are being handed out just now. What was read with them, and comes next, was sent before any request that
   * could be begun here meanwhile: it must not be taken for its answer.
   */
  midRead = false;
  /** Whether bytes handed to `onResponseBody` in `bulk` may be written on without a copy. */
  bulk: Buffer | undefined;
  readonly #options: ClientConnectionOptions;
  readonly #body = new BodyReader();
  #handler: ResponseHandler | undefined;
  #state: number = State.idle;
  #toHead = false;
  #informational = 0;
  #keepAlive = true;
  #held: Buffer | undefined;
  #output: OutputKind = Output.wire;

  constructor(options: ClientConnectionOptions) {
    this.#options = options;
  }

  get closed(): boolean {
    return this.#state === State.closed;
  }

  /** After `onResponseEnd`: whether another request may follow on this connection. */
  get reusable(): boolean {
    return this.#state === State.idle && this.#keepAlive && !this.transport.writing;
  }

  /** Expects the response to a request that the caller writes through `transport`. */
  begin(handler: ResponseHandler, toHead: boolean): void {
    this.#handler = handler;
    this.#toHead = toHead;
    this.#state = State.head;
    this.#informational = 0;
    this.#keepAlive = true;
    this.responseBegan = false;
    this.requests++;
    this.transport.resume();
  }

  pause(): void {
    this.transport.pause();
  }

  resume(): void {
    if (this.#state !== State.closed) this.transport.resume();
  }

  /** Breaks off: the handler hears nothing more, and the connection is closed. */
  abandon(): void {
    this.#handler = undefined;
    if (this.#state === State.closed) return;
    this.#state = State.closed;
    this.#dropBulk();
    this.transport.destroy();
  }

  onBytes(buffer: Buffer, start: number, end: number): void {
    this.midRead = true;
    this.#read(buffer, start, end);
    this.midRead = false;
  }

  #read(buffer: Buffer, start: number, end: number): void {
    switch (this.#state) {
      case State.head:
        if (this.transport.batch) {
          // The request has not left yet: this is no answer to it, and the answer must not go to the next one.
          this.#fail('reset', 'bytes before the request');
          return;
        }
        this.responseBegan = true;
        if (this.#held) {
          const joined = Buffer.concat([this.#held, buffer.subarray(start, end)]);
          this.#held = undefined;
          this.#readHead(joined, 0, joined.length);
        } else {
          this.#readHead(buffer, start, end);
        }
        return;
      case State.body:
        this.#readBody(buffer, start, end);
        return;
      case State.tunnel:
        this.#handler?.onServerTunnelBytes(buffer, start, end);
        return;
      case State.idle:
        // Bytes that nobody asked for: whatever they are, the next request must not take them for its answer.
        this.#closeIdle();
        return;
      default:
    }
  }

  onBody(buffer: Buffer, start: number, end: number): void {
    this.#handler?.onResponseBody(buffer, start, end);
  }

  onEnd(): void {
    if (this.#state === State.tunnel) {
      this.#handler?.onServerTunnelEnd();
      return;
    }
    if (this.#state === State.body && this.#body.finishAtClose(this)) {
      this.#keepAlive = false;
      this.#complete();
    } else {
      this.#lost('closed by the instance');
    }
  }

  onDrain(): void {
    this.#handler?.onRequestDrain();
  }

  onClose(code: string | undefined): void {
    this.#options.onClosed?.();
    this.#lost(code ?? 'closed');
  }

  #lost(reason: string): void {
    if (this.#state === State.idle) this.#closeIdle();
    else if (this.#state !== State.closed) this.#fail('reset', reason);
  }

  #fail(kind: 'reset' | 'protocol', reason: string): void {
    const handler = this.#handler;
    this.abandon();
    handler?.onResponseFailed(kind, reason);
  }

  #closeIdle(): void {
    this.#state = State.closed;
    this.transport.destroy();
    this.#options.onIdleClosed(this);
  }

  #readHead(buffer: Buffer, start: number, end: number): void {
    let at = start;
    while (this.#state === State.head) {
      const parsed = responseHead.parse(buffer, at, end, this.#options.limits, this.#toHead);
      if (parsed === INCOMPLETE) {
        this.#held = at < end ? Buffer.from(buffer.subarray(at, end)) : undefined;
        return;
      }
      if (parsed === REFUSED) {
        this.#fail('protocol', responseHead.refusal?.reason ?? 'malformed');
        return;
      }
      at = parsed;
      if (responseHead.status < 200 && responseHead.status !== 101) {
        if (++this.#informational > MAX_INFORMATIONAL) {
          this.#fail('protocol', 'too-many-informational');
          return;
        }
        this.#handler?.onInformational(responseHead, buffer);
        continue;
      }
      this.#begun(buffer);
    }
    // The handler may have abandoned the connection, or made it a tunnel.
    if (this.#state === State.body) {
      this.#readBody(buffer, at, end);
      if (this.#handler && !this.#body.done) this.#handler.onResponsePause();
    } else if (this.#state === State.tunnel && at < end) this.#handler?.onServerTunnelBytes(buffer, at, end);
  }

  #begun(buffer: Buffer): void {
    const head = responseHead;
    this.#keepAlive = head.keepAlive;
    if (head.keepAliveSeconds >= 0) this.serverKeepAliveMs = head.keepAliveSeconds * 1000;
    const { framing, bodyLength } = head;
    this.#state = head.status === 101 ? State.tunnel : State.body;
    this.#output = this.#handler?.onResponse(head, buffer) ?? Output.wire;
    if (this.#state !== State.body) return;
    this.#body.begin(framing, bodyLength, this.#output);
    if (framing !== Framing.none && (framing !== Framing.length || bodyLength > BULK_BYTES)) this.#takeBulk();
  }

  #readBody(buffer: Buffer, start: number, end: number): void {
    const stop = this.#body.done ? start : this.#body.read(buffer, start, end, this);
    if (stop < 0) this.#fail('protocol', 'bad-chunk');
    else if (this.#body.done) this.#endAt(stop, end);
  }

  #endAt(stop: number, end: number): void {
    if (this.#state !== State.body) return;
    if (stop < end) this.#keepAlive = false;
    this.#complete();
  }

  #complete(): void {
    const handler = this.#handler;
    this.#handler = undefined;
    this.#state = State.idle;
    const bulk = this.bulk;
    this.#dropBulk();
    const written = handler?.onResponseEnd() ?? false;
    if (bulk && written && bulkPool.length < BULK_POOL) bulkPool.push(bulk);
    // Nobody took it back into a pool, or nobody could.
    if (!this.#keepAlive && !this.closed) this.abandon();
  }

  /** Long bodies only: a buffer of one's own per connection would be dear for short ones. */
  #takeBulk(): void {
    this.bulk = bulkPool.pop() ?? Buffer.allocUnsafeSlow(READ_BUFFER_BYTES);
    this.transport.readInto(this.bulk);
  }

  #dropBulk(): void {
    if (!this.bulk) return;
    this.transport.readInto(undefined);
    this.bulk = undefined;
  }
}
