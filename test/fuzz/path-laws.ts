import type { Random } from '../../src/core/random.ts';
import { latin1, serve } from '../http1/server-view.ts';
import { readRequests, readResponses } from '../http1/strict-reader.ts';
import { explained, REQUEST_DIFFERENCES } from './explained.ts';
import { answeredAs, asAnswered, asReceived, forwardedAs } from './forwarded.ts';
import { type Breach, show } from './laws.ts';
import type { ClientSide, MemoryGateway } from './memory-gateway.ts';
import { nodeRequests } from './node-view.ts';
import { chance, oneOf, pieces } from './random.ts';

const OK = latin1('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');

/** What instances were sent, as the reference reads it. */
class Arrivals {
  /** In the order in which they began: one client has one request under way at a time, on whichever connection. */
  readonly inOrder: { connection: number; index: number }[] = [];
  readonly #gateway: MemoryGateway;
  readonly #before: number;
  readonly #seen: number[] = [];
  readonly #answered: number[] = [];

  constructor(gateway: MemoryGateway) {
    this.#gateway = gateway;
    this.#before = gateway.instances.length;
  }

  get sent(): string[] {
    return this.#gateway.instances.slice(this.#before).map(({ transport }) => transport.sent);
  }

  /** Answers each request that has become complete; false where there was none. */
  answer(): boolean {
    let any = false;
    for (const [at, text] of this.sent.entries()) {
      const { messages } = readRequests(text);
      for (let index = this.#seen[at] ?? 0; index < messages.length; index++)
        this.inOrder.push({ connection: at, index });
      this.#seen[at] = messages.length;
      const complete = messages.filter((message) => message.complete).length;
      if (complete <= (this.#answered[at] ?? 0)) continue;
      this.#answered[at] = complete;
      any = true;
      this.#gateway.instances[this.#before + at]!.transport.arrive(OK);
    }
    return any;
  }

  async hangUp(client: ClientSide): Promise<Breach> {
    return hangUp(this.#gateway, client, this.#before);
  }
}

/** Sends the client's bytes, and answers every request that becomes complete. */
async function exchange(
  gateway: MemoryGateway,
  client: ClientSide,
  parts: readonly Buffer[],
  arrivals: Arrivals,
): Promise<void> {
  for (const piece of parts) {
    client.transport.arrive(piece);
    for (let quiet = 0; quiet < 2; quiet++) {
      await gateway.turn();
      if (arrivals.answer()) quiet = -1;
    }
  }
}

async function hangUp(gateway: MemoryGateway, client: ClientSide, before: number): Promise<Breach> {
  client.transport.breakOff();
  await gateway.turn();
  for (const { transport } of gateway.instances.slice(before)) transport.breakOff();
  await gateway.turn();
  return gateway.inflight !== 0 || gateway.context.requests.own !== 0
    ? 'something is still held in the end'
    : undefined;
}

/**
 * The law of requests on the whole data path: what instances get is what the reference reads in the client's bytes,
 * changed only as documented, and Node reads the same in it.
 */
export async function pathBreach(random: Random, gateway: MemoryGateway, text: string): Promise<Breach> {
  const arrivals = new Arrivals(gateway);
  const client = gateway.connect();
  await exchange(gateway, client, pieces(random, latin1(text), 4), arrivals);
  const held = await arrivals.hangUp(client);
  const reads = arrivals.sent.map(readRequests);
  const nonsense = reads.find(({ error }) => error !== undefined);
  if (nonsense) return `an instance was sent nonsense: ${nonsense.error}`;
  const messages = arrivals.inOrder.map(({ connection, index }) => reads[connection]!.messages[index]!);
  if (messages.length < reads.reduce((sum, each) => sum + each.messages.length, 0))
    return 'an instance was sent a request after the client had been heard out';
  if (messages.some(({ broken }) => broken)) return 'an instance was sent a malformed body';
  const expected = readRequests(text).messages.filter((message) => gateway.routes(message));
  for (const [i, message] of messages.entries()) {
    const due = expected[i];
    if (!due) return `an instance was sent a request too many: ${message.line}`;
    if (message.complete && !due.complete) return 'complete for an instance, and not for the reference';
    const want = forwardedAs(due, 8080);
    const got = asReceived(message);
    const same = message.complete
      ? show(got) === show(want)
      : show([got.line, got.fields]) === show([want.line, want.fields]);
    if (!same) return `forwarded otherwise than documented: ${show(got)}, expected ${show(want)}`;
  }
  if (held !== undefined) return held;
  for (const sent of arrivals.sent) {
    const breach = await nodeAgrees(sent);
    if (breach !== undefined) return breach;
  }
  return undefined;
}

/** The gateway adds fields of its own to what is as large as it may be. */
const ROOMY = { headBytes: 131_072, headFields: 1000, targetBytes: 65_536 };

async function nodeAgrees(sent: string): Promise<Breach> {
  const ours = serve([latin1(sent)], ROOMY).requests;
  const lines = ours.map(({ method, target }) => `${method} ${target}`);
  let breach: Breach;
  for (const patience of [2, 40]) {
    const theirs = await nodeRequests(latin1(sent), patience);
    const there = theirs.messages.map(({ line }) => line);
    if (show(lines) === show(there)) return undefined;
    const requests = ours.slice(0, there.length + 1);
    if (explained(REQUEST_DIFFERENCES, { requests, error: theirs.error, text: sent }) !== undefined) return undefined;
    breach = `Node reads ${show(there)} (${theirs.error}) in what was forwarded: ${show(lines)}`;
  }
  return breach;
}

const ASKING = [
  ['GET', 'GET / HTTP/1.1\r\nHost: web.localhost\r\n\r\n'],
  ['HEAD', 'HEAD / HTTP/1.1\r\nHost: web.localhost\r\n\r\n'],
  ['POST', 'POST / HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: 2\r\n\r\nhi'],
  ['GET', 'GET / HTTP/1.0\r\nHost: web.localhost\r\n\r\n'],
  ['GET', 'GET / HTTP/1.1\r\nHost: web.localhost\r\nConnection: close\r\n\r\n'],
] as const;

/**
 * The law of responses on the whole data path: a client gets what the reference reads in the instance's bytes, changed
 * only as documented; or an answer of the gateway; and what is not whole ends in a reset.
 */
export async function answerBreach(random: Random, gateway: MemoryGateway, text: string): Promise<Breach> {
  const [method, request] = oneOf(random, ASKING);
  const closed = chance(random, 0.7);
  const before = gateway.instances.length;
  const client = gateway.connect();
  client.transport.arrive(latin1(request));
  for (let i = 0; i < 3; i++) await gateway.turn();
  const instance = gateway.instances.at(-1)!.transport;
  for (const piece of pieces(random, latin1(text), 4)) {
    instance.arrive(piece);
    if (chance(random, 0.5)) await gateway.turn();
  }
  if (closed && !instance.destroyed) instance.arriveEnd();
  for (let i = 0; i < 3; i++) await gateway.turn();
  const { sent, wasReset, ended, destroyed } = client.transport;
  const held = await hangUp(gateway, client, before);
  const got = readResponses(sent, [method], (ended || destroyed) && !wasReset);
  if (got.error !== undefined) return `a client was sent nonsense: ${got.error}`;
  if (got.rest !== '' && !wasReset) return `a client was sent something behind its answer: ${show(got.rest)}`;
  if (got.messages.some(({ broken }) => broken)) return 'a client was sent a malformed body';
  const final = got.messages.find(({ line }) => !line.startsWith('HTTP/1.1 1'));
  if (!final || asAnswered(final).fields.some((field) => field.startsWith('proxy-status: fairlead'))) return held;
  const expected = readResponses(text, [method], closed).messages.find(({ line }) => !/^HTTP\/1\.[01] 1/.test(line));
  if (!expected) return `a client was sent an answer that the reference does not read: ${final.line}`;
  const want = answeredAs(expected);
  const have = asAnswered(final);
  if (show([have.line, have.fields]) !== show([want.line, want.fields]))
    return `answered otherwise than documented: ${show(have)}, expected ${show(want)}`;
  if (
    final.complete !== expected.complete &&
    (final.complete || !wasReset) &&
    !(expected.complete && have.content === want.content)
  )
    return `complete: ${final.complete} for the client, ${expected.complete} for the reference`;
  if (final.complete && have.content !== want.content)
    return `another body: ${show(have.content)}, expected ${show(want.content)}`;
  if (!final.complete && !expected.broken && !want.content.startsWith(have.content))
    return `the beginning of another body: ${show(have.content)}`;
  return held;
}
