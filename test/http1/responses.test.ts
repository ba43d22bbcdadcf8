import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Output, type OutputKind } from '../../src/http1/body-reader.ts';
import { ClientConnection, type ResponseHandler } from '../../src/http1/client-connection.ts';
import { Framing } from '../../src/http1/framing.ts';
import { INCOMPLETE, REFUSED } from '../../src/http1/head.ts';
import { ResponseHead } from '../../src/http1/response-head.ts';
import { Stage } from '../../src/http1/stage.ts';
import { WriteBatch } from '../../src/http1/write-batch.ts';
import { MemoryTransport } from './memory-transport.ts';
import { ACCEPTED_HEADS, REFUSED_RESPONSES } from './response-vectors.ts';
import { byteByByte, everySplit, inPieces, latin1, LIMITS } from './server-view.ts';
import { readChunked } from './strict-reader.ts';

function parse(bytes: Buffer, toHead = false, end = bytes.length): { head: ResponseHead; at: number } {
  const head = new ResponseHead();
  return { head, at: head.parse(bytes, 0, end, LIMITS, toHead) };
}

describe('a response head that is accepted', () => {
  it.each(ACCEPTED_HEADS)('$name', ({ bytes, is, toHead }) => {
    const { head, at } = parse(latin1(`${bytes}rest`), toHead);
    expect(at).toBe(bytes.length);
    expect(head).toMatchObject(is);
  });

  it.each(ACCEPTED_HEADS)('$name: is incomplete until its last byte', ({ bytes, toHead }) => {
    for (let end = 0; end < bytes.length; end++) expect(parse(latin1(bytes), toHead, end).at).toBe(INCOMPLETE);
  });
});

describe('a response head that is refused', () => {
  it.each(REFUSED_RESPONSES)('%s: %j', (reason, bytes) => {
    const { head, at } = parse(latin1(bytes));
    expect([at, head.refusal?.reason]).toEqual([REFUSED, reason]);
  });

  it.each(REFUSED_RESPONSES)('%s: %j, for the same reason in any pieces', (reason, bytes) => {
    const buffer = latin1(bytes);
    for (let end = 0; end < buffer.length; end += Math.ceil(buffer.length / 800)) {
      const { head, at } = parse(buffer, false, end);
      if (at !== INCOMPLETE) expect([at, head.refusal?.reason]).toEqual([REFUSED, reason]);
    }
  });
});

/** Takes down all that a connection says of one response. */
class Listener implements ResponseHandler {
  readonly told: string[] = [];
  body = '';
  output: OutputKind = Output.wire;
  ended = false;
  onInformational(head: ResponseHead): void {
    this.told.push(`informational ${head.status}`);
  }
  onResponse(head: ResponseHead): OutputKind {
    this.told.push(`response ${head.status}`);
    return this.output;
  }
  onResponseBody(buffer: Buffer, start: number, end: number): void {
    this.body += buffer.toString('latin1', start, end);
  }
  onResponsePause(): void {
    // Only says that a flush would be good now.
  }
  onResponseEnd(): boolean {
    this.told.push('end');
    this.ended = true;
    return true;
  }
  onResponseFailed(kind: string, reason: string): void {
    this.told.push(`${kind}: ${reason}`);
  }
  onRequestDrain(): void {
    this.told.push('drain');
  }
  onServerTunnelBytes(buffer: Buffer, start: number, end: number): void {
    this.body += buffer.toString('latin1', start, end);
  }
  onServerTunnelEnd(): void {
    this.told.push('tunnel end');
  }
}

interface Exchange {
  readonly client: ClientConnection;
  readonly transport: MemoryTransport;
  readonly listener: Listener;
  /** How often the connection said that it had died while idle. */
  readonly idleClosed: () => number;
}

function begin(toHead = false, output: OutputKind = Output.wire): Exchange {
  let closed = 0;
  const client = new ClientConnection({ limits: LIMITS, onIdleClosed: () => closed++ });
  const transport = new MemoryTransport(client);
  const listener = new Listener();
  listener.output = output;
  client.transport = transport;
  client.begin(listener, toHead);
  return { client, transport, listener, idleClosed: () => closed };
}

function answer(
  pieces: Iterable<Buffer>,
  options: { toHead?: boolean; output?: OutputKind; fin?: boolean } = {},
): Exchange {
  const exchange = begin(options.toHead, options.output);
  for (const piece of pieces) exchange.transport.arrive(piece);
  if (options.fin) exchange.transport.arriveEnd();
  return exchange;
}

const summary = ({ listener, client }: Exchange): string =>
  JSON.stringify([listener.told, client.reusable, listener.told.includes('end') ? listener.body : '']);

const RESPONSES: readonly (readonly [name: string, bytes: string, content: string, reusable: boolean])[] = [
  ['a length', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello', 'hello', true],
  ['no body', 'HTTP/1.1 204 No Content\r\n\r\n', '', true],
  ['a length, and close', 'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok', 'ok', false],
  [
    'interim responses',
    'HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na',
    'a',
    true,
  ],
  [
    'chunks',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n002\r\nde\r\n0\r\nT: 1\r\n\r\n',
    'abcde',
    true,
  ],
  ['more than its length', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n', 'ok', false],
];

describe('a response', () => {
  it.each(RESPONSES)('with %s: is the same in any two pieces, and byte by byte', (_, bytes, content, reusable) => {
    const whole = answer([latin1(bytes)], { output: Output.content });
    expect(whole.listener.told.at(-1)).toBe('end');
    expect(whole.listener.body).toBe(content);
    expect(whole.client.reusable).toBe(reusable);
    for (const pieces of [...everySplit(latin1(bytes)), byteByByte(latin1(bytes))]) {
      const split = answer(pieces, { output: Output.content });
      // Bytes that come behind a response in a read of their own meet an idle connection.
      if (!bytes.includes('okHTTP')) expect(summary(split)).toBe(summary(whole));
      expect([split.listener.body, split.client.reusable]).toEqual([content, reusable]);
    }
  });

  it.each(REFUSED_RESPONSES)('that is refused (%s: %j) fails as nonsense, in any two pieces', (reason, bytes) => {
    const step = Math.ceil(bytes.length / 200);
    for (let at = 1; at < bytes.length; at += step) {
      const { listener, transport } = answer([latin1(bytes.slice(0, at)), latin1(bytes.slice(at))]);
      expect(listener.told).toEqual([`protocol: ${reason}`]);
      expect(transport.destroyed).toBe(true);
    }
  });

  it.each(['zz\r\n', '5\r\nhelloX\r\n', '5;\r\n', '5\nhello', '0\r\nbad\r\n'])(
    'with a broken chunk %j fails as nonsense',
    (body) => {
      for (const pieces of [[latin1(body)], ...everySplit(latin1(body))]) {
        const { listener, transport } = answer([
          latin1('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'),
          ...pieces,
        ]);
        expect(listener.told).toEqual(['response 200', 'protocol: bad-chunk']);
        expect(transport.destroyed).toBe(true);
      }
    },
  );

  it.each([
    ['nothing', ''],
    ['half a head', 'HTTP/1.1 200 OK\r\nContent-Le'],
    ['an interim response', 'HTTP/1.1 100 Continue\r\n\r\n'],
    ['half a body', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell'],
    ['half a chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhell'],
    ['all chunks but the last', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n'],
  ])('that ends after %s is broken off', (_, bytes) => {
    const { listener, transport } = answer(bytes === '' ? [] : [latin1(bytes)], { fin: true });
    expect(listener.told.at(-1)).toBe('reset: closed by the instance');
    expect(transport.destroyed).toBe(true);
  });

  it('that ends with the connection is complete after FIN, and broken off by anything else', async () => {
    const bytes = latin1('HTTP/1.1 200 OK\r\n\r\nall of it');
    expect(answer([bytes], { fin: true }).listener).toMatchObject({ told: ['response 200', 'end'], body: 'all of it' });
    const broken = answer([bytes]);
    broken.transport.breakOff('ECONNRESET');
    await Promise.resolve();
    expect(broken.listener.told).toEqual(['response 200', 'reset: ECONNRESET']);
  });

  it('to HEAD has no body, whatever it says', () => {
    const { listener, client } = answer([latin1('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n')], { toHead: true });
    expect(listener.told).toEqual(['response 200', 'end']);
    expect(client.reusable).toBe(true);
  });

  it('that comes after sixteen interim ones is not waited for', () => {
    const interim = 'HTTP/1.1 102 Processing\r\n\r\n';
    expect(answer([latin1(interim.repeat(17))]).listener.told.at(-1)).toBe('protocol: too-many-informational');
    expect(answer(Array.from({ length: 17 }, () => latin1(interim))).listener.told.at(-1)).toBe(
      'protocol: too-many-informational',
    );
    expect(answer([latin1(`${interim.repeat(16)}HTTP/1.1 204 x\r\n\r\n`)]).listener.told.at(-1)).toBe('end');
  });
});

describe('a connection to an instance', () => {
  it('serves one request after another', () => {
    const { client, transport } = answer([latin1('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')]);
    for (let i = 0; i < 3; i++) {
      const next = new Listener();
      client.begin(next, false);
      expect(client.responseBegan).toBe(false);
      transport.arrive(latin1('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo'));
      expect(next).toMatchObject({ told: ['response 200', 'end'], body: 'two' });
    }
    expect(client.requests).toBe(4);
  });

  it('is closed by bytes that nobody asked for, and says so once', async () => {
    const { client, transport, idleClosed } = answer([latin1('HTTP/1.1 204 x\r\n\r\n')]);
    transport.arrive(latin1('H'));
    expect([client.closed, transport.destroyed, idleClosed()]).toEqual([true, true, 1]);
    await Promise.resolve();
    expect(idleClosed()).toBe(1);
  });

  it('takes nothing for the answer to a request that has not left yet', async () => {
    const stage = new Stage();
    const batch = new WriteBatch(stage);
    const { client, transport, listener } = answer([latin1('HTTP/1.1 204 x\r\n\r\n')]);
    client.begin(listener, false);
    batch.add(transport, latin1('GET'), 0, 3);
    transport.arrive(latin1('HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n'));
    expect(listener.told.at(-1)).toBe('reset: bytes before the request');
    expect([client.responseBegan, transport.destroyed]).toEqual([false, true]);
    await new Promise((resolve) => setImmediate(resolve));
    expect(transport.sent).toBe('');
  });

  it.each(['fin', 'error'])('is closed by %s while idle, and says so once', async (how) => {
    const { client, transport, idleClosed } = answer([latin1('HTTP/1.1 204 x\r\n\r\n')]);
    if (how === 'fin') transport.arriveEnd();
    else transport.breakOff();
    await Promise.resolve();
    expect([client.closed, idleClosed()]).toEqual([true, 1]);
  });

  it('is not used again while something of its request is still being written', () => {
    const { client, transport } = begin();
    transport.pends = () => true;
    transport.write(latin1('POST'), 0, 4);
    transport.arrive(latin1('HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n'));
    expect(client.reusable).toBe(false);
    transport.drain();
  });

  it('tells nothing more once abandoned', async () => {
    const { client, transport, listener } = begin();
    client.abandon();
    transport.arrive(latin1('HTTP/1.1 204 x\r\n\r\n'));
    await Promise.resolve();
    expect([listener.told, client.closed, transport.destroyed]).toEqual([[], true, true]);
  });

  it('becomes a pipe after 101', () => {
    const { client, transport, listener } = begin();
    transport.arrive(latin1('HTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\nearly'));
    transport.arrive(latin1(' late'));
    expect(listener).toMatchObject({ told: ['response 101'], body: 'early late' });
    transport.arriveEnd();
    expect(listener.told).toEqual(['response 101', 'tunnel end']);
    client.abandon();
  });

  it('reads long bodies into memory of its own, and short ones not', () => {
    const long = begin();
    long.transport.arrive(latin1('HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nfirst'));
    expect(long.client.bulk).toBeDefined();
    long.transport.arrive(Buffer.alloc(1_000_000 - 5, 'x'));
    expect(long.listener.body).toBe(`first${'x'.repeat(1_000_000 - 5)}`);
    expect([long.listener.told.at(-1), long.client.bulk]).toEqual(['end', undefined]);
    const short = begin();
    short.transport.arrive(latin1('HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\nfirst'));
    expect(short.client.bulk).toBeUndefined();
    short.client.abandon();
    long.client.abandon();
  });

  it('knows how long the server keeps it', () => {
    const { client } = answer([latin1('HTTP/1.1 204 x\r\nKeep-Alive: timeout=7\r\n\r\n')]);
    expect(client.serverKeepAliveMs).toBe(7000);
  });
});

describe('for any response, in any pieces and any output', () => {
  const body = fc.record({
    framing: fc.constantFrom('length', 'chunked', 'close'),
    content: fc.oneof(
      fc.string({ maxLength: 60, unit: 'binary-ascii' }),
      fc.nat(100_000).map((length) => 'b'.repeat(length)),
    ),
    size: fc.integer({ min: 1, max: 70_000 }),
    old: fc.boolean(),
  });

  it('content and end stay', () => {
    fc.assert(
      fc.property(body, fc.integer({ min: 1, max: 80_000 }), ({ framing, content, size, old }, piece) => {
        const fields =
          framing === 'length'
            ? `Content-Length: ${content.length}\r\n`
            : framing === 'chunked'
              ? 'Transfer-Encoding: chunked\r\n'
              : '';
        const chunks = inPieces(latin1(content), size).map(
          (each) => `${each.length.toString(16)}\r\n${each.toString('latin1')}\r\n`,
        );
        const coded = framing === 'chunked' ? `${chunks.join('')}0\r\n\r\n` : content;
        const output = old ? Output.content : framing === 'close' ? Output.chunked : Output.wire;
        const bytes = latin1(`HTTP/1.1 200 OK\r\n${fields}\r\n${coded}`);
        const { listener } = answer(inPieces(bytes, Math.max(piece, Math.ceil(bytes.length / 300))), {
          output,
          fin: framing === 'close',
        });
        expect(listener.told).toEqual(['response 200', 'end']);
        const decoded =
          output === Output.chunked || (output === Output.wire && framing === 'chunked')
            ? readChunked(listener.body, 0).content
            : listener.body;
        expect(decoded === content).toBe(true);
      }),
      { seed: 20_261_121, numRuns: 200 },
    );
  });

  it('is framed as RFC 9112 section 6.3 says', () => {
    const framing = (bytes: string, toHead = false): number => parse(latin1(bytes), toHead).head.framing;
    for (const status of [100, 101, 103, 204, 304])
      expect(framing(`HTTP/1.1 ${status} x\r\nContent-Length: 5\r\n\r\n`)).toBe(Framing.none);
    for (const status of [200, 201, 205, 301, 404, 500])
      expect(framing(`HTTP/1.1 ${status} x\r\nContent-Length: 5\r\n\r\n`)).toBe(Framing.length);
  });
});
