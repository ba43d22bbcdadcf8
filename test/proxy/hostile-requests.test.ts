import { ManualClock } from '../../src/core/clock.ts';
import { AccessLog } from '../../src/telemetry/access-log.ts';
import { LineSink } from '../../src/telemetry/line-sink.ts';
import { FakeFiles } from '../telemetry/fake-files.ts';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { answering, OK, Origin, RawClient, TestGateway } from './harness.ts';

const HOST = 'Host: web.localhost\r\n';
const get = (fields: string): string => `GET / HTTP/1.1\r\n${HOST}${fields}\r\n`;
const post = (fields: string, body: string): string => `POST / HTTP/1.1\r\n${HOST}${fields}\r\n${body}`;
const chunked = (body: string): string => post('Transfer-Encoding: chunked\r\n', body);

interface Vector {
  readonly name: string;
  readonly bytes: string;
  readonly status: number;
  readonly reason: string;
}
const refuse = (name: string, bytes: string, reason: string, status = 400): Vector => ({ name, bytes, status, reason });

/** Refused before anything of the request has gone upstream. */
const HEADS: readonly Vector[] = [
  // Framing
  refuse(
    'Content-Length with Transfer-Encoding',
    post('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'),
    'length-and-coding',
  ),
  refuse(
    'Transfer-Encoding with Content-Length',
    post('Transfer-Encoding: chunked\r\nContent-Length: 5\r\n', '0\r\n\r\n'),
    'length-and-coding',
  ),
  refuse(
    'Transfer-Encoding with a space before the colon',
    post('Transfer-Encoding : chunked\r\n', '0\r\n\r\n'),
    'bad-field-name',
  ),
  refuse(
    'Transfer-Encoding with a tab before the colon',
    post('Transfer-Encoding\t: chunked\r\n', '0\r\n\r\n'),
    'bad-field-name',
  ),
  refuse('a quoted coding', post('Transfer-Encoding: "chunked"\r\n', '0\r\n\r\n'), 'bad-coding'),
  refuse('a coding behind VT', post('Transfer-Encoding: \x0bchunked\r\n', '0\r\n\r\n'), 'bad-field-value'),
  refuse('a coding behind FF', post('Transfer-Encoding: \x0cchunked\r\n', '0\r\n\r\n'), 'bad-field-value'),
  refuse('a folded coding', post('Transfer-Encoding:\r\n chunked\r\n', '0\r\n\r\n'), 'folded-field'),
  refuse('xchunked', post('Transfer-Encoding: xchunked\r\n', '0\r\n\r\n'), 'bad-coding'),
  refuse('chunked with a trailing comma', post('Transfer-Encoding: chunked,\r\n', '0\r\n\r\n'), 'bad-coding'),
  refuse('chunked with a leading comma', post('Transfer-Encoding: ,chunked\r\n', '0\r\n\r\n'), 'bad-coding'),
  refuse('a coding with bytes above 127', post('Transfer-Encoding: chunked\xa0\r\n', '0\r\n\r\n'), 'bad-coding'),
  refuse('an empty coding', post('Transfer-Encoding: \r\n', '0\r\n\r\n'), 'bad-coding'),
  refuse('a clean unknown coding', post('Transfer-Encoding: gzip\r\n', ''), 'unknown-coding', 501),
  refuse('an unknown coding before chunked', post('Transfer-Encoding: gzip, chunked\r\n', ''), 'unknown-coding', 501),
  refuse('chunked that is not last', post('Transfer-Encoding: chunked, gzip\r\n', ''), 'bad-coding'),
  refuse('chunked twice in one field', post('Transfer-Encoding: chunked, chunked\r\n', ''), 'bad-coding'),
  refuse(
    'chunked in two fields',
    post('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', ''),
    'bad-coding',
  ),
  refuse(
    'two codings in two fields',
    post('Transfer-Encoding: chunked\r\ntransfer-encoding: identity\r\n', ''),
    'bad-coding',
  ),
  refuse(
    'Transfer-Encoding in HTTP/1.0',
    `POST / HTTP/1.0\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    'bad-coding',
  ),
  refuse('Content-Length twice', post('Content-Length: 5\r\nContent-Length: 5\r\n', 'hello'), 'bad-length'),
  ...['5, 5', '+5', '-0', '0x5', '5 5', '', '05', '00', '5\t5', '5;', '\xb25', '1e1'].map((length) =>
    refuse(`Content-Length ${JSON.stringify(length)}`, post(`Content-Length: ${length}\r\n`, 'hello'), 'bad-length'),
  ),
  ...['9007199254740993', '99999999999999999999'].map((length) =>
    refuse(`Content-Length ${length}`, post(`Content-Length: ${length}\r\n`, 'hello'), 'body-too-large', 413),
  ),
  // Lines and fields
  refuse('a bare LF after the request line', `GET / HTTP/1.1\n${HOST}\r\n`, 'bare-lf'),
  refuse('a bare LF after a field', `GET / HTTP/1.1\r\nHost: web.localhost\n\r\n`, 'bare-lf'),
  refuse('a bare LF as the empty line', `GET / HTTP/1.1\r\n${HOST}\n`, 'bare-lf'),
  refuse('a bare CR in a value', get('X: a\rb\r\n'), 'bare-cr'),
  refuse('a bare CR as the empty line', `GET / HTTP/1.1\r\n${HOST}\rX`, 'bare-cr'),
  refuse('NUL in a value', get('X: a\0b\r\n'), 'bad-field-value'),
  refuse('a control in a value', get('X: a\x01b\r\n'), 'bad-field-value'),
  refuse('DEL in a value', get('X: a\x7fb\r\n'), 'bad-field-value'),
  refuse('a folded field', get('X: a\r\n b\r\n'), 'folded-field'),
  refuse('a field folded by a tab', get('X: a\r\n\tb\r\n'), 'folded-field'),
  refuse('a space before the colon', get('X : a\r\n'), 'bad-field-name'),
  refuse('a space before the first field', `GET / HTTP/1.1\r\n Host: web.localhost\r\n\r\n`, 'bad-field-name'),
  refuse('an empty name', get(': a\r\n'), 'bad-field-name'),
  refuse('a field without colon', get('X a\r\n'), 'bad-field-name'),
  refuse('a field that is a name alone', get('X\r\n'), 'bad-field-name'),
  refuse('a name with a character that is no token', get('X(y): a\r\n'), 'bad-field-name'),
  refuse('a name with bytes above 127', get('X\xe9: a\r\n'), 'bad-field-name'),
  refuse('NUL in a name', get('X\0: a\r\n'), 'bad-field-name'),
  refuse('a method that is no token', `G@T / HTTP/1.1\r\n${HOST}\r\n`, 'bad-method'),
  refuse('a method with a control', `GE\x01T / HTTP/1.1\r\n${HOST}\r\n`, 'bad-method'),
  refuse('a method of 33 characters', `${'A'.repeat(33)} / HTTP/1.1\r\n${HOST}\r\n`, 'bad-method'),
  refuse('a target too long', `GET /${'a'.repeat(8200)} HTTP/1.1\r\n${HOST}\r\n`, 'target-too-long', 414),
  refuse('a head too large', get(`X: ${'a'.repeat(33_000)}\r\n`), 'head-too-large', 431),
  refuse('too many fields', get('X: a\r\n'.repeat(101)), 'too-many-fields', 431),
  // Target and Host
  refuse('no Host', 'GET / HTTP/1.1\r\nX: y\r\n\r\n', 'bad-host'),
  refuse('Host twice', get('Host: web.localhost\r\n'), 'bad-host'),
  ...[
    '',
    'a, b',
    'user@web.localhost',
    'web.localhost/x',
    'web.localhost:',
    'web.localhost:x',
    'web.localhost:70000',
    'web.localhost:0',
    'web localhost',
    '[::1',
    '[]',
    '[::1]x',
    'web%2elocalhost',
    'web.localhost:80:80',
    '\xe9.localhost',
  ].map((host) => refuse(`Host ${JSON.stringify(host)}`, `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`, 'bad-host')),
  refuse(
    'an absolute target that differs from Host',
    `GET http://other.localhost/ HTTP/1.1\r\n${HOST}\r\n`,
    'host-mismatch',
  ),
  refuse('an absolute target with userinfo', `GET http://a@web.localhost/ HTTP/1.1\r\n${HOST}\r\n`, 'bad-host'),
  refuse('an absolute target of another scheme', `GET ftp://web.localhost/ HTTP/1.1\r\n${HOST}\r\n`, 'bad-target'),
  refuse('* with GET', `GET * HTTP/1.1\r\n${HOST}\r\n`, 'bad-target'),
  refuse('a target without a slash', `GET x HTTP/1.1\r\n${HOST}\r\n`, 'bad-target'),
  refuse('CONNECT', `CONNECT web.localhost:443 HTTP/1.1\r\n${HOST}\r\n`, 'method-not-allowed', 405),
  refuse('TRACE', `TRACE / HTTP/1.1\r\n${HOST}\r\n`, 'method-not-allowed', 405),
  refuse('a space in the target', `GET /a b HTTP/1.1\r\n${HOST}\r\n`, 'bad-request-line'),
  refuse('two spaces before the target', `GET  / HTTP/1.1\r\n${HOST}\r\n`, 'bad-target'),
  refuse('# in the target', `GET /a#b HTTP/1.1\r\n${HOST}\r\n`, 'bad-target'),
  refuse('NUL in the target', `GET /a\0b HTTP/1.1\r\n${HOST}\r\n`, 'bad-target'),
  refuse('bytes above 127 in the target', `GET /\xe9 HTTP/1.1\r\n${HOST}\r\n`, 'bad-target'),
  refuse('%00 in the target', `GET /a%00b HTTP/1.1\r\n${HOST}\r\n`, 'bad-target'),
  refuse('HTTP/0.9', 'GET /\r\n', 'bad-request-line'),
  refuse('HTTP/1.2', `GET / HTTP/1.2\r\n${HOST}\r\n`, 'bad-version', 505),
  refuse('HTTP/2.0 in text', `GET / HTTP/2.0\r\n${HOST}\r\n`, 'bad-version', 505),
  refuse('the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'bad-version', 505),
  refuse('http/1.1 in lower case', `GET / http/1.1\r\n${HOST}\r\n`, 'bad-request-line'),
  refuse('HTTP/1.10', `GET / HTTP/1.10\r\n${HOST}\r\n`, 'bad-version', 505),
  refuse('a TLS hello', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 'bad-method'),
  // Semantics
  refuse('an unknown expectation', post('Expect: magic\r\nContent-Length: 2\r\n', 'hi'), 'bad-expect', 417),
];

/** Refused in the body: what was forwarded must never look complete. */
const BODIES: readonly Vector[] = [
  ...[
    '0x5\r\nhello\r\n0\r\n\r\n',
    '+5\r\nhello\r\n',
    '-5\r\nhello\r\n',
    '5_0\r\n',
    '5 \r\nhello\r\n',
    ' 5\r\nhello\r\n',
    'ffffffffffffffffff\r\n',
    '10000000000000\r\n'.padStart(20, '0'),
    '\r\nhello\r\n',
    'g\r\n',
    '5\nhello\r\n',
    '5\r\nhelloX\r\n0\r\n\r\n',
    '5\r\nhello\n0\r\n\r\n',
    '5;\r\nhello\r\n',
    '5;a=\r\nhello\r\n',
    '5;a\x01\r\nhello\r\n',
    '5;a="\x00"\r\nhello\r\n',
    '5 ;a\r\nhello\r\n',
    `5;${'a'.repeat(5000)}\r\nhello\r\n`,
    '0\r\nbad trailer\r\n\r\n',
    '0\r\n folded: x\r\n\r\n',
    '0\r\n\n',
    '0\r\nX: a\rb\r\n\r\n',
    `0\r\nX: ${'a'.repeat(5000)}\r\n\r\n`,
  ].map((body) => refuse(`chunked body ${JSON.stringify(body.slice(0, 40))}`, chunked(body), 'bad-chunk')),
];

const MARKER = 'GET /smuggled HTTP/1.1\r\nHost: web.localhost\r\n\r\n';

describe.each([
  { layer: 'bare handles', plainSockets: false },
  { layer: 'net.Socket', plainSockets: true },
])('hostile requests over $layer', ({ plainSockets }) => {
  let origin: Origin;
  let gateway: TestGateway;

  beforeAll(async () => {
    origin = await Origin.start(answering(OK));
    gateway = await TestGateway.start([origin.port], { plainSockets });
  });
  afterEach(() => {
    origin.connections.length = 0;
    gateway.refusals.length = 0;
  });
  afterAll(async () => {
    gateway.stop();
    await origin.stop();
  });

  async function expectRefused(vector: Vector, deliver: (client: RawClient) => Promise<void> | void): Promise<void> {
    const client = await RawClient.connect(gateway.port);
    await deliver(client);
    const answer = await client.closed();
    client.destroy();
    expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${vector.status} `));
    expect(answer).toContain('\r\nConnection: close\r\n');
    expect(answer.match(/^HTTP\/1\.1 \d/gm)).toHaveLength(1);
    expect(gateway.refusals).toContain(vector.reason);
    expect(origin.bytes).not.toContain('smuggled');
  }

  it.each(HEADS)('refuses $name', async (vector) => {
    await expectRefused(vector, (client) => client.send(vector.bytes + MARKER));
    expect(origin.bytes).toBe('');
    expect(gateway.inflight).toBe(0);
  });

  it.each(BODIES)('refuses $name, and the instance never sees a complete request', async (vector) => {
    await expectRefused(vector, (client) => client.send(vector.bytes + MARKER));
    expect(origin.bytes).not.toMatch(/\r\n0\r\n\r\n/);
    expect(gateway.inflight).toBe(0);
  });
});

describe('hostile requests in pieces', () => {
  let origin: Origin;
  let gateway: TestGateway;

  beforeAll(async () => {
    origin = await Origin.start(answering(OK));
    gateway = await TestGateway.start([origin.port]);
  });
  afterAll(async () => {
    gateway.stop();
    await origin.stop();
  });

  const short = [...HEADS, ...BODIES].filter(({ bytes }) => bytes.length < 400);

  it.each(short)('refuses $name byte by byte', async (vector) => {
    origin.connections.length = 0;
    gateway.refusals.length = 0;
    const client = await RawClient.connect(gateway.port);
    for (const byte of vector.bytes) {
      client.send(byte);
      await new Promise((resolve) => setImmediate(resolve));
      if (client.received.length > 0 || client.ended) break;
    }
    const answer = await client.closed();
    client.destroy();
    expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${vector.status} `));
    expect(gateway.refusals).toContain(vector.reason);
  });
});

describe('a hostile request in the access log', () => {
  const hostile = 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n';

  it.each([
    ['the first of its connection', ''],
    ['behind a good one', get('X-Request-Id: of-the-good-one\r\n')],
  ])('is a line with the flag DP and the id that its reply has: %s', async (_, before) => {
    const origin = await Origin.start(answering(OK));
    const gateway = await TestGateway.start([origin.port]);
    const clock = new ManualClock();
    const files = new FakeFiles();
    gateway.context.accessLog = new AccessLog(new LineSink({ clock, files, flushMs: 1 }));
    const client = await RawClient.connect(gateway.port);
    client.send(before + hostile);
    const answers = await client.closed();
    clock.advance(1);
    await expect.poll(() => files.text).toContain('"DP"');
    const { requestId } = JSON.parse(answers.slice(answers.indexOf('{'))) as { readonly requestId: string };
    expect(requestId).toMatch(/^[0-9a-f]{16}-[0-9a-f]{12}$/);
    expect(JSON.parse(files.text.trimEnd().split('\n').at(-1) ?? '')).toMatchObject({
      status: 400,
      flag: 'DP',
      service: null,
      instance: null,
      attempts: 0,
      method: null,
      target: null,
      host: null,
      requestId,
    });
    client.destroy();
    gateway.stop();
    await origin.stop();
  });
});
