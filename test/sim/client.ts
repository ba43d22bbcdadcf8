import type { Clock } from '../../src/core/clock.ts';
import { Line, type Peer } from './line.ts';
import { bodyOf, hasBody } from './process.ts';
import type { SimThread } from './threads.ts';

/** How a request came to its end, as its client saw it. */
export type Ending =
  /** Answered by an instance, whole. */
  | { readonly kind: 'answered'; readonly status: number }
  /** Answered by the gateway in an instance's place. */
  | { readonly kind: 'refused'; readonly status: number; readonly why: string }
  /** Broken in the middle of the answer. */
  | { readonly kind: 'cut' }
  /** The connection ended before any answer. */
  | { readonly kind: 'dropped' }
  /** The client left first. */
  | { readonly kind: 'left' };

export interface Request {
  readonly id: string;
  readonly method: 'GET' | 'POST';
  readonly startedMs: number;
  /** Its client takes nothing for a while: what is cut meanwhile has not begun for it. */
  stalled: boolean;
  ending: Ending | undefined;
}

/** One client connection: one request after the other, and exactly one answer to each. */
export class Client implements Peer {
  current: Request | undefined;
  closed = false;
  /** The thread that has accepted it. */
  readonly to: SimThread;
  readonly #line: Line;
  readonly #clock: Clock;
  readonly #onEnd: (request: Request, ending: Ending, client: Client) => void;
  #text = '';

  constructor(
    to: SimThread,
    clock: Clock,
    latencyMs: number,
    onEnd: (request: Request, ending: Ending, client: Client) => void,
  ) {
    this.to = to;
    this.#clock = clock;
    this.#onEnd = onEnd;
    const connection = to.thread.dataPlane.proxy.accept();
    this.#line = new Line(connection, clock, latencyMs);
    this.#line.peer = this;
    to.lines.add(this.#line);
    connection.attach(this.#line);
  }

  get idle(): boolean {
    return !this.closed && this.current === undefined;
  }

  /** `pauseMs`: between head and body. */
  send(request: Request, pauseMs: number): void {
    this.current = request;
    const { method, id } = request;
    const body = method === 'POST' && hasBody(id) ? bodyOf(id) : '';
    const framing = method === 'POST' ? `Content-Length: ${body.length}\r\n` : '';
    const head = `${method} /${id} HTTP/1.1\r\nHost: web.localhost\r\n${framing}\r\n`;
    if (pauseMs === 0 || body === '') {
      this.#line.say(`${head}${body}`);
      return;
    }
    this.#line.say(`${head}${body.slice(0, 1)}`);
    this.#clock.after(pauseMs, () => {
      if (this.current === request) this.#line.say(body.slice(1));
    });
  }

  /** Takes nothing for a while: what the gateway writes stays pending. */
  stall(forMs: number): void {
    this.#line.pends = () => true;
    this.#clock.after(forMs, () => {
      this.#line.pends = () => false;
      this.#line.drain();
    });
  }

  leave(): void {
    if (this.closed) return;
    this.closed = true;
    this.#line.rst();
    this.#end({ kind: 'left' });
  }

  received(text: string): void {
    if (this.closed) return;
    if (!this.current) throw new Error(`a client was sent what it did not ask for: ${text}`);
    this.#text += text;
    const end = this.#text.indexOf('\r\n\r\n');
    if (end < 0) return;
    const head = this.#text.slice(0, end + 2);
    const body = takeBody(head, this.#text.slice(end + 4));
    if (!body) return;
    if (body.rest !== '') throw new Error(`more than one answer to ${this.current.id}: ${body.rest}`);
    this.#text = '';
    if (/\r\nconnection: close\r\n/i.test(head)) {
      this.closed = true;
      this.#line.fin();
    }
    this.#end(endingOf(this.current.id, head, body.text));
  }

  ended(): void {
    this.gone();
    this.#line.fin();
  }

  gone(): void {
    if (this.closed) return;
    this.closed = true;
    this.#end({ kind: this.#text === '' ? 'dropped' : 'cut' });
  }

  #end(ending: Ending): void {
    const request = this.current;
    this.current = undefined;
    if (!request) return;
    request.ending = ending;
    this.#onEnd(request, ending, this);
  }
}

function endingOf(id: string, head: string, body: string): Ending {
  const status = Number(head.slice(9, 12));
  const error = /\r\nproxy-status: fairlead; error=(\S+)\r\n/i.exec(head)?.[1];
  if (error !== undefined) {
    const { detail } = JSON.parse(body) as { detail: string };
    return { kind: 'refused', status, why: `${error}: ${detail}` };
  }
  const answers = /\r\nx-id: (\S+)\r\n/i.exec(head)?.[1];
  if (answers !== id || body !== bodyOf(id)) throw new Error(`${id} got the answer to ${String(answers)}: ${body}`);
  return { kind: 'answered', status };
}

function takeBody(head: string, text: string): { text: string; rest: string } | undefined {
  const length = /\r\ncontent-length: (\d+)\r\n/i.exec(head)?.[1];
  if (length !== undefined) {
    const end = Number(length);
    return text.length < end ? undefined : { text: text.slice(0, end), rest: text.slice(end) };
  }
  if (!/\r\ntransfer-encoding: chunked\r\n/i.test(head)) throw new Error(`an answer without framing: ${head}`);
  const last = text.indexOf('\r\n0\r\n\r\n');
  if (last < 0) return undefined;
  return { text: text.slice(text.indexOf('\r\n') + 2, last), rest: text.slice(last + 7) };
}
