import { Framing } from '../../src/http1/framing.ts';
import type { ResponseHead } from '../../src/http1/response-head.ts';

export interface AcceptedResponse {
  readonly name: string;
  readonly bytes: string;
  readonly is: Partial<ResponseHead>;
  /** The request was a HEAD. */
  readonly toHead?: boolean;
}

const head = (fields: string, line = 'HTTP/1.1 200 OK'): string => `${line}\r\n${fields}\r\n`;

export const ACCEPTED_HEADS: readonly AcceptedResponse[] = [
  {
    name: 'without length',
    bytes: head(''),
    is: { status: 200, framing: Framing.untilClose, keepAlive: false, minorVersion: 1 },
  },
  {
    name: 'with a length',
    bytes: head('Content-Length: 5\r\n'),
    is: { framing: Framing.length, bodyLength: 5, keepAlive: true },
  },
  { name: 'with length 0', bytes: head('Content-Length: 0\r\n'), is: { framing: Framing.none, keepAlive: true } },
  { name: 'chunked', bytes: head('transfer-ENCODING: CHUNKED\r\n'), is: { framing: Framing.chunked, keepAlive: true } },
  {
    name: 'to HEAD',
    bytes: head('Content-Length: 5\r\n'),
    toHead: true,
    is: { framing: Framing.none, keepAlive: true },
  },
  { name: '204', bytes: head('', 'HTTP/1.1 204 No Content'), is: { framing: Framing.none, keepAlive: true } },
  { name: '304', bytes: head('Content-Length: 9\r\n', 'HTTP/1.1 304 x'), is: { framing: Framing.none } },
  {
    name: '103',
    bytes: head('Link: </a>\r\n', 'HTTP/1.1 103 Early Hints'),
    is: { status: 103, framing: Framing.none },
  },
  { name: '599', bytes: head('Content-Length: 0\r\n', 'HTTP/1.1 599 x'), is: { status: 599 } },
  { name: 'no reason, no space', bytes: head('Content-Length: 0\r\n', 'HTTP/1.1 200'), is: { status: 200 } },
  { name: 'no reason', bytes: head('Content-Length: 0\r\n', 'HTTP/1.1 200 '), is: { status: 200 } },
  {
    name: 'a reason of any letters',
    bytes: head('Content-Length: 0\r\n', 'HTTP/1.1 200 \xe9\t ~'),
    is: { status: 200 },
  },
  {
    name: 'HTTP/1.0',
    bytes: head('Content-Length: 1\r\n', 'HTTP/1.0 200 OK'),
    is: { minorVersion: 0, keepAlive: false },
  },
  {
    name: 'HTTP/1.0 that stays',
    bytes: head('Content-Length: 1\r\nConnection: keep-alive\r\n', 'HTTP/1.0 200 OK'),
    is: { keepAlive: true },
  },
  { name: 'close', bytes: head('Content-Length: 1\r\nConnection: close\r\n'), is: { keepAlive: false } },
  {
    name: 'keep-alive seconds',
    bytes: head('Content-Length: 0\r\nKeep-Alive: max=3, timeout=17\r\n'),
    is: { keepAliveSeconds: 17 },
  },
  { name: 'keep-alive nonsense', bytes: head('Content-Length: 0\r\nKeep-Alive: x\r\n'), is: { keepAliveSeconds: -1 } },
  {
    name: 'a switch to WebSocket',
    bytes: head('Upgrade: WebSocket\r\nConnection: upgrade\r\n', 'HTTP/1.1 101 Switching Protocols'),
    is: { switchesToWebsocket: true },
  },
  {
    name: 'a switch to something else',
    bytes: head('Upgrade: h2c\r\n', 'HTTP/1.1 101 Switching Protocols'),
    is: { switchesToWebsocket: false },
  },
];

/** Not HTTP, or not clear enough; each with the reason that the log gives. */
export const REFUSED_RESPONSES: readonly (readonly [reason: string, bytes: string])[] = [
  ['length-and-coding', head('Content-Length: 2\r\nTransfer-Encoding: chunked\r\n')],
  ['bad-length', head('Content-Length: 2\r\nContent-Length: 2\r\n')],
  ['bad-length', head('Content-Length: +2\r\n')],
  ['bad-length', head('Content-Length: 2, 2\r\n')],
  ['bad-length', head('Content-Length: 02\r\n', 'HTTP/1.1 304 x')],
  ['bad-coding', head('Transfer-Encoding: xchunked\r\n')],
  ['bad-coding', head('Transfer-Encoding: chunked, chunked\r\n')],
  ['bad-coding', head('Transfer-Encoding: chunked\r\n', 'HTTP/1.0 200 OK')],
  ['unknown-coding', head('Transfer-Encoding: gzip\r\n')],
  ['bad-request-line', 'SSH-2.0-OpenSSH_9.2\r\n\r\n'],
  ['bad-request-line', '\r\nHTTP/1.1 200 OK\r\n\r\n'],
  ['bad-request-line', 'http/1.1 200 OK\r\n\r\n'],
  ['bad-request-line', 'HTTP/2 200\r\n\r\n'],
  ['bad-request-line', 'HTTP/1.1 20 OK\r\n\r\n'],
  ['bad-request-line', 'HTTP/1.1 2000 OK\r\n\r\n'],
  ['bad-request-line', 'HTTP/1.1 +20 OK\r\n\r\n'],
  ['bad-request-line', 'HTTP/1.1  200 OK\r\n\r\n'],
  ['bad-request-line', 'HTTP/1.1 099 OK\r\n\r\n'],
  ['bad-request-line', 'HTTP/1.1 600 OK\r\n\r\n'],
  ['bad-request-line', 'HTTP/1.1 200\tOK\r\n\r\n'],
  ['bad-version', 'HTTP/1.2 200 OK\r\n\r\n'],
  ['bad-version', 'HTTP/1.1\t200 OK\r\n\r\n'],
  ['bad-version', 'HTTP/1.10 200 OK\r\n\r\n'],
  ['bad-version', 'HTTP/1.0 100 Continue\r\n\r\n'],
  ['bad-field-value', head('', 'HTTP/1.1 200 O\x01K')],
  ['bad-field-value', head('X: \0\r\n')],
  ['bare-lf', 'HTTP/1.1 200 OK\nContent-Length: 0\n\n'],
  ['bare-lf', head('X: a\n')],
  ['bare-cr', head('X: a\rb\r\n')],
  ['bare-cr', 'HTTP/1.1 200 OK\rX: y\r\n\r\n'],
  ['folded-field', head('X: a\r\n b\r\n')],
  ['bad-field-name', head('X : a\r\n')],
  ['bad-field-name', head('no colon\r\n')],
  ['head-too-large', head(`X: ${'a'.repeat(33_000)}\r\n`)],
  ['too-many-fields', head('X: a\r\n'.repeat(101))],
];
