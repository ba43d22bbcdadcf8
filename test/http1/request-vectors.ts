import { Framing } from '../../src/http1/framing.ts';
import type { SeenRequest } from './server-view.ts';

const HOST = 'Host: a.example\r\n';
const get = (fields: string): string => `GET / HTTP/1.1\r\n${HOST}${fields}\r\n`;
const post = (fields: string, body = ''): string => `POST / HTTP/1.1\r\n${HOST}${fields}\r\n${body}`;
const chunked = (body: string): string => post('Transfer-Encoding: chunked\r\n', body);

export interface Accepted {
  readonly name: string;
  readonly bytes: string;
  readonly is: Partial<SeenRequest>;
  /** Of the body, decoded. */
  readonly content?: string;
}

/** Well-formed requests, each complete. */
export const ACCEPTED: readonly Accepted[] = [
  {
    name: 'the plainest',
    bytes: get(''),
    is: { method: 'GET', target: '/', host: 'a.example', minorVersion: 1, framing: Framing.none, keepAlive: true },
  },
  { name: 'an empty line first', bytes: `\r\n${get('')}`, is: { method: 'GET', target: '/' } },
  { name: 'HTTP/1.0', bytes: `GET / HTTP/1.0\r\n${HOST}\r\n`, is: { minorVersion: 0, keepAlive: false } },
  {
    name: 'HTTP/1.0 that stays',
    bytes: `GET / HTTP/1.0\r\n${HOST}Connection: Keep-Alive\r\n\r\n`,
    is: { minorVersion: 0, keepAlive: true },
  },
  { name: 'Connection: close', bytes: get('Connection: x, Close ,y\r\n'), is: { keepAlive: false } },
  {
    name: 'close and keep-alive',
    bytes: get('Connection: keep-alive\r\nConnection: close\r\n'),
    is: { keepAlive: false },
  },
  {
    name: 'an unknown method',
    bytes: `A!#$%&'*+-.^_\`|~9 / HTTP/1.1\r\n${HOST}\r\n`,
    is: { method: "A!#$%&'*+-.^_`|~9" },
  },
  { name: 'a method of 32', bytes: `${'M'.repeat(32)} / HTTP/1.1\r\n${HOST}\r\n`, is: { method: 'M'.repeat(32) } },
  {
    name: 'every mark a target may have',
    bytes: `GET /!"$%&'()*+,-./:;<=>?@[\\]^_\`{|}~ HTTP/1.1\r\n${HOST}\r\n`,
    is: { target: '/!"$%&\'()*+,-./:;<=>?@[\\]^_`{|}~' },
  },
  { name: 'percent signs', bytes: `GET /%20%0%zz% HTTP/1.1\r\n${HOST}\r\n`, is: { target: '/%20%0%zz%' } },
  {
    name: 'an absolute target',
    bytes: `GET http://A.Example/x HTTP/1.1\r\n${HOST}\r\n`,
    is: { target: 'http://A.Example/x', host: 'A.Example' },
  },
  {
    name: 'an absolute target in capitals, with a query alone',
    bytes: `GET HTTPS://a.example?q HTTP/1.1\r\n${HOST}\r\n`,
    is: { target: 'HTTPS://a.example?q', host: 'a.example' },
  },
  {
    name: 'an absolute target without Host, in HTTP/1.0',
    bytes: 'GET http://a.example:81/ HTTP/1.0\r\n\r\n',
    is: { host: 'a.example', authority: 'a.example:81' },
  },
  { name: '* with OPTIONS', bytes: `OPTIONS * HTTP/1.1\r\n${HOST}\r\n`, is: { target: '*' } },
  { name: 'a port', bytes: 'GET / HTTP/1.1\r\nHost: a:65535\r\n\r\n', is: { host: 'a', authority: 'a:65535' } },
  { name: 'an IPv6 host', bytes: 'GET / HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n', is: { host: '[2001:db8::1]' } },
  { name: 'Host in any case and white space', bytes: 'GET / HTTP/1.1\r\nhOST:\t a.b \t\r\n\r\n', is: { host: 'a.b' } },
  {
    name: 'values: empty, padded, inner space and tab, bytes above 127',
    bytes: get('A:\r\nB:  \t\r\nC: \t x y\tz \t\r\nD:\xe9\xff\r\n'),
    is: {
      fields: [
        ['Host', 'a.example'],
        ['A', ''],
        ['B', ''],
        ['C', 'x y\tz'],
        ['D', '\xe9\xff'],
      ],
    },
  },
  {
    name: 'a name of every mark, and one with underscores',
    bytes: get("!#$%&'*+-.^`|~0aZ: 1\r\nA_B: 2\r\n"),
    is: {
      fields: [
        ['Host', 'a.example'],
        ["!#$%&'*+-.^`|~0aZ", '1'],
        ['A_B', '2'],
      ],
    },
  },
  { name: 'as many fields as allowed', bytes: get('X: a\r\n'.repeat(99)), is: {} },
  { name: 'Content-Length: 0', bytes: post('Content-Length: 0\r\n'), is: { framing: Framing.none } },
  {
    name: 'a length',
    bytes: post('cONTENT-lENGTH:  5 \r\n', 'hello'),
    is: { framing: Framing.length },
    content: 'hello',
  },
  {
    name: 'a body that looks like requests',
    bytes: post('Content-Length: 37\r\n', 'GET / HTTP/1.1\r\nHost: a.example\r\n\r\n\r\n'),
    is: { framing: Framing.length },
    content: 'GET / HTTP/1.1\r\nHost: a.example\r\n\r\n\r\n',
  },
  ...['GET', 'HEAD', 'DELETE', 'OPTIONS', 'PATCH', 'PURGE'].map((method) => ({
    name: `${method} with a body`,
    bytes: `${method} / HTTP/1.1\r\n${HOST}Content-Length: 2\r\n\r\nhi`,
    is: { method, framing: Framing.length },
    content: 'hi',
  })),
  {
    name: 'an expectation',
    bytes: post('Expect: 100-Continue\r\nContent-Length: 2\r\n', 'hi'),
    is: { framing: Framing.length },
    content: 'hi',
  },
  { name: 'an expectation in HTTP/1.0', bytes: `GET / HTTP/1.0\r\n${HOST}Expect: x\r\n\r\n`, is: {} },
  ...(
    [
      ['an empty one', '0\r\n\r\n', ''],
      ['one chunk', '5\r\nhello\r\n0\r\n\r\n', 'hello'],
      ['two chunks', '5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n', 'hello world'],
      ['chunks of one', '1\r\na\r\n1\r\n\r\r\n1\r\n\n\r\n0\r\n\r\n', 'a\r\n'],
      ['sizes in either case', 'a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n', '01234567890123456789'],
      ['leading zeros', '0000005\r\nhello\r\n000\r\n\r\n', 'hello'],
      ['13 digits', '0000000000005\r\nhello\r\n0000000000000\r\n\r\n', 'hello'],
      ['an extension', '5;a\r\nhello\r\n0;b\r\n\r\n', 'hello'],
      ['extensions with values', '5;a=b;c="d;\\"e\\\\";f\r\nhello\r\n0\r\n\r\n', 'hello'],
      ['a quoted value that is empty', '5;a=""\r\nhello\r\n0\r\n\r\n', 'hello'],
      ['extensions on one chunk of several', '1\r\na\r\n1;x\r\nb\r\n1\r\nc\r\n0\r\n\r\n', 'abc'],
      ['a trailer', '5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n', 'hello'],
      ['trailers, empty and padded', '0\r\nA:\r\nB: \t b\xff \r\nHost: evil\r\nContent-Length: 9\r\n\r\n', ''],
      ['content that looks like its own end', '7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n', '\r\n0\r\n\r\n'],
    ] as const
  ).map(([name, body, content]) => ({
    name: `a chunked body: ${name}`,
    bytes: chunked(body),
    is: { framing: Framing.chunked },
    content,
  })),
];

export interface Refused {
  readonly name: string;
  readonly bytes: string;
  readonly reason: string;
}

const heads = (reason: string, ...texts: readonly string[]): Refused[] =>
  texts.map((bytes) => ({ name: JSON.stringify(bytes), bytes, reason }));

const lengths = [
  '5, 5',
  '+5',
  '-0',
  '0x5',
  '5 5',
  '',
  `${'1'.repeat(16)}x`,
  '05',
  '00',
  '5;',
  '\xb25',
  '1e1',
  '1_0',
  '.5',
];
const codings = [
  '"chunked"',
  'xchunked',
  'chunked,',
  ',chunked',
  'chunked\xa0',
  '',
  'chunked, chunked',
  'chunked, gzip',
];
const hosts = [
  '',
  'a, b',
  'u@a',
  'a/x',
  'a:',
  'a:x',
  'a:70000',
  'a:0',
  'a:000080',
  'a b',
  '[::1',
  '[]',
  '[::1]x',
  '[g]',
];

/** Refused by the head. */
export const REFUSED_HEADS: readonly Refused[] = [
  ...heads('length-and-coding', post('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n')),
  ...lengths.flatMap((length) => heads('bad-length', post(`Content-Length: ${length}\r\n`))),
  ...['1'.repeat(16), '9'.repeat(400)].flatMap((length) =>
    heads('body-too-large', post(`Content-Length: ${length}\r\n`)),
  ),
  ...heads('bad-length', post('Content-Length: 5\r\nContent-Length: 5\r\n'), post('Content-Length:\r\n')),
  ...codings.flatMap((coding) => heads('bad-coding', post(`Transfer-Encoding: ${coding}\r\n`))),
  ...heads(
    'bad-coding',
    post('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n'),
    `POST / HTTP/1.0\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n`,
  ),
  ...heads('unknown-coding', post('Transfer-Encoding: gzip\r\n'), post('Transfer-Encoding: gzip, deflate\r\n')),
  ...heads('bad-field-value', get('X: \x0bchunked\r\n'), get('X: a\0b\r\n'), get('X: \x01\r\n'), get('X: a\x7fb\r\n')),
  ...heads('folded-field', get('X: a\r\n b\r\n'), get('X: a\r\n\tb\r\n'), post('Transfer-Encoding:\r\n chunked\r\n')),
  ...heads(
    'bad-field-name',
    get('X : a\r\n'),
    get('X\t: a\r\n'),
    get(': a\r\n'),
    get('X a\r\n'),
    get('X\r\n'),
    get('X(y): a\r\n'),
    get('X\xe9: a\r\n'),
    get('X\0: a\r\n'),
    'GET / HTTP/1.1\r\n Host: a\r\n\r\n',
    'GET / HTTP/1.1\r\n\tHost: a\r\n\r\n',
  ),
  ...heads(
    'bare-lf',
    `GET / HTTP/1.1\n${HOST}\r\n`,
    'GET / HTTP/1.1\r\nHost: a\n\r\n',
    `GET / HTTP/1.1\r\n${HOST}\n`,
    get('X\n'),
  ),
  ...heads(
    'bare-cr',
    get('X: a\rb\r\n'),
    get('X: a\r\r\n'),
    `GET / HTTP/1.1\r\n${HOST}\rX`,
    `GET / HTTP/1.1\r\r\n${HOST}\r\n`,
  ),
  ...heads(
    'bad-method',
    `G@T / HTTP/1.1\r\n`,
    ` GET / HTTP/1.1\r\n`,
    `${'A'.repeat(33)} / HTTP/1.1\r\n`,
    '\x16\x03\x01',
    '\0',
  ),
  ...heads('bad-method', 'GET\r\n', 'GET\t/ HTTP/1.1\r\n', '\nGET / HTTP/1.1\r\n'),
  ...heads('method-not-allowed', `CONNECT a.example:443 HTTP/1.1\r\n${HOST}\r\n`, `TRACE / HTTP/1.1\r\n${HOST}\r\n`),
  ...heads(
    'bad-target',
    `GET  / HTTP/1.1\r\n`,
    `GET /a#b HTTP/1.1\r\n`,
    `GET /a\0b HTTP/1.1\r\n`,
    `GET /\xe9 HTTP/1.1\r\n`,
    `GET /a%00b HTTP/1.1\r\n`,
    `GET /%00 HTTP/1.1\r\n`,
    `GET * HTTP/1.1\r\n${HOST}\r\n`,
    `GET x HTTP/1.1\r\n${HOST}\r\n`,
    `GET ftp://a.example/ HTTP/1.1\r\n${HOST}\r\n`,
    `GET /\t HTTP/1.1\r\n`,
    'GET \r\n',
  ),
  ...heads('target-too-long', `GET /${'a'.repeat(8192)} HTTP/1.1\r\n`),
  ...heads('head-too-large', get(`X: ${'a'.repeat(32_768)}\r\n`)),
  ...heads('too-many-fields', get('X: a\r\n'.repeat(100))),
  ...hosts.flatMap((host) => heads('bad-host', `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`)),
  ...heads(
    'bad-host',
    'GET / HTTP/1.1\r\n\r\n',
    'GET / HTTP/1.0\r\n\r\n',
    get('Host: a.example\r\n'),
    'GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n',
    'GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n',
    'GET http://a.example/ HTTP/1.1\r\n\r\n',
  ),
  ...heads(
    'host-mismatch',
    `GET http://b.example/ HTTP/1.1\r\n${HOST}\r\n`,
    `GET http://a.example:80/ HTTP/1.1\r\n${HOST}\r\n`,
  ),
  ...heads(
    'bad-request-line',
    'GET /\r\n',
    'GET /\n',
    `GET /a b HTTP/1.1\r\n`,
    `GET / http/1.1\r\n`,
    'GET / HTTPS/1.1\r\n',
    'GET /  HTTP/1.1\r\n',
    '\r\n\r\n',
    '\r\n\rG',
    '\rG',
  ),
  ...heads(
    'bad-version',
    `GET / HTTP/1.2\r\n`,
    `GET / HTTP/2.0\r\n`,
    'GET / HTTP/1.10\r\n',
    'GET / HTTP/1.1 \r\n',
    'GET / HTTP/11\r\n',
    'GET / HTTP/1.x\r\n',
    'GET / HTTP/1.2\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  ),
  ...heads(
    'bad-expect',
    post('Expect: magic\r\n'),
    get('Expect: 100-continue\r\nExpect: 100-continue\r\n'),
    get('Expect:\r\n'),
  ),
];

/** Refused in a chunked body, whose head is fine. */
export const REFUSED_BODIES: readonly Refused[] = [
  '0x5\r\nhello\r\n0\r\n\r\n',
  '+5\r\nhello\r\n',
  '-5\r\nhello\r\n',
  '5_0\r\n',
  '5 \r\nhello\r\n',
  ' 5\r\nhello\r\n',
  '\t5\r\n',
  'ffffffffffffffffff\r\n',
  '00000000000005\r\n',
  '\r\nhello\r\n',
  'g\r\n',
  ';a\r\n',
  '5\nhello\r\n',
  '5\r\r\nhello\r\n',
  '5\rhello\r\n',
  '5\r\nhelloX\r\n0\r\n\r\n',
  '5\r\nhello\n0\r\n\r\n',
  '5\r\nhello\r0\r\n\r\n',
  '5\r\nhello0\r\n\r\n',
  '5\r\nhell\r\n0\r\n\r\n',
  '5;\r\nhello\r\n',
  '5;;\r\n',
  '5;a=\r\nhello\r\n',
  '5;a=b=c\r\n',
  '5;=b\r\n',
  '5;a b\r\n',
  '5; a\r\n',
  '5;a ;b\r\n',
  '5;a\x01\r\n',
  '5;a="\0"\r\n',
  '5;a="\r\n"\r\n',
  '5;a="b"c\r\n',
  '5;a="b\\\0"\r\n',
  '5;a\nhello\r\n',
  '5 ;a\r\nhello\r\n',
  `5;${'a'.repeat(4096)}\r\nhello\r\n`,
  `${'1;aaaaaaaaa\r\nx\r\n'.repeat(400)}0\r\n\r\n`,
  '0\r\nbad trailer\r\n\r\n',
  '0\r\n folded: x\r\n\r\n',
  '0\r\nA: b\r\n folded\r\n\r\n',
  '0\r\n: x\r\n\r\n',
  '0\r\nA : x\r\n\r\n',
  '0\r\nA\r\n\r\n',
  '0\r\n\n',
  '0\r\n\rX',
  '0\r\nX: a\rb\r\n\r\n',
  '0\r\nX: a\n\r\n',
  '0\r\nX: a\0\r\n\r\n',
  '0\r\nX\xe9: a\r\n\r\n',
  `0\r\nX: ${'a'.repeat(4096)}\r\n\r\n`,
].map((body) => ({ name: JSON.stringify(body.slice(0, 60)), bytes: chunked(body), reason: 'bad-chunk' }));
