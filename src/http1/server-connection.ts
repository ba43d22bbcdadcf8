import type { Clock } from '../core/clock.ts';
import { LazyTimer } from '../core/lazy-timer.ts';
import type { TimingWheel } from '../core/wheel.ts';
import { BodyPace, type PaceLimits } from './body-pace.ts';
import { BodyReader, type BodySink, Output } from './body-reader.ts';
import { Framing } from './framing.ts';
import { type HeadLimits, INCOMPLETE, REFUSED } from './head.ts';
import { REFUSALS, type Refusal } from './refusal.ts';
import { RequestHead } from './request-head.ts';
import { LF } from './syntax.ts';
import { READ_BUFFER_BYTES, type Transport, type TransportSink } from './transport.ts';

/**
 * What is done with the requests of one connection. Requests come one at a time: the next one begins only after
 * `finish`. Heads and bytes are good only until the call returns.
 */
export interface RequestHandler {
  onRequest(head: RequestHead, buffer: Buffer): void;
  /** Part of the body, in the framing in which it came. */
  onRequestBody(buffer: Buffer, start: number, end: number): void;
  /** The request is complete. Also called for a request without a body, straight after `onRequest`. */
  onRequestEnd(): void;
  /**
   * Not a request, or too slow in coming (`undefined`). `answered` = it began well and `onRequest` was called.
   * To be answered, then `finish(false)`, or `abort`.
   */
  onRefused(refusal: Refusal | undefined, answered: boolean): void;
  /** The client went away while its request was under way. Nothing can be sent any more. */
  onClientGone(code: string | undefined): void;
  /** The client has not taken what was sent for as long as `expectDrainWithin` allowed. */
  onClientStalled(): void;
  onClientDrain(): void;
  /** After `tunnel`: bytes from the client. */
  onClientTunnelBytes(buffer: Buffer, start: number, end: number): void;
  /** After `tunnel`: the client has sent FIN. */
  onClientTunnelEnd(): void;
  /** The connection is gone for good, whatever it was doing. The last call. */
  onConnectionClosed(): void;
}

export interface ServerConnectionOptions extends PaceLimits {
  readonly clock: Clock;
  readonly wheel: TimingWheel;
  readonly limits: HeadLimits;
  /** From the first byte of a request to the end of its head. */
  readonly requestHeadMs: number;
  /** Between a response and the next request; also before the first one. */
  readonly keepAliveMs: number;
}

const State = { idle: 0, head: 1, body: 2, wait: 3, tunnel: 4, linger: 5, closed: 6 } as const;

/** A head that drips in is parsed again with each new line, and with each byte only while it is this short. */
const REPARSE_ALWAYS_BYTES = 1024;
/** Pipelined requests kept while another one is answered; beyond it, reading stops. */
const MAX_HELD_BYTES = 65_536;
/** After an early answer: read and drop this much, this long, so that the client sees the answer and not a reset. */
const LINGER_BYTES = 262_144;
const LINGER_MS = 2000;

/** Heads are used or copied before the next parse, so that one serves all. */
const requestHead = new RequestHead();

/** The server's side of one client connection, RFC 9112 sections 9.3 to 9.6. Knows no service. */
export class ServerConnection extends LazyTimer implements TransportSink, BodySink {
  transport!: Transport;
  readonly #options: ServerConnectionOptions;
  readonly #handler: RequestHandler;
  readonly #body = new BodyReader();
  readonly #pace: BodyPace;
  #state: number = State.idle;
  #held: Buffer | undefined;
  #heldEnd = 0;
  #consuming = false;
  #paused = false;
  /** What came is not understood, so that there may be more of it. */
  #refused = false;
  /** The client said that this request is its last. */
  #last = false;
  #closeNext = false;
  #lingered = 0;

  constructor(options: ServerConnectionOptions, handler: RequestHandler) {
    super(options.wheel);
    this.#options = options;
    this.#handler = handler;
    this.#pace = new BodyPace(options);
  }

  /** Begins to serve. */
  attach(transport: Transport): void {
    this.transport = transport;
    this.#schedule(this.#options.keepAliveMs);
    transport.resume();
  }

  get closed(): boolean {
    return this.#state === State.closed;
  }

  /** No request is under way. */
  get idle(): boolean {
    return this.#state === State.idle;
  }

  /** Whether all of the current request has been read. */
  get requestComplete(): boolean {
    return this.#state !== State.body;
  }

  /** Holds the client's body back until `resumeBody`. */
  pauseBody(): void {
    if (this.#paused || this.#state === State.closed) return;
    this.#paused = true;
    this.#pace.pause(this.#options.clock.now());
    this.transport.pause();
  }

  resumeBody(): void {
    if (!this.#paused || this.#state === State.closed) return;
    this.#paused = false;
    if (this.#state === State.body) this.setDeadline(this.#pace.resume(this.#options.clock.now()));
    this.transport.resume();
  }

  /** A write is pending: if it still is after `withinMs`, `onClientStalled` follows. */
  expectDrainWithin(withinMs: number): void {
    if (this.#state === State.wait || this.#state === State.tunnel) this.#schedule(withinMs);
  }

  /** From now on the connection is a pipe. */
  tunnel(): void {
    this.#state = State.tunnel;
    this.clearDeadline();
    this.#releaseHeld();
  }

  /** The answer has been written. `keepAlive` false: the client is told by FIN once it has had the time to read. */
  finish(keepAlive: boolean, nowMs: number): void {
    if (this.#state === State.closed || this.#state === State.linger) return;
    if (!keepAlive || this.#closeNext || this.#state === State.body || this.#state === State.tunnel) {
      this.#close();
      return;
    }
    this.#state = State.idle;
    this.setDeadline(nowMs + this.#options.keepAliveMs);
    if (!this.#consuming && this.#held && !this.transport.writing) this.#releaseHeld();
  }

  /** Closes so that the client cannot take what it has had for a whole answer. */
  abort(): void {
    if (this.#state !== State.closed) this.transport.reset();
  }

  /** Serves what is under way, then closes; an idle connection closes now. */
  drain(): void {
    this.#closeNext = true;
    if (this.#state === State.idle && !this.transport.writing) this.#linger();
  }

  onBytes(buffer: Buffer, start: number, end: number): void {
    if (!this.#held) {
      this.#consume(buffer, start, end);
      return;
    }
    this.#append(buffer, start, end);
    if (this.#state === State.idle && !this.transport.writing) this.#releaseHeld();
    else if (this.#state === State.head && this.#worthParsing(buffer, start, end)) this.#releaseHeld();
  }

  onBody(buffer: Buffer, start: number, end: number): void {
    this.#handler.onRequestBody(buffer, start, end);
  }

  onEnd(): void {
    switch (this.#state) {
      case State.tunnel:
        this.#handler.onClientTunnelEnd();
        return;
      case State.body:
      case State.wait:
        // RFC 9112 section 9.6 lets us take a half-closed client for one that is gone; nearly always it is.
        this.#state = State.closed;
        this.#handler.onClientGone(undefined);
        break;
      default:
    }
    this.transport.destroy();
  }

  onDrain(): void {
    if (this.#state === State.wait || this.#state === State.body || this.#state === State.tunnel) {
      if (this.#state === State.wait || this.#state === State.tunnel) this.clearDeadline();
      this.#handler.onClientDrain();
    } else if (this.#state === State.idle) {
      if (this.#closeNext) this.#linger();
      else if (this.#held) this.#releaseHeld();
    } else if (this.#state === State.linger) {
      this.#schedule(LINGER_MS);
    }
  }

  onClose(code: string | undefined): void {
    const before = this.#state;
    this.#state = State.closed;
    this.releaseTimer();
    this.#held = undefined;
    if (before === State.body || before === State.wait || before === State.tunnel) this.#handler.onClientGone(code);
    this.#handler.onConnectionClosed();
  }

  protected override onDeadline(nowMs: number): void {
    switch (this.#state) {
      case State.idle:
        this.#linger();
        break;
      case State.head:
        this.#refuse(undefined, false);
        break;
      case State.body:
        this.#checkBody(nowMs);
        break;
      case State.wait:
      case State.tunnel:
        this.#handler.onClientStalled();
        break;
      case State.linger:
        this.transport.destroy();
        break;
      default:
    }
  }

  #schedule(withinMs: number): void {
    this.setDeadline(this.#options.clock.now() + withinMs);
  }

  #consume(buffer: Buffer, start: number, end: number): void {
    this.#consuming = true;
    let at = start;
    while (at < end) {
      switch (this.#state) {
        case State.idle:
          if (this.transport.writing) {
            at = this.#hold(buffer, at, end);
            break;
          }
          this.#state = State.head;
          at = this.#readHead(buffer, at, end, true);
          break;
        case State.head:
          at = this.#readHead(buffer, at, end, false);
          break;
        case State.body:
          at = this.#readBody(buffer, at, end);
          break;
        case State.wait:
          at = this.#hold(buffer, at, end);
          break;
        case State.tunnel:
          this.#handler.onClientTunnelBytes(buffer, at, end);
          at = end;
          break;
        case State.linger:
          this.#lingered += end - at;
          if (this.#lingered > LINGER_BYTES) this.transport.destroy();
          at = end;
          break;
        default:
          at = end;
      }
    }
    this.#consuming = false;
  }

  #readHead(buffer: Buffer, start: number, end: number, first: boolean): number {
    const parsed = requestHead.parse(buffer, start, end, this.#options.limits);
    if (parsed === INCOMPLETE) {
      if (first) this.#schedule(this.#options.requestHeadMs);
      return this.#hold(buffer, start, end);
    }
    if (parsed === REFUSED) {
      this.#refuse(requestHead.refusal, false);
      return end;
    }
    this.#last = !requestHead.keepAlive;
    this.#body.begin(requestHead.framing, requestHead.bodyLength, Output.wire);
    if (requestHead.framing === Framing.none) {
      this.#state = State.wait;
      this.clearDeadline();
      this.#handler.onRequest(requestHead, buffer);
      if (this.#state === State.wait) this.#handler.onRequestEnd();
    } else {
      this.#state = State.body;
      this.setDeadline(this.#pace.begin(this.#options.clock.now()));
      this.#handler.onRequest(requestHead, buffer);
    }
    return parsed;
  }

  #readBody(buffer: Buffer, start: number, end: number): number {
    const stop = this.#body.read(buffer, start, end, this);
    if (stop < 0) {
      this.#refuse(REFUSALS.badChunk, true);
      return end;
    }
    // The handler may have answered and finished in between.
    if (this.#body.done && this.#state === State.body) {
      this.#state = State.wait;
      this.clearDeadline();
      this.#handler.onRequestEnd();
    }
    return stop;
  }

  #checkBody(nowMs: number): void {
    const nextMs = this.#pace.look(nowMs, this.#body.contentBytes, this.#paused);
    if (nextMs === undefined) this.#refuse(undefined, true);
    else this.setDeadline(nextMs);
  }

  #refuse(refusal: Refusal | undefined, answered: boolean): void {
    this.#refused = true;
    if (!answered) this.#state = State.wait;
    this.clearDeadline();
    this.#handler.onRefused(refusal, answered);
  }

  /**
   * Nothing unread, nothing unwritten: FIN and close in one. Else the client needs the time to read its answer, and
   * what it may be sending meanwhile must not be met by RST (RFC 9112 section 9.6).
   */
  #close(): void {
    this.transport.batch?.flush();
    const unread = this.#state !== State.wait || this.#held !== undefined || this.#refused || !this.#last;
    if (unread || this.transport.writing) this.#linger();
    else this.transport.destroy();
  }

  #linger(): void {
    this.#state = State.linger;
    this.#lingered = 0;
    this.#held = undefined;
    this.transport.end();
    this.transport.resume();
    // An answer that is still leaving has the time that a part of a body has.
    this.#schedule(this.transport.writing ? Math.max(LINGER_MS, this.#options.bodyIdleMs) : LINGER_MS);
  }

  #hold(buffer: Buffer, start: number, end: number): number {
    this.#append(buffer, start, end);
    return end;
  }

  #append(buffer: Buffer, start: number, end: number): void {
    const had = this.#held ? this.#heldEnd : 0;
    const needed = had + end - start;
    if (!this.#held || this.#held.length < needed) {
      const larger = Buffer.allocUnsafeSlow(Math.max(512, 1 << (32 - Math.clz32(needed - 1))));
      this.#held?.copy(larger, 0, 0, had);
      this.#held = larger;
    }
    buffer.copy(this.#held, had, start, end);
    this.#heldEnd = needed;
    if (needed > MAX_HELD_BYTES + READ_BUFFER_BYTES && this.#state !== State.head) this.pauseBody();
  }

  #releaseHeld(): void {
    const held = this.#held;
    if (!held) return;
    this.#held = undefined;
    if (this.#paused) this.resumeBody();
    this.#consume(held, 0, this.#heldEnd);
  }

  #worthParsing(buffer: Buffer, start: number, end: number): boolean {
    if (this.#heldEnd <= REPARSE_ALWAYS_BYTES || this.#heldEnd > this.#options.limits.headBytes) return true;
    const lf = buffer.indexOf(LF, start);
    return lf >= 0 && lf < end;
  }
}
