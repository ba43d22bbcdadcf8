import type { Random } from '../../src/core/random.ts';
import { below, chance, oneOf } from './random.ts';

const METHODS = [
  'GET',
  'GET',
  'GET',
  'POST',
  'POST',
  'PUT',
  'HEAD',
  'DELETE',
  'OPTIONS',
  'PATCH',
  'PROPFIND',
  'SEARCH',
];
const TARGETS = ['/', '/', '/a/b?c=d&e', '//x', '/%20%2e', "/!$&'()*+,;=:@", '/a;b', '/[x]', '/?', '/\\', '/"<>^`{|}'];
const WORDS = [
  'a',
  'b=c',
  'text/html;q=0.9, */*',
  '"quoted, string"',
  'x'.repeat(40),
  '0',
  '-1',
  'chunked',
  'close',
  '\xe9\xff',
  'a\tb',
];
const NAMES = [
  'Accept',
  'Cookie',
  'X-A',
  'x-b',
  'USER-AGENT',
  'If-None-Match',
  'Range',
  "X!#$%&'*+.^`|~",
  'Date',
  'Authorization',
  'Via',
];
/** What a gateway must see through, hand on, or cut out. */
const SPECIAL = [
  'Connection: keep-alive',
  'Connection: X-A, x-b',
  'Connection: cookie, host, content-length',
  'Connection: ,, close ,',
  'Keep-Alive: timeout=5',
  'Proxy-Connection: keep-alive',
  'TE: trailers',
  'Trailer: X-Sum',
  'Upgrade: h2c',
  'HTTP2-Settings: AAMAAABk',
  'X-Forwarded-For: 6.6.6.6',
  'X-Forwarded-Proto: https',
  'X-Forwarded-Host: evil.example',
  'x_forwarded_for: 6.6.6.6',
  'Content_Length: 7',
  'Forwarded: for=6.6.6.6',
  'X-Request-Id: abc-1',
  'X-Request-Id: with space',
  'Proxy-Authorization: Basic eDp5',
  'Expect: 100-continue',
  'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
];
const EXTENSIONS = ['', '', '', '', ';a', ';a=b', ';a="b c;d"', ';x="\\"";y', ';q=""'];

/** Random white space around a value, as RFC 9110 section 5.6.3 allows. */
const ows = (random: Random): string => oneOf(random, ['', ' ', ' ', ' ', '\t', '  ', ' \t ']);

function field(random: Random): string {
  if (chance(random, 0.35)) return oneOf(random, SPECIAL);
  const value = chance(random, 0.1) ? '' : oneOf(random, WORDS);
  return `${oneOf(random, NAMES)}:${ows(random)}${value}${ows(random)}`;
}

const FILLERS = [
  'GET /smuggled HTTP/1.1\r\nHost: web.localhost\r\n\r\n',
  '0\r\n\r\n',
  '\r\n\r\n',
  'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
  '\n',
  '\0\xff',
  'hello world',
];

export function content(random: Random): string {
  let text = '';
  for (let i = below(random, 4); i >= 0; i--) text += oneOf(random, FILLERS);
  if (chance(random, 0.02)) text += 'z'.repeat(below(random, 100_000));
  return chance(random, 0.15) ? '' : text;
}

export function chunked(random: Random, text: string): string {
  let body = '';
  for (let at = 0; at < text.length;) {
    const size = Math.min(text.length - at, 1 + below(random, text.length > 1000 ? 70_000 : 30));
    const digits = chance(random, 0.2) ? size.toString(16).toUpperCase() : size.toString(16);
    body += `${'0'.repeat(chance(random, 0.1) ? below(random, 4) : 0)}${digits}${oneOf(random, EXTENSIONS)}\r\n`;
    body += `${text.slice(at, at + size)}\r\n`;
    at += size;
  }
  const trailers = chance(random, 0.15) ? 'X-Sum: 1\r\nHost: evil\r\n' : '';
  return `${body}${chance(random, 0.1) ? '000' : '0'}${oneOf(random, EXTENSIONS)}\r\n${trailers}\r\n`;
}

function shuffle<T>(random: Random, items: T[]): T[] {
  for (let i = items.length - 1; i > 0; i--) {
    const j = below(random, i + 1);
    [items[i], items[j]] = [items[j] as T, items[i] as T];
  }
  return items;
}

interface Framed {
  readonly field: string | undefined;
  readonly body: string;
}

function framed(random: Random, old: boolean): Framed {
  const text = content(random);
  const kind = random();
  if (kind < 0.35) return { field: undefined, body: '' };
  const name = oneOf(random, ['Content-Length', 'Content-Length', 'content-length', 'CONTENT-LENGTH']);
  if (kind < 0.65 || old) return { field: `${name}:${ows(random)}${text.length}${ows(random)}`, body: text };
  const coding = oneOf(random, ['chunked', 'chunked', 'Chunked', 'CHUNKED']);
  return { field: `Transfer-Encoding:${ows(random)}${coding}${ows(random)}`, body: chunked(random, text) };
}

/** A well-formed request, as odd as the RFCs allow and this gateway accepts. */
export function request(random: Random, host = 'web.localhost'): string {
  const old = chance(random, 0.08);
  const { field: framing, body } = framed(random, old);
  let target = oneOf(random, TARGETS);
  let method = oneOf(random, METHODS);
  if (chance(random, 0.08)) target = `http://${host}${chance(random, 0.3) ? '' : target}`;
  else if (chance(random, 0.03)) [method, target] = ['OPTIONS', '*'];
  const fields = [
    `Host:${ows(random)}${host}${ows(random)}`,
    ...(framing === undefined ? [] : [framing]),
    ...Array.from({ length: below(random, 6) }, () => field(random)),
  ];
  if (fields.filter((each) => /^expect/i.test(each)).length > 1) return request(random, host);
  if (chance(random, 0.04)) fields.push('Connection: close');
  const empty = chance(random, 0.03) ? '\r\n' : '';
  return `${empty}${method} ${target} HTTP/1.${old ? 0 : 1}\r\n${shuffle(random, fields).join('\r\n')}\r\n\r\n${body}`;
}

/** One to four requests, one behind the other. */
export function requests(random: Random): string {
  return Array.from({ length: 1 + below(random, chance(random, 0.3) ? 4 : 1) }, () => request(random)).join('');
}

/** A well-formed response; its body may end with the connection. */
export function response(random: Random): string {
  let text = '';
  for (let i = chance(random, 0.1) ? 1 + below(random, 3) : 0; i > 0; i--)
    text += oneOf(random, [
      'HTTP/1.1 100 Continue\r\n\r\n',
      'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n',
      'HTTP/1.1 102 P\r\n\r\n',
    ]);
  const old = chance(random, 0.1);
  const { field: framing, body } = framed(random, old);
  const status = oneOf(random, [200, 200, 200, 201, 204, 206, 301, 304, 404, 500, 503]);
  const reason = oneOf(random, [' OK', ' ', ' Not So \xe9', '', ' 200']);
  const fields = [
    ...(framing === undefined ? [] : [framing]),
    ...Array.from({ length: below(random, 5) }, () => field(random)),
  ];
  return `${text}HTTP/1.${old ? 0 : 1} ${status}${reason}\r\n${shuffle(random, fields)
    .map((line) => `${line}\r\n`)
    .join('')}\r\n${framing === undefined ? content(random) : body}`;
}
