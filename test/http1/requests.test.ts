import { describe, expect, it } from 'vitest';
import { RequestHead } from '../../src/http1/request-head.ts';
import { INCOMPLETE } from '../../src/http1/head.ts';
import { ACCEPTED, REFUSED_BODIES, REFUSED_HEADS } from './request-vectors.ts';
import { byteByByte, everySplit, inPieces, latin1, LIMITS, serve, type ServerView } from './server-view.ts';
import { readChunked, readRequests } from './strict-reader.ts';

/** A view without what may differ between deliveries: how far a body had been passed on when it was refused. */
function told(view: ServerView): string {
  return JSON.stringify({
    ...view,
    requests: view.requests.map(({ body, ...request }) => ({
      ...request,
      ...(request.complete ? { content: contentOf(body, request.framing) } : {}),
    })),
  });
}

/** Delivered in each of these ways it is what it is as a whole. `expect` for each of many thousand would take minutes. */
function expectSame(bytes: Buffer, deliveries: Iterable<Buffer[]>): void {
  const whole = told(serve([bytes]));
  for (const pieces of deliveries) {
    const parts = told(serve(pieces));
    if (parts !== whole)
      expect({ cuts: pieces.map(({ length }) => length), parts }).toEqual({ cuts: [], parts: whole });
  }
}

function contentOf(body: string, framing: number): string {
  return framing === 2 ? readChunked(body, 0).content : body;
}

/** Cuts of long vectors are drawn evenly: nothing new happens between two bytes of a long value. */
function* splits(bytes: Buffer): Generator<Buffer[]> {
  if (bytes.length <= 1500) yield* everySplit(bytes);
  else
    for (let at = 1; at < bytes.length; at += Math.ceil(bytes.length / 97))
      yield [bytes.subarray(0, at), bytes.subarray(at)];
}

describe('a request that is accepted', () => {
  it.each(ACCEPTED)('$name: is read as it is', ({ bytes, is, content }) => {
    const view = serve([latin1(bytes)]);
    expect(view.refusals).toEqual([]);
    expect(view.requests).toHaveLength(1);
    expect(view.requests[0]).toMatchObject({ ...is, complete: true });
    expect(contentOf(view.requests[0]!.body, view.requests[0]!.framing)).toBe(content ?? '');
  });

  it.each(ACCEPTED)('$name: is the same in two pieces, wherever it is cut, and byte by byte', ({ bytes }) => {
    expectSame(latin1(bytes), [...splits(latin1(bytes)), byteByByte(latin1(bytes))]);
  });

  it.each(ACCEPTED)('$name: is incomplete until its last byte', ({ bytes }) => {
    const headEnd = latin1(bytes).indexOf('\r\n\r\n', 2) + 4;
    const head = new RequestHead();
    for (let end = 0; end < headEnd; end++) expect(head.parse(latin1(bytes), 0, end, LIMITS)).toBe(INCOMPLETE);
    expect(head.parse(latin1(bytes), 0, headEnd, LIMITS)).toBe(headEnd);
  });

  it.each(ACCEPTED)('$name: is read the same by the reference', ({ bytes, content }) => {
    const { messages, error, rest } = readRequests(bytes);
    expect({ error, rest }).toEqual({ error: undefined, rest: '' });
    expect(messages).toMatchObject([{ complete: true, content: content ?? '' }]);
    expect(messages[0]!.fields).toEqual(serve([latin1(bytes)]).requests[0]!.fields);
  });

  it.each(ACCEPTED)('$name: can stand anywhere in a buffer', ({ bytes }) => {
    const before = 'X'.repeat(13);
    const buffer = latin1(`${before}${bytes}GARBAGE`);
    const head = new RequestHead();
    const end = head.parse(buffer, before.length, before.length + bytes.length, LIMITS);
    expect(end).toBe(before.length + latin1(bytes).indexOf('\r\n\r\n', 2) + 4);
  });
});

describe('requests one behind the other', () => {
  const kept = ACCEPTED.filter(
    ({ bytes, is }) => is.keepAlive !== false && !/HTTP\/1\.0/.test(bytes) && bytes.length < 400,
  );

  it('are read one by one, whichever pieces they come in', () => {
    const bytes = latin1(kept.map((each) => each.bytes).join(''));
    const whole = serve([bytes]);
    expect(whole.refusals).toEqual([]);
    expect(whole.requests).toHaveLength(kept.length);
    for (const [i, { bytes: first }] of kept.entries()) {
      const pair = latin1(first + kept[(i * 7 + 1) % kept.length]!.bytes);
      expectSame(pair, everySplit(pair));
    }
    expectSame(
      bytes,
      [1, 2, 3, 5, 7, 11, 64, 1000].map((size) => inPieces(bytes, size)),
    );
  });

  it('are dropped behind one that is refused', () => {
    for (const { bytes, reason } of [...REFUSED_HEADS, ...REFUSED_BODIES]) {
      const view = serve([latin1(`${ACCEPTED[0]!.bytes}${bytes}${ACCEPTED[0]!.bytes}`)]);
      expect([bytes, view.refusals]).toEqual([bytes, [reason]]);
      expect(view.requests.filter(({ complete }) => complete)).toHaveLength(1);
      expect(view.ended).toBe(true);
    }
  });
});

describe('a request that is refused by its head', () => {
  it.each(REFUSED_HEADS)('$name: $reason', ({ bytes, reason }) => {
    expect(serve([latin1(bytes)])).toEqual({ requests: [], refusals: [reason], ended: true });
  });

  it.each(REFUSED_HEADS)('$name: $reason, in two pieces, wherever it is cut, and byte by byte', ({ bytes, reason }) => {
    expect(serve(byteByByte(latin1(bytes))).refusals).toEqual([reason]);
    expectSame(latin1(bytes), [...splits(latin1(bytes)), byteByByte(latin1(bytes))]);
  });

  const limits = new Set(['target-too-long', 'head-too-large', 'too-many-fields', 'bad-method', 'method-not-allowed']);
  it.each(REFUSED_HEADS.filter(({ reason }) => !limits.has(reason)))(
    '$name: is not read by the reference either',
    ({ bytes }) => {
      expect(readRequests(`${bytes}\r\n\r\n`).error).toBeDefined();
    },
  );
});

describe('a request that is refused by its body', () => {
  it.each(REFUSED_BODIES)('$name: never becomes complete, however it is delivered', ({ bytes, reason }) => {
    const whole = serve([latin1(bytes)]);
    expect(whole).toMatchObject({ requests: [{ complete: false }], refusals: [reason], ended: true });
    const deliveries = [...splits(latin1(bytes)), byteByByte(latin1(bytes))];
    expectSame(latin1(bytes), deliveries);
    for (const pieces of deliveries) expect(serve(pieces).requests[0]!.body.endsWith('0\r\n\r\n')).toBe(false);
  });

  it.each(REFUSED_BODIES)('$name: is not read as complete by the reference either', ({ bytes }) => {
    expect(readRequests(bytes).messages).toMatchObject([{ complete: false }]);
  });
});
