import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { seededRandom } from '../../src/core/random.ts';
import { latin1 } from '../http1/server-view.ts';
import { readRequests, type ReadMessage, readResponses, valuesOf } from '../http1/strict-reader.ts';
import { OK, Origin, POLICY, RawClient, type Script, TestGateway } from '../proxy/harness.ts';
import { asReceived, forwardedAs } from './forwarded.ts';
import { mutate } from './mutate.ts';

const SEED = 20_261_123;
/** Nothing here is about time, and no deadline may decide it on a busy machine. */
const LONG_MS = 120_000;
/** A number and no time: what has been tried does not depend on how busy the machine is. */
const RUNS = process.env.CI === 'true' ? 150 : 40;

/** Answers a whole request, as the reference reads it. */
const answeringWhole: Script = (received, socket) => {
  if (readRequests(received.toString('latin1')).messages[0]?.complete) socket.write(OK);
};

const token = fc.stringMatching(/^[!#$%&'*+\-.^`|~0-9A-Za-z]{1,12}$/);
const space = fc.constantFrom('', ' ', '\t', ' \t ');
const value = fc.oneof(
  fc.stringMatching(/^([\x21-\x7e]([\x20-\x7e\t]{0,20}[\x21-\x7e])?)?$/),
  fc.constantFrom('\xe9\xff', '"quoted, string"', 'chunked', 'close', 'x'.repeat(3000)),
);
/** Names that mean nothing to the gateway, so that whatever the value is they pass. */
const plainField = fc
  .tuple(token, space, value, space)
  .map(([name, before, text, behind]) => `X-${name}:${before}${text}${behind}`);
const knownField = fc.constantFrom(
  'Cookie: a=b',
  'Accept: */*',
  'Connection: keep-alive, X-Nominated',
  'X-Nominated: 1',
  'TE: trailers',
  'Upgrade: h2c',
  'X-Forwarded-For: 6.6.6.6',
  'X_Under: 1',
  'Via: 1.0 other',
  'Authorization: Basic eDp5',
  'Keep-Alive: timeout=5',
);
const content = fc.oneof(
  fc.string({ maxLength: 60, unit: 'binary-ascii' }),
  fc.constantFrom('GET /smuggled HTTP/1.1\r\nHost: web.localhost\r\n\r\n', '0\r\n\r\n', '\r\n'),
  fc.integer({ min: 1000, max: 150_000 }).map((length) => 'z'.repeat(length)),
);
const body = fc.oneof(
  fc.constant(''),
  content.map((text) => `Content-Length: ${text.length}\r\n\r\n${text}`),
  fc
    .tuple(content, fc.integer({ min: 1, max: 40_000 }), fc.constantFrom('', '', ';a=b', ';a="b;\\"c"'), fc.boolean())
    .map(([text, size, extension, trailer]) => {
      let chunks = '';
      // At most a hundred chunks: more say nothing new.
      const step = Math.max(size, Math.ceil(text.length / 100));
      for (let at = 0; at < text.length; at += step) {
        const part = text.slice(at, at + step);
        chunks += `${part.length.toString(16)}${extension}\r\n${part}\r\n`;
      }
      const end = extension.length * (chunks.split('\r\n').length + 1) < 3000 ? extension : '';
      return `Transfer-Encoding: chunked\r\n\r\n${chunks}0${end}\r\n${trailer ? 'X-Sum: 1\r\n' : ''}\r\n`;
    }),
);
const request = fc
  .record({
    method: fc.constantFrom('GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'BREW'),
    target: fc.stringMatching(/^\/[!"$&-~]{0,20}$/).map((text) => (text.includes('%00') ? '/' : text)),
    absolute: fc.boolean(),
    fields: fc.array(fc.oneof(plainField, plainField, knownField), { maxLength: 5 }),
    body,
  })
  .map((each) => {
    const target = each.absolute ? `http://web.localhost${each.target}` : each.target;
    const fields = ['Host: web.localhost', ...each.fields].map((line) => `${line}\r\n`).join('');
    return `${each.method} ${target} HTTP/1.1\r\n${fields}${each.body === '' ? '\r\n' : each.body}`;
  });
const messages = fc.array(request, { minLength: 1, maxLength: 4 }).map((each) => each.join(''));
const cuts = fc.array(fc.nat(), { maxLength: 6 });

function cutAt(bytes: Buffer, at: readonly number[]): Buffer[] {
  const places = [...new Set([0, ...at.map((each) => each % (bytes.length + 1)), bytes.length])].sort((a, b) => a - b);
  return places.slice(1).map((end, i) => bytes.subarray(places[i], end));
}

describe.each([
  { layer: 'bare handles', plainSockets: false },
  { layer: 'net.Socket', plainSockets: true },
])(`over $layer, seed ${SEED}`, ({ plainSockets }) => {
  let origin: Origin;
  let gateway: TestGateway;

  beforeAll(async () => {
    origin = await Origin.start(answeringWhole);
    gateway = await TestGateway.start([origin.port], {
      plainSockets,
      bodyGraceMs: LONG_MS,
      bodyIdleMs: LONG_MS,
      requestHeadMs: LONG_MS,
      keepAliveMs: LONG_MS,
      policy: {
        // A connection for each request: a second one on it would be a smuggled one.
        maxIdleConnections: 0,
        timeouts: { connectMs: LONG_MS, responseHeadMs: LONG_MS, bodyIdleMs: LONG_MS, tunnelIdleMs: LONG_MS },
        hang: { ...POLICY.hang, enabled: false },
      },
    });
  });
  afterAll(async () => {
    gateway.stop();
    await origin.stop();
  });

  const routed = (message: ReadMessage): boolean => {
    const host = /^\S+ https?:\/\/([^/?\s]*)/i.exec(message.line)?.[1] ?? valuesOf(message, 'host')[0] ?? '';
    return /^(web\.localhost|\[::1\])(:\d+)?$/i.test(host);
  };

  /** Nothing is under way any more, nor about to be noticed. */
  async function quiet(): Promise<void> {
    for (let turns = 0; turns < 5; turns++) {
      await new Promise((resolve) => setImmediate(resolve));
      if (gateway.inflight > 0 || origin.sockets.size > 0) turns = 0;
    }
  }

  /** Sends the pieces; ends once there are so many answers, or the gateway has closed. Returns what the instance got. */
  async function send(
    text: string,
    at: readonly number[],
    answers: number,
  ): Promise<{ got: ReadMessage[]; answer: string }> {
    const before = origin.connections.length;
    const client = await RawClient.connect(gateway.port);
    for (const piece of cutAt(latin1(text), at)) {
      client.send(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const finals = (): number => (client.text.match(/HTTP\/1\.1 [2-5]\d\d /g) ?? []).length;
    await client.until(() => client.ended || client.broken || finals() >= answers, 60_000);
    client.destroy();
    await quiet();
    const reads = origin.connections.slice(before).map((bytes) => readRequests(bytes.toString('latin1')));
    expect(reads.map(({ error }) => error).filter((error) => error !== undefined)).toEqual([]);
    expect(reads.filter((read) => read.messages.length > 1)).toEqual([]);
    return { got: reads.flatMap((read) => read.messages), answer: client.text };
  }

  it('any valid requests arrive as they were sent, changed as documented, and are all answered', async () => {
    await fc.assert(
      fc.asyncProperty(messages, cuts, async (text, at) => {
        const due = readRequests(text).messages;
        expect(due.every(({ complete }) => complete)).toBe(true);
        const { got, answer } = await send(text, at, due.length);
        expect(got.map(asReceived)).toEqual(due.map((message) => forwardedAs(message, gateway.port)));
        const answers = readResponses(
          answer,
          due.map(({ line }) => line.split(' ')[0] as string),
          false,
        );
        expect(answers.messages.map(({ line, complete }) => [line, complete])).toEqual(
          due.map(() => ['HTTP/1.1 200 OK', true]),
        );
      }),
      { seed: SEED, numRuns: RUNS },
    );
  }, 300_000);

  it('changed at random, they never arrive as more or other requests than the reference reads', async () => {
    let arrived = 0;
    await fc.assert(
      fc.asyncProperty(messages, fc.nat(), cuts, async (valid, change, at) => {
        const text = mutate(seededRandom(change), valid, [
          valid,
          'GET /smuggled HTTP/1.1\r\nHost: web.localhost\r\n\r\n',
        ]);
        const read = readRequests(text).messages;
        const due = read.filter(routed);
        const whole = read.filter(({ complete }) => complete).length;
        const { got } = await send(text, at, whole);
        arrived += got.length;
        expect(got.length).toBeLessThanOrEqual(due.length);
        for (const [i, message] of got.entries()) {
          const want = forwardedAs(due[i] as ReadMessage, gateway.port);
          const have = asReceived(message);
          expect([have.line, have.fields]).toEqual([want.line, want.fields]);
          if (message.complete) expect([(due[i] as ReadMessage).complete, have.content]).toEqual([true, want.content]);
        }
      }),
      { seed: SEED, numRuns: RUNS },
    );
    expect(arrived).toBeGreaterThan(RUNS / 4);
  }, 300_000);
});
