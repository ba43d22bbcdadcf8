import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BodyReader, Output, type OutputKind } from '../../src/http1/body-reader.ts';
import { Framing, type FramingKind } from '../../src/http1/framing.ts';
import { READ_BUFFER_BYTES } from '../../src/http1/transport.ts';
import { byteByByte, everySplit, inPieces, latin1 } from './server-view.ts';
import { readChunked } from './strict-reader.ts';

interface Result {
  readonly out: string;
  readonly done: boolean;
  readonly contentBytes: number;
  /** What belongs to the next message. */
  readonly rest: string;
  readonly refused: boolean;
  /** Hand-overs in the memory that was given, and in scratch memory. */
  readonly verbatim: number;
  readonly copied: number;
}

/** Reads a body as a connection does: each piece in a buffer of its own that is scribbled over afterwards. */
function read(
  framing: FramingKind,
  length: number,
  output: OutputKind,
  pieces: Iterable<Buffer>,
  atClose = false,
): Result {
  const reader = new BodyReader();
  const out: string[] = [];
  let verbatim = 0;
  let copied = 0;
  let rest = '';
  let given: Buffer | undefined;
  const sink = {
    onBody(buffer: Buffer, start: number, end: number): void {
      if (end <= start) throw new Error('an empty hand-over');
      if (buffer === given) verbatim++;
      else copied++;
      out.push(buffer.toString('latin1', start, end));
    },
  };
  reader.begin(framing, length, output);
  let refused = false;
  for (const piece of pieces) {
    if (reader.done) {
      rest += piece.toString('latin1');
      continue;
    }
    given = Buffer.concat([latin1('before'), piece, latin1('behind')]);
    const stop = reader.read(given, 6, 6 + piece.length, sink);
    if (stop < 0) {
      refused = true;
      break;
    }
    rest += given.toString('latin1', stop, 6 + piece.length);
    given.fill(0xdb);
  }
  if (atClose) reader.finishAtClose(sink);
  return { out: out.join(''), done: reader.done, contentBytes: reader.contentBytes, rest, refused, verbatim, copied };
}

const chunked = (output: OutputKind, pieces: Iterable<Buffer>): Result => read(Framing.chunked, 0, output, pieces);

describe('a body of known length', () => {
  it('ends behind its last byte, and leaves what follows', () => {
    for (const pieces of everySplit(latin1('helloNEXT'))) {
      expect(read(Framing.length, 5, Output.wire, pieces)).toMatchObject({
        out: 'hello',
        done: true,
        rest: 'NEXT',
        contentBytes: 5,
        copied: 0,
      });
    }
  });

  it('ends with the connection only when it is whole', () => {
    const reader = new BodyReader();
    reader.begin(Framing.length, 5, Output.wire);
    const sink = { onBody: () => undefined };
    expect(reader.read(latin1('hel'), 0, 3, sink)).toBe(3);
    expect([reader.done, reader.finishAtClose(sink)]).toEqual([false, false]);
    reader.read(latin1('lo'), 0, 2, sink);
    expect([reader.done, reader.finishAtClose(sink)]).toEqual([true, true]);
  });
});

describe('no body', () => {
  it('is done at once and takes nothing', () => {
    expect(read(Framing.none, 0, Output.wire, [latin1('NEXT')])).toMatchObject({ out: '', done: true, rest: 'NEXT' });
    const reader = new BodyReader();
    reader.begin(Framing.none, 0, Output.wire);
    expect(reader.read(latin1('NEXT'), 1, 4, { onBody: () => expect.unreachable() })).toBe(1);
  });
});

describe('a body that ends with the connection', () => {
  it('is handed on as it is', () => {
    expect(read(Framing.untilClose, 0, Output.wire, [latin1('ab'), latin1('c')], true)).toMatchObject({
      out: 'abc',
      done: true,
      copied: 0,
    });
  });

  it('becomes chunks for a recipient that keeps its connection', () => {
    const pieces = [latin1('a'), latin1('x'.repeat(300)), latin1('y'.repeat(READ_BUFFER_BYTES))];
    const { out } = read(Framing.untilClose, 0, Output.chunked, pieces, true);
    expect(readChunked(out, 0)).toEqual({
      content: Buffer.concat(pieces).toString('latin1'),
      complete: true,
      end: out.length,
    });
    expect(out.startsWith('1\r\na\r\n12c\r\n')).toBe(true);
  });

  it('is an empty one of chunks when nothing came', () => {
    expect(read(Framing.untilClose, 0, Output.chunked, [], true).out).toBe('0\r\n\r\n');
  });
});

const PLAIN = '5\r\nhello\r\nA\r\n0123456789\r\n1\r\n\r\r\n0\r\n\r\n';
const DRESSED = '5;a=b\r\nhello\r\n00A;x="\\""\r\n0123456789\r\n1\r\n\r\r\n000;end\r\nX-Sum: 1\r\nY:\r\n\r\n';
const CONTENT = 'hello0123456789\r';

describe.each([
  ['plain', PLAIN],
  ['with extensions, leading zeros and trailers', DRESSED],
])('a chunked body, %s', (_, body) => {
  const deliveries = [
    [latin1(body)],
    ...everySplit(latin1(body)),
    byteByByte(latin1(body)),
    ...threeWays(latin1(body)),
  ];

  it('has the same content on the wire, without what is not passed on, however it is delivered', () => {
    for (const pieces of deliveries) {
      const result = chunked(Output.wire, pieces);
      expect(result).toMatchObject({ done: true, refused: false, rest: '', contentBytes: CONTENT.length });
      expect(result.out.toLowerCase()).toBe('5\r\nhello\r\na\r\n0123456789\r\n1\r\n\r\r\n0\r\n\r\n');
    }
  });

  it('is its content for a recipient without chunks', () => {
    for (const pieces of deliveries) {
      expect(chunked(Output.content, pieces)).toMatchObject({ out: CONTENT, done: true, contentBytes: CONTENT.length });
    }
  });

  it('ends where it ends', () => {
    expect(chunked(Output.wire, [latin1(`${body}0\r\n\r\n`)])).toMatchObject({ rest: '0\r\n\r\n' });
    for (const pieces of everySplit(latin1(`${body}GET`))) expect(chunked(Output.content, pieces).rest).toBe('GET');
  });

  it('is not over before', () => {
    for (let end = 0; end < body.length; end++)
      expect(chunked(Output.wire, [latin1(body.slice(0, end))])).toMatchObject({ done: false, refused: false });
  });
});

function threeWays(bytes: Buffer): Buffer[][] {
  const ways: Buffer[][] = [];
  for (let a = 1; a < bytes.length - 1; a++)
    for (let b = a + 1; b < bytes.length; b++)
      ways.push([bytes.subarray(0, a), bytes.subarray(a, b), bytes.subarray(b)]);
  return ways;
}

describe('copies', () => {
  it('are not made of a plain body that comes in whole chunks', () => {
    expect(chunked(Output.wire, [latin1(PLAIN)])).toMatchObject({ verbatim: 1, copied: 0, out: PLAIN });
    expect(chunked(Output.wire, [latin1('5\r\nhel'), latin1('lo\r\n2\r\nab'), latin1('\r\n')])).toMatchObject({
      verbatim: 3,
      copied: 0,
    });
  });

  it('are made where a read begins inside a line, and no longer', () => {
    expect(chunked(Output.wire, [latin1('5'), latin1('\r\nhello\r\n'), latin1('2\r\nab\r\n')])).toMatchObject({
      out: '5\r\nhello\r\n2\r\nab\r\n',
      verbatim: 1,
      copied: 1,
    });
  });

  it('follow each other with verbatim reads in any order', () => {
    const reads = [
      '5\r\nhello\r\n',
      '1;x\r\na\r\n',
      '2\r\nbc\r\n',
      '01\r\nd\r',
      '\n1\r\ne',
      '\r\n',
      '0\r',
      '\n\r',
      '\n',
    ];
    expect(chunked(Output.wire, reads.map(latin1))).toMatchObject({
      out: '5\r\nhello\r\n1\r\na\r\n2\r\nbc\r\n1\r\nd\r\n1\r\ne\r\n0\r\n\r\n',
      done: true,
    });
  });
});

describe('what is dropped', () => {
  it('may be 4 KiB of extensions and trailers together, and no more', () => {
    const body = (extension: number, trailer: number): string =>
      `1;${'e'.repeat(extension)}\r\na\r\n0\r\nT:${'t'.repeat(trailer)}\r\n\r\n`;
    expect(chunked(Output.wire, [latin1(body(2000, 2000))]).done).toBe(true);
    expect(chunked(Output.wire, [latin1(body(2000, 2200))]).refused).toBe(true);
    expect(chunked(Output.wire, [latin1(body(2200, 2000))]).refused).toBe(true);
    expect(chunked(Output.wire, byteByByte(latin1(body(2000, 2000)))).done).toBe(true);
    expect(chunked(Output.wire, byteByByte(latin1(body(2000, 2200)))).refused).toBe(true);
  });

  it('is counted anew for each body', () => {
    const reader = new BodyReader();
    const body = latin1(`1;${'e'.repeat(3000)}\r\na\r\n0\r\n\r\n`);
    for (let i = 0; i < 5; i++) {
      reader.begin(Framing.chunked, 0, Output.wire);
      expect(reader.read(body, 0, body.length, { onBody: () => undefined })).toBe(body.length);
      expect(reader.done).toBe(true);
    }
  });
});

describe('large bodies', () => {
  it('keep every byte when one read is longer than any socket delivers', () => {
    const data = 'd'.repeat(250_000);
    const body = latin1(`1;x\r\na\r\n${data.length.toString(16)};y\r\n${data}\r\n0\r\n\r\n`);
    for (const output of [Output.wire, Output.content]) {
      const { out, done } = chunked(output, [body]);
      expect(done).toBe(true);
      const content = output === Output.wire ? readChunked(out, 0).content : out;
      expect(content.length).toBe(data.length + 1);
    }
    const until = read(Framing.untilClose, 0, Output.chunked, [latin1(data)], true);
    expect(readChunked(until.out, 0).content.length).toBe(data.length);
  });

  it('keep every byte when each byte is a chunk', () => {
    const body = latin1(`${'1\r\na\r\n'.repeat(40_000)}0\r\n\r\n`);
    for (const size of [1009, READ_BUFFER_BYTES, body.length]) {
      const { out, contentBytes } = chunked(Output.wire, inPieces(body, size));
      expect([readChunked(out, 0).content.length, contentBytes]).toEqual([40_000, 40_000]);
      expect(chunked(Output.content, inPieces(body, size)).out.length).toBe(40_000);
    }
  });
});

const dressing = fc.constantFrom('', '', '', ';a', ';a=b', ';a="b;\\"c"', ';x;y=z');
const chunk = fc.record({
  data: fc.oneof(
    fc.string({ minLength: 1, maxLength: 40, unit: 'binary-ascii' }),
    fc.integer({ min: 1, max: 5000 }).map((length) => 'z'.repeat(length)),
  ),
  zeros: fc.integer({ min: 0, max: 3 }),
  upper: fc.boolean(),
  dressing,
});
const message = fc.record({
  chunks: fc.array(chunk, { maxLength: 8 }),
  last: dressing,
  trailers: fc.array(fc.constantFrom('A: b', 'B:', 'Host: evil', "C!#:\t'x' "), { maxLength: 3 }),
});

function encode({ chunks, last, trailers }: typeof message extends fc.Arbitrary<infer T> ? T : never): string {
  const lines = chunks.map(({ data, zeros, upper, dressing: extension }) => {
    const size = data.length.toString(16);
    return `${'0'.repeat(zeros)}${upper ? size.toUpperCase() : size}${extension}\r\n${data}\r\n`;
  });
  return `${lines.join('')}0${last}\r\n${trailers.map((line) => `${line}\r\n`).join('')}\r\n`;
}

describe('for any chunked body, in any pieces', () => {
  it('content and chunks stay, and the reference reads the same', () => {
    fc.assert(
      fc.property(
        message,
        fc.array(fc.nat(), { maxLength: 12 }),
        fc.constantFrom(Output.wire, Output.content),
        (given, cuts, output) => {
          const body = encode(given);
          const bytes = latin1(body);
          const at = [...new Set([0, ...cuts.map((cut) => cut % bytes.length), bytes.length])].sort((a, b) => a - b);
          const pieces = at.slice(1).map((end, i) => bytes.subarray(at[i], end));
          const content = given.chunks.map(({ data }) => data).join('');
          const result = chunked(output, pieces);
          expect(result).toMatchObject({ done: true, contentBytes: content.length, rest: '' });
          if (output === Output.content) {
            expect(result.out).toBe(content);
          } else {
            const layout = given.chunks.map(({ data }) => `${data.length.toString(16)}\r\n${data}\r\n`).join('');
            expect(result.out.length).toBe(layout.length + 5);
            expect(readChunked(result.out, 0)).toMatchObject({ content, complete: true });
          }
          expect(readChunked(body, 0)).toMatchObject({ content, complete: true });
        },
      ),
      { seed: 20_261_120, numRuns: 500 },
    );
  });
});
