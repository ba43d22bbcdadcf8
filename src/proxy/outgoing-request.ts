import type { ClientConnection } from '../http1/client-connection.ts';
import { Framing } from '../http1/framing.ts';
import { METHODS, type RequestHead } from '../http1/request-head.ts';
import { READ_BUFFER_BYTES, type Transport } from '../http1/transport.ts';
import type { ProxyContext } from './context.ts';
import { KeptBody } from './kept-body.ts';
import { OutgoingHead } from './outgoing-head.ts';

/** RFC 9110 section 9.2.2, by index into METHODS. An unknown method may do anything. */
const IDEMPOTENT: readonly boolean[] = METHODS.map((name) =>
  ['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS'].includes(name),
);

/** A request body waiting for its connection may grow to this before the client is held back. */
const HOLD_BACK_BYTES = 65_536;

/** The request as instances get it: its head, what is kept of its body, and what has just come of it. */
export class OutgoingRequest {
  /** Index into METHODS. */
  method = 0;
  hasBody = false;
  websocket = false;
  /** All of it has come from the client. */
  ended = false;
  readonly #context: ProxyContext;
  readonly #head = new OutgoingHead();
  readonly #kept = new KeptBody();
  /** Bytes of the body that have just been read and are neither sent nor kept. */
  #arrived: Buffer | undefined;
  #arrivedStart = 0;
  #arrivedEnd = 0;

  constructor(context: ProxyContext) {
    this.#context = context;
  }

  begin(method: number): void {
    this.method = method;
    this.hasBody = false;
    this.websocket = false;
    this.ended = false;
  }

  /** The head that every attempt sends. */
  writeHead(head: RequestHead, source: Buffer, client: Transport, websocket: boolean): void {
    this.hasBody = head.framing !== Framing.none;
    this.websocket = websocket;
    this.#head.write(head, source, client, this.#context, websocket);
  }

  /** Obligation: before the first byte of a body. Of a body up to `limitBytes` all is kept. */
  keepBody(limitBytes: number): void {
    this.#kept.begin(limitBytes);
  }

  /** undefined where the request had no readable head. */
  get requestId(): string | undefined {
    return this.#head.requestId;
  }

  get idempotent(): boolean {
    return IDEMPOTENT[this.method] === true;
  }

  /** All of the body that has come is still here. */
  get bodyReplayable(): boolean {
    return !this.hasBody || this.#kept.whole;
  }

  /** Whether doing it again would do no harm as things stand. */
  get replayable(): boolean {
    return this.idempotent && this.bodyReplayable && !this.websocket;
  }

  /** The first bytes of the body: with a connection at hand they leave from where they were read. */
  arrive(buffer: Buffer, start: number, end: number): void {
    this.#arrived = buffer;
    this.#arrivedStart = start;
    this.#arrivedEnd = end;
  }

  /** What arrived does not last: `keep` = it has yet to be sent. */
  endArrival(keep: boolean): void {
    if (keep && this.#arrived) this.#kept.append(this.#arrived, this.#arrivedStart, this.#arrivedEnd);
    this.#arrived = undefined;
  }

  /** For a connection that is still being made; false = the client should be held back. */
  keep(buffer: Buffer, start: number, end: number): boolean {
    this.#kept.append(buffer, start, end);
    return this.#kept.length <= HOLD_BACK_BYTES;
  }

  /** Head, and as much of the body as there is. False = the instance takes no more for now. */
  send(client: ClientConnection): boolean {
    if (this.hasBody) return this.#sendWithBody(client.transport);
    this.#context.batch.add(client.transport, this.#head.buffer as Buffer, this.#head.start, this.#head.end);
    return true;
  }

  /** The head, what is kept of the body, and what has just come of it, in one write. */
  #sendWithBody(to: Transport): boolean {
    const { stage } = this.#context;
    const { start: headStart, end: headEnd } = this.#head;
    const arrived = this.#arrived;
    this.#arrived = undefined;
    if (arrived && (this.replayable || this.#kept.length > 0))
      this.#kept.append(arrived, this.#arrivedStart, this.#arrivedEnd);
    const kept = this.#kept.bytes;
    stage.reserve(headEnd - headStart + this.#kept.length + READ_BUFFER_BYTES * 2);
    let end = stage.start + (this.#head.buffer as Buffer).copy(stage.buffer, stage.start, headStart, headEnd);
    if (kept) end += kept.copy(stage.buffer, end, 0, this.#kept.length);
    else if (arrived) end += arrived.copy(stage.buffer, end, this.#arrivedStart, this.#arrivedEnd);
    const taken = stage.send(to, end);
    if (!this.replayable || this.#kept.overLimit) this.#kept.letGo();
    return taken;
  }

  /** More of the body. False = the instance takes no more for now. */
  sendBody(to: Transport, buffer: Buffer, start: number, end: number): boolean {
    if (this.#kept.whole) {
      if (this.replayable) this.#kept.append(buffer, start, end);
      if (!this.replayable || this.#kept.overLimit) this.#kept.letGo();
    }
    return this.#context.stage.sendCopy(to, buffer, start, end);
  }

  /** `pending`: a write of the head may still be under way. */
  release(pending: boolean): void {
    this.#head.release(pending);
    if (this.hasBody) this.#kept.letGo();
  }
}
