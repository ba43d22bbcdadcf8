import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HttpResponseReader, type Progress } from '../../../src/health/probes/http-response.ts';

interface Read {
  progress: Progress;
  status: number;
  failure: string;
  body: string;
  reusable: boolean;
}

/** Feeds the text in pieces through one dirty shared buffer, as sockets do. */
function read(
  text: string,
  options: { toHead?: boolean; pieces?: number[]; end?: boolean; reader?: HttpResponseReader } = {},
): Read {
  const reader = options.reader ?? new HttpResponseReader();
  const body: string[] = [];
  reader.begin(options.toHead ?? false, (bytes, start, end) => {
    body.push(bytes.toString('latin1', start, end));
    return true;
  });
  const bytes = Buffer.from(text, 'latin1');
  let progress: Progress = 'more';
  let at = 0;
  const pieces = [...(options.pieces ?? [])];
  while (at < bytes.length && progress === 'more') {
    const length = Math.min(Math.max(1, pieces.shift() ?? bytes.length), bytes.length - at);
    // Somewhere in a buffer that others use as well.
    const start = 7;
    const shared = Buffer.from(
      `HTTP/1.${'\0'.repeat(length)}\r\n\r\nHTTP/1.1 500 stale bytes of somebody else\r\n\r\n`,
      'latin1',
    );
    bytes.copy(shared, start, at, at + length);
    progress = reader.push(shared, start, start + length);
    at += length;
  }
  if (progress === 'more' && options.end === true) progress = reader.end();
  return { progress, status: reader.status, failure: reader.failure, body: body.join(''), reusable: reader.reusable };
}

const OK = 'HTTP/1.1 200 OK\r\n';

describe('HttpResponseReader', () => {
  it.each<[string, string, Partial<Read>]>([
    ['a fixed length', `${OK}Content-Length: 5\r\n\r\nhello`, { body: 'hello', reusable: true }],
    ['an empty body', `${OK}Content-Length: 0\r\n\r\n`, { body: '', reusable: true }],
    ['no reason phrase and no space before it', 'HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n', { reusable: true }],
    [
      'chunks',
      `${OK}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n`,
      { body: 'hello world', reusable: true },
    ],
    [
      'chunks with trailers',
      `${OK}transfer-encoding: Chunked\r\n\r\nA\r\n0123456789\r\n000\r\nX: y\r\nZ: \r\n\r\n`,
      { body: '0123456789', reusable: true },
    ],
    ['no body with 204', 'HTTP/1.1 204 No Content\r\n\r\n', { status: 204, reusable: true }],
    [
      'no body with 304 whatever its length says',
      'HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n',
      { status: 304, reusable: true },
    ],
    [
      'interim answers',
      `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n${OK}Content-Length: 2\r\n\r\nok`,
      { body: 'ok', reusable: true },
    ],
    ['a server that closes', `${OK}Connection: close\r\nContent-Length: 2\r\n\r\nok`, { body: 'ok', reusable: false }],
    ['close among other options', `${OK}Connection: foo, Close\r\nContent-Length: 2\r\n\r\nok`, { reusable: false }],
    ['HTTP/1.0', 'HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok', { body: 'ok', reusable: false }],
    ['bytes past the end', `${OK}Content-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n`, { body: 'ok', reusable: false }],
    [
      'odd but legal bytes in values',
      `${OK}X: \t"é" ~ \r\nContent-Length: \t2 \r\n\r\nok`,
      { body: 'ok', reusable: true },
    ],
  ])('reads %s', (_name, text, expected) => {
    expect(read(text)).toMatchObject({ progress: 'done', status: 200, failure: '', ...expected });
  });

  it('reads a body that ends with the connection', () => {
    expect(read(`${OK}\r\nhello`, { end: true })).toMatchObject({ progress: 'done', body: 'hello', reusable: false });
  });

  it('expects no body in answer to HEAD', () => {
    expect(read(`${OK}Content-Length: 500\r\n\r\n`, { toHead: true })).toMatchObject({
      progress: 'done',
      reusable: true,
    });
  });

  it.each([
    ['something else', 'SSH-2.0-OpenSSH_9.2\r\n', 'not HTTP/1'],
    ['TLS', '\x15\x03\x01\x00\x02\x02\x28', 'speak TLS'],
    ['HTTP/2', 'HTTP/2 200\r\n\r\n', 'not HTTP/1'],
    ['HTTP/1.7', 'HTTP/1.7 200 OK\r\n\r\n', 'status line'],
    ['a status of two digits', 'HTTP/1.1 20 OK\r\n\r\n', 'status line'],
    ['a status of four digits', 'HTTP/1.1 2000 OK\r\n\r\n', 'status line'],
    ['a status out of range', 'HTTP/1.1 999 OK\r\n\r\n', 'status line'],
    ['a control in the reason', 'HTTP/1.1 200 O\0K\r\n\r\n', 'status line'],
    ['bare LF only', 'HTTP/1.1 200 OK\nContent-Length: 0\n\n', 'bare LF'],
    ['a bare LF within', `${OK}A: b\nContent-Length: 0\r\n\r\n`, 'holds a'],
    ['a bare CR in a value', `${OK}A: b\rc\r\n\r\n`, 'control character'],
    ['a NUL in a value', `${OK}A: b\0c\r\n\r\n`, 'control character'],
    ['a fold', `${OK}A: b\r\n c\r\n\r\n`, 'malformed'],
    ['space before the colon', `${OK}Content-Length : 3\r\n\r\n`, 'malformed'],
    ['an empty name', `${OK}: 3\r\n\r\n`, 'malformed'],
    ['no colon', `${OK}abc\r\n\r\n`, 'malformed'],
    ['two lengths', `${OK}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc`, 'Content-Length'],
    ['a list of lengths', `${OK}Content-Length: 3, 3\r\n\r\nabc`, 'Content-Length'],
    ['a signed length', `${OK}Content-Length: +3\r\n\r\nabc`, 'Content-Length'],
    ['a hexadecimal length', `${OK}Content-Length: 0x3\r\n\r\nabc`, 'Content-Length'],
    ['a length with leading zeros', `${OK}Content-Length: 03\r\n\r\nabc`, 'Content-Length'],
    ['an empty length', `${OK}Content-Length:\r\n\r\n`, 'Content-Length'],
    ['a length that no number holds', `${OK}Content-Length: 99999999999999999999\r\n\r\n`, 'Content-Length'],
    ['length and chunked', `${OK}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 'both'],
    ['another coding', `${OK}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`, 'Transfer-Encoding'],
    [
      'chunked twice',
      `${OK}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      'Transfer-Encoding',
    ],
    ['chunked in HTTP/1.0', 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 'HTTP/1.0'],
    ['a switch of protocols', 'HTTP/1.1 101 Switching Protocols\r\n\r\n', 'switches protocols'],
    ['a chunk size that is none', `${OK}Transfer-Encoding: chunked\r\n\r\nxyz\r\n`, 'chunked coding'],
    ['an empty chunk size', `${OK}Transfer-Encoding: chunked\r\n\r\n\r\n`, 'chunked coding'],
    ['a chunk size with a prefix', `${OK}Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n`, 'chunked coding'],
    ['a chunk size that overflows', `${OK}Transfer-Encoding: chunked\r\n\r\nfffffffff\r\n`, 'chunk size'],
    ['a chunk that goes on', `${OK}Transfer-Encoding: chunked\r\n\r\n5\r\nhello!!`, 'chunked coding'],
    ['a chunk size ended by LF', `${OK}Transfer-Encoding: chunked\r\n\r\n5\nhello`, 'chunked coding'],
    ['an endless chunk extension', `${OK}Transfer-Encoding: chunked\r\n\r\n5;${'x'.repeat(2000)}`, 'chunked coding'],
    ['trailers with a bare LF', `${OK}Transfer-Encoding: chunked\r\n\r\n0\r\nX\n\r\n`, 'trailers'],
    ['endless trailers', `${OK}Transfer-Encoding: chunked\r\n\r\n0\r\n${'X: y\r\n'.repeat(3000)}`, 'trailers'],
    ['an endless head', `${OK}${'X: 0123456789\r\n'.repeat(3000)}`, '32 KiB'],
    ['an endless line', `${OK}X: ${'y'.repeat(40_000)}`, '32 KiB'],
    ['endless interim answers', 'HTTP/1.1 100 Continue\r\n\r\n'.repeat(3000), '32 KiB'],
  ])('refuses %s, whole and byte by byte', (_name, text, failure) => {
    for (const pieces of [[], new Array<number>(text.length).fill(text.length > 5000 ? 700 : 1)]) {
      const result = read(text, { pieces });
      expect(result.progress).toBe('failed');
      expect(result.failure).toContain(failure);
      expect(result.reusable).toBe(false);
    }
  });

  it('names a connection that ends before and within the answer', () => {
    expect(read('', { end: true }).failure).toBe('the connection was closed before an answer');
    expect(read('HTTP/1.1 2', { end: true }).failure).toBe('the connection was closed before an answer');
    expect(read(`${OK}Content-Length: 5\r\n\r\nhel`, { end: true }).failure).toBe(
      'the connection was closed within the answer',
    );
    expect(read(`${OK}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n`, { end: true }).failure).toContain(
      'within the answer',
    );
  });

  it('stops as soon as the rest of the body is not wanted', () => {
    const reader = new HttpResponseReader();
    reader.begin(false, () => false);
    const bytes = Buffer.from(`${OK}Content-Length: 100000\r\n\r\nhello`);
    expect(reader.push(bytes, 0, bytes.length)).toBe('done');
    expect(reader.reusable).toBe(false);
  });

  it('forgets one answer before the next', () => {
    const reader = new HttpResponseReader();
    expect(read(`${OK}Connection: close\r\nContent-Length: 2\r\n\r\nok`, { reader }).reusable).toBe(false);
    expect(read('bad', { reader }).progress).toBe('failed');
    expect(read(`${OK}Content-Length: 2\r\n\r\nok`, { reader })).toMatchObject({
      progress: 'done',
      body: 'ok',
      reusable: true,
    });
  });

  it('reads the same in pieces as at once', () => {
    const texts = fc.constantFrom(
      `${OK}Content-Length: 11\r\nX-A: b\r\n\r\nhello world`,
      `HTTP/1.1 102 Processing\r\n\r\n${OK}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a="b"\r\n world\r\n0\r\nT: r\r\n\r\n`,
      'HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 11\r\n\r\nhello world',
    );
    fc.assert(
      fc.property(texts, fc.array(fc.integer({ min: 1, max: 40 })), (text, pieces) => {
        expect(read(text, { pieces })).toEqual(read(text));
      }),
    );
  });

  it('never throws, and never takes garbage for an answer that may be followed by another', () => {
    const fragment = fc.oneof(
      fc.constantFrom(
        'HTTP/1.1 200 OK\r\n',
        'Content-Length: 3\r\n',
        'Transfer-Encoding: chunked\r\n',
        '\r\n',
        '0\r\n\r\n',
        '3\r\nabc\r\n',
        'abc',
        '\n',
        '\0',
        ' ',
      ),
      fc.string({ maxLength: 5 }),
    );
    fc.assert(
      fc.property(
        fc.array(fragment, { maxLength: 12 }),
        fc.array(fc.integer({ min: 1, max: 20 })),
        (fragments, pieces) => {
          const whole = read(fragments.join(''), { end: true });
          expect(read(fragments.join(''), { pieces, end: true })).toMatchObject({
            progress: whole.progress,
            status: whole.status,
          });
          if (whole.reusable) expect(fragments.join('')).toMatch(/^(HTTP\/1\.1 1\d\d|HTTP\/1\.1 200 OK\r\n)/);
        },
      ),
      { numRuns: 500 },
    );
  });
});
