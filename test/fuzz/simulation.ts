import { type Random, seededRandom } from '../../src/core/random.ts';
import { readRequests, readResponses, type ReadMessage, valuesOf } from '../http1/strict-reader.ts';
import { latin1 } from '../http1/server-view.ts';
import { type ClientSide, type InstanceSide, MemoryGateway } from './memory-gateway.ts';

/** One request of the simulation, and what an instance answers to it. Everything follows from seed and number. */
interface Plan {
  readonly id: string;
  readonly method: string;
  readonly bytes: Buffer;
  readonly body: string;
  readonly old: boolean;
  readonly last: boolean;
  readonly status: number;
  readonly answer: string;
  readonly answerFraming: 'length' | 'chunked' | 'close';
  readonly interim: number;
}

interface Client {
  readonly side: ClientSide;
  readonly plans: Plan[];
  /** What is still to be sent. */
  outbox: Buffer;
  aborted: boolean;
}

interface Instance {
  readonly side: InstanceSide;
  /** Where in what was sent the next request begins. */
  readTo: number;
  /** What is still to be answered. */
  outbox: Buffer;
  /** It closes once the outbox is empty. */
  closes: boolean;
  /** Part of an answer is out. */
  midway: boolean;
  /** Nothing is answered here any more. */
  mute: boolean;
}

const IDEMPOTENT = new Set(['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS']);
const ATTEMPTS = 3;
/** A reconnection after a stale one belongs to its attempt. */
const SENDINGS = ATTEMPTS * 2;

const within = (random: Random, limit: number): number => Math.floor(random() * limit);
const oneOf = <T>(random: Random, items: readonly T[]): T => items[within(random, items.length)] as T;

function textOf(id: string, length: number): string {
  return `<${id}>`.repeat(Math.ceil(length / (id.length + 2))).slice(0, length);
}

function lengthFor(random: Random): number {
  const kind = random();
  if (kind < 0.3) return 0;
  if (kind < 0.8) return within(random, 200);
  return kind < 0.95 ? within(random, 20_000) : within(random, 300_000);
}

function chunksOf(random: Random, text: string): string {
  const parts: string[] = [];
  const dressing = random() < 0.3 ? ';x="y;z"' : '';
  for (let at = 0; at < text.length;) {
    const size = Math.min(text.length - at, 1 + within(random, text.length > 5000 ? 70_000 : 300));
    parts.push(`${'0'.repeat(within(random, 2))}${size.toString(16)}${dressing}\r\n${text.slice(at, at + size)}\r\n`);
    at += size;
  }
  return `${parts.join('')}0\r\n${random() < 0.2 ? 'X-Trailer: 1\r\n' : ''}\r\n`;
}

function plan(random: Random, id: string): Plan {
  const method = oneOf(random, ['GET', 'GET', 'GET', 'HEAD', 'POST', 'POST', 'PUT', 'DELETE', 'PURGE']);
  const old = random() < 0.1;
  const last = random() < 0.08;
  const body = method === 'POST' || method === 'PUT' || random() < 0.1 ? textOf(id, lengthFor(random)) : '';
  const chunked = !old && random() < 0.4;
  const framing =
    body === '' && random() < 0.5
      ? ''
      : chunked
        ? 'Transfer-Encoding: chunked\r\n'
        : `Content-Length: ${body.length}\r\n`;
  const coded = framing === '' ? '' : chunked ? chunksOf(random, body) : body;
  const head = [
    `${method} /${id} HTTP/1.${old ? 0 : 1}`,
    'Host: web.localhost',
    `X-Id: ${id}`,
    ...(old && random() < 0.5 ? ['Connection: keep-alive'] : []),
    ...(last ? ['Connection: close'] : []),
    ...(random() < 0.1 ? ['Expect: 100-continue'] : []),
    ...(random() < 0.1 ? [`X-Long: ${'l'.repeat(within(random, 3000))}`] : []),
  ].join('\r\n');
  return {
    id,
    method,
    bytes: latin1(`${head}\r\n${framing}\r\n${coded}`),
    body,
    old,
    last,
    status: oneOf(random, [200, 200, 200, 200, 404, 500, 204, 304]),
    answer: textOf(`${id}!`, lengthFor(random)),
    answerFraming: oneOf(random, ['length', 'length', 'chunked', 'chunked', 'close']),
    interim: random() < 0.1 ? 1 + within(random, 3) : 0,
  };
}

function bodyless({ method, status }: Plan): boolean {
  return method === 'HEAD' || status === 204 || status === 304;
}

function answerOf(random: Random, request: Plan): { bytes: Buffer; closes: boolean } {
  const { id, status, answer, answerFraming } = request;
  const interim = 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'.repeat(request.interim);
  const closes = (answerFraming === 'close' && !bodyless(request)) || random() < 0.05;
  const fields =
    answerFraming === 'length'
      ? `Content-Length: ${answer.length}\r\n`
      : answerFraming === 'chunked'
        ? 'Transfer-Encoding: chunked\r\n'
        : '';
  const coded = bodyless(request) ? '' : answerFraming === 'chunked' ? chunksOf(random, answer) : answer;
  const close = closes && random() < 0.5 ? 'Connection: close\r\n' : '';
  return { bytes: latin1(`${interim}HTTP/1.1 ${status} S\r\nX-Id: ${id}\r\n${close}${fields}\r\n${coded}`), closes };
}

/** What must hold of every run; thrown with the seed in it. */
export class Violation extends Error {}

/**
 * Clients and instances that do what they like, in an order that the seed decides, around the gateway's own data path.
 * Whatever they do: an answer goes to the request it belongs to, whole or visibly broken; a request arrives as it was
 * sent, and one that may not be repeated arrives once; and in the end nothing is held.
 */
export class Simulation {
  readonly #seed: number;
  readonly #random: Random;
  readonly #plans = new Map<string, Plan>();
  /** How often the head of each request has reached an instance. */
  readonly #arrivals = new Map<string, number>();
  readonly #clients: Client[] = [];
  readonly #instances: Instance[] = [];
  #gateway!: MemoryGateway;
  #sent = 0;
  /** Answers that went the whole way. */
  answered = 0;

  constructor(seed: number) {
    this.#seed = seed;
    this.#random = seededRandom(seed);
  }

  /** Makes at least so many requests; throws a Violation where something is not as it must be. */
  async run(requests: number): Promise<void> {
    const random = this.#random;
    const failing = random() < 0.3 ? 0.1 : 0;
    this.#gateway = await MemoryGateway.start({
      instances: 1 + within(random, 3),
      stageBytes: oneOf(random, [2048, 70_000, 524_288]),
      connect: () => (random() < failing ? oneOf(random, ['ECONNREFUSED', 'never']) : 'ok'),
    });
    try {
      while (this.#sent < requests) await this.#step();
      await this.#settle();
    } catch (error) {
      throw error instanceof Violation
        ? error
        : new Violation(`seed ${this.#seed}: ${String(error)}`, { cause: error });
    } finally {
      this.#gateway.stop();
    }
  }

  #violated(what: string): never {
    throw new Violation(`seed ${this.#seed}: ${what}`);
  }

  async #step(): Promise<void> {
    const random = this.#random;
    const what = random();
    if (what < 0.05 || this.#clients.length === 0) this.#newClient();
    else if (what < 0.15) this.#request(oneOf(random, this.#clients));
    else if (what < 0.4) this.#deliver(oneOf(random, this.#clients));
    else if (what < 0.7) this.#answer();
    else if (what < 0.85) this.#drainSome();
    else if (what < 0.87) this.#misbehave();
    else if (what < 0.89) this.#abort(oneOf(random, this.#clients));
    else if (what < 0.9) oneOf(random, this.#clients).side.exchange.delivery.moveOff();
    else if (what < 0.91) this.#gateway.clock.advance(within(random, 3000));
    else await this.#gateway.turn();
    this.#noticeInstances();
    this.#checkInstances();
  }

  #newClient(): void {
    if (this.#clients.filter(({ side }) => !side.closed).length >= 6) return;
    const side = this.#gateway.connect();
    const random = this.#random;
    const pending = oneOf(random, [0, 0, 0.2, 0.9]);
    side.transport.pends = () => random() < pending;
    this.#clients.push({ side, plans: [], outbox: Buffer.alloc(0), aborted: false });
  }

  #request(client: Client): void {
    if (client.side.transport.destroyed || client.side.transport.ended || client.plans.at(-1)?.last) return;
    const next = plan(this.#random, `${this.#clients.indexOf(client)}-${this.#sent++}`);
    this.#plans.set(next.id, next);
    client.plans.push(next);
    client.outbox = Buffer.concat([client.outbox, next.bytes]);
  }

  #deliver(client: Client): void {
    const { outbox } = client;
    if (outbox.length === 0 || client.aborted || client.side.transport.destroyed) return;
    const size = this.#random() < 0.5 ? outbox.length : 1 + within(this.#random, outbox.length);
    client.outbox = outbox.subarray(size);
    client.side.transport.arrive(outbox.subarray(0, size));
  }

  #noticeInstances(): void {
    const random = this.#random;
    for (let at = this.#instances.length; at < this.#gateway.instances.length; at++) {
      const side = this.#gateway.instances[at] as InstanceSide;
      const pending = oneOf(random, [0, 0, 0, 0.3]);
      side.transport.pends = () => random() < pending;
      this.#instances.push({ side, readTo: 0, outbox: Buffer.alloc(0), closes: false, midway: false, mute: false });
    }
  }

  /** Reads what has come to the instances, and prepares the answers to whole requests. */
  #checkInstances(): void {
    for (const instance of this.#instances) {
      const { transport } = instance.side;
      if (transport.sent.length === instance.readTo) continue;
      const { messages, error } = readRequests(transport.sent.slice(instance.readTo));
      if (error !== undefined) this.#violated(`an instance was sent nonsense: ${error}`);
      for (const message of messages) {
        if (message.broken) this.#violated(`an instance was sent a malformed body: ${message.line}`);
        const id = valuesOf(message, 'x-id')[0] ?? '';
        if (!message.complete) {
          if (this.#plans.has(id) && this.#random() < 0.02) this.#prepare(instance, id, true);
          break;
        }
        this.#received(message);
        instance.readTo = this.#endOf(transport.sent, instance.readTo);
        this.#prepare(instance, id, false);
      }
    }
  }

  /** `early`: before all of the request has come. Then nothing more is answered on this connection. */
  #prepare(instance: Instance, id: string, early: boolean): void {
    if (instance.mute) return;
    const { bytes, closes } = answerOf(this.#random, this.#plans.get(id) as Plan);
    instance.outbox = Buffer.concat([instance.outbox, bytes]);
    instance.closes = closes;
    instance.mute = closes || early;
  }

  /** Where the first message from `from` on ends: what is left when it is taken out. */
  #endOf(text: string, from: number): number {
    const headEnd = text.indexOf('\r\n\r\n', from) + 4;
    const head = text.slice(from, headEnd);
    const length = /\r\ncontent-length: (\d+)/i.exec(head);
    if (length) return headEnd + Number(length[1]);
    if (!/\r\ntransfer-encoding:/i.test(head)) return headEnd;
    // Chunks in their plainest form: sizes lead from one to the next.
    for (let at = headEnd; ;) {
      const lineEnd = text.indexOf('\r\n', at);
      const size = Number.parseInt(text.slice(at, lineEnd), 16);
      at = lineEnd + 2 + size + 2;
      if (size === 0) return at;
    }
  }

  #received(message: ReadMessage): void {
    const id = valuesOf(message, 'x-id')[0];
    const request = id === undefined ? undefined : this.#plans.get(id);
    if (!id || !request) this.#violated(`an instance was sent a request that nobody made: ${message.line}`);
    if (message.line !== `${request.method} /${id} HTTP/1.1`) this.#violated(`${id} arrived as ${message.line}`);
    if (message.content !== request.body) this.#violated(`${id} arrived with another body`);
    const arrivals = (this.#arrivals.get(id) ?? 0) + 1;
    this.#arrivals.set(id, arrivals);
    if (arrivals > (IDEMPOTENT.has(request.method) ? SENDINGS : 1)) this.#violated(`${id} arrived ${arrivals} times`);
  }

  #answer(): void {
    const busy = this.#instances.filter(
      ({ side, outbox, closes }) => !side.transport.destroyed && (outbox.length > 0 || closes),
    );
    if (busy.length === 0) return;
    const instance = oneOf(this.#random, busy);
    const { outbox } = instance;
    if (outbox.length > 0) {
      const size = this.#random() < 0.5 ? outbox.length : 1 + within(this.#random, outbox.length);
      instance.outbox = outbox.subarray(size);
      instance.midway = size < outbox.length;
      instance.side.transport.arrive(outbox.subarray(0, size));
    }
    if (instance.outbox.length === 0 && instance.closes && !instance.side.transport.destroyed) {
      instance.closes = false;
      instance.side.transport.arriveEnd();
    }
  }

  #drainSome(): void {
    const clogged = [...this.#clients, ...this.#instances].filter(({ side }) => side.transport.writing);
    if (clogged.length > 0) oneOf(this.#random, clogged).side.transport.drain();
    this.#gateway.pump();
  }

  #misbehave(): void {
    const open = this.#instances.filter(({ side }) => !side.transport.destroyed);
    if (open.length === 0) return;
    const instance = oneOf(this.#random, open);
    const { transport } = instance.side;
    const asked = transport.sent.length > instance.readTo || transport.writing || instance.outbox.length > 0;
    if (this.#random() < 0.5 && !instance.mute && !asked) {
      // An answer to nothing: nobody may get it.
      instance.mute = true;
      transport.arrive(latin1('HTTP/1.1 408 S\r\nX-Id: nobody\r\nContent-Length: 0\r\n\r\n'));
      return;
    }
    // Nonsense in the middle of a body would be part of it.
    const how = this.#random() * (instance.midway ? 0.6 : 1);
    instance.mute = true;
    instance.outbox = Buffer.alloc(0);
    instance.closes = false;
    if (how < 0.3) instance.side.transport.breakOff('ECONNRESET');
    else if (how < 0.6) instance.side.transport.arriveEnd();
    else if (how < 0.8) instance.side.transport.arrive(latin1('nonsense\r\n\r\n'));
    // Else it hangs.
  }

  #abort(client: Client): void {
    if (client.side.transport.destroyed) return;
    client.aborted = true;
    if (this.#random() < 0.5) client.side.transport.breakOff('ECONNRESET');
    else client.side.transport.arriveEnd();
  }

  /** Everything that can still happen happens; then nothing may be held, and every client must have had its due. */
  async #settle(): Promise<void> {
    const settled = (): boolean =>
      this.#clients.every(({ side }) => side.closed) && this.#gateway.context.pool.idleCount === 0;
    for (let round = 0; round < 2000 && !settled(); round++) {
      for (const client of this.#clients) {
        client.side.transport.pends = () => false;
        client.side.transport.drain();
        this.#deliver(client);
      }
      for (const { side } of this.#instances) {
        side.transport.pends = () => false;
        side.transport.drain();
      }
      await this.#gateway.turn();
      this.#noticeInstances();
      this.#checkInstances();
      for (let i = 0; i < 5; i++) this.#answer();
      if (round > 200 || this.#quiet()) this.#gateway.clock.advance(500);
    }
    for (let i = 0; i < 3; i++) await this.#gateway.turn();
    for (const client of this.#clients) this.#checkClient(client);
    const { inflight, context } = this.#gateway;
    const open = this.#instances.filter(({ side }) => !side.transport.destroyed).length;
    const held = {
      inflight,
      requests: context.requests.own,
      idle: context.pool.idleCount,
      clients: this.#gateway.clients.size,
      open,
    };
    if (Object.values(held).some((count) => count !== 0))
      this.#violated(`still held in the end: ${JSON.stringify(held)}`);
  }

  #quiet(): boolean {
    return this.#instances.every(
      ({ side, outbox, closes }) => side.transport.destroyed || (outbox.length === 0 && !closes),
    );
  }

  #checkClient({ side, plans, aborted }: Client): void {
    const { transport } = side;
    const closed = !aborted && (transport.ended || (transport.destroyed && !transport.wasReset));
    const { messages, error, rest } = readResponses(
      transport.sent,
      plans.map(({ method }) => method),
      closed,
    );
    if (error !== undefined) this.#violated(`a client was sent nonsense: ${error}`);
    if (messages.some(({ broken }) => broken)) this.#violated('a client was sent a malformed body');
    const finals = messages.filter(({ line }) => !line.startsWith('HTTP/1.1 1'));
    for (const [at, message] of finals.entries()) {
      const request = plans[at];
      if (!request) this.#violated(`a client was sent an answer too many: ${message.line}`);
      this.#checkAnswer(request, message, aborted || transport.wasReset);
    }
    // The answer to half a head has a body: that it was a HEAD was still to come.
    const halfHead = plans[finals.length - 1]?.method === 'HEAD' && finals.at(-1)?.line.includes(' 408 ');
    if (rest !== '' && !halfHead && !aborted && !transport.wasReset)
      this.#violated(`a client was left with half a head`);
    if (messages.length !== finals.length && plans.every(({ old }) => old)) this.#violated('1xx went to HTTP/1.0');
  }

  #checkAnswer(request: Plan, message: ReadMessage, broken: boolean): void {
    const own = valuesOf(message, 'proxy-status').length > 0;
    const id = valuesOf(message, 'x-id')[0];
    if (!own && id !== request.id) this.#violated(`${request.id} was answered with ${id ?? message.line}`);
    if (!message.complete) {
      if (!broken) this.#violated(`${request.id} was cut off without a sign`);
      if (!own && !request.answer.startsWith(message.content))
        this.#violated(`${request.id} was answered with something else`);
      return;
    }
    if (own) return;
    if (message.line !== `HTTP/1.1 ${request.status} S`)
      this.#violated(`${request.id} was answered with ${message.line}`);
    const due = bodyless(request) ? '' : request.answer;
    // FIN ends a body without length, wherever it comes: nobody can tell.
    const cut = request.answerFraming === 'close' && due.startsWith(message.content);
    if (message.content !== due && !cut) this.#violated(`${request.id} was answered with another body`);
    this.answered++;
  }
}
