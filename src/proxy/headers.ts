import { Output, type OutputKind } from '../http1/body-reader.ts';
import { Field, FIELD_COUNT, type FieldId } from '../http1/fields.ts';
import { Framing } from '../http1/framing.ts';
import type { Head } from '../http1/head.ts';
import type { RequestHead } from '../http1/request-head.ts';
import type { ResponseHead } from '../http1/response-head.ts';
import { bytesOf } from '../http1/syntax.ts';

/** Room that a rewritten head needs beyond the original. */
export const HEAD_ROOM_BYTES = 512;

const CRLF = bytesOf('\r\n');
const VERSION_LINE_END = bytesOf(' HTTP/1.1\r\n');
const STATUS_LINE = bytesOf('HTTP/1.1 ');
const SLASH = bytesOf('/');
const ASTERISK = bytesOf('*');
const HOST = bytesOf('Host: ');
const CHUNKED = bytesOf('Transfer-Encoding: chunked\r\n');
const UPGRADE = bytesOf('Connection: Upgrade\r\nUpgrade: websocket\r\n');
const CLOSE = bytesOf('Connection: close\r\n');
const KEEP_ALIVE = bytesOf('Connection: keep-alive\r\n');
const FORWARDED_FOR = bytesOf('X-Forwarded-For: ');
const FORWARDED_HOST = bytesOf('X-Forwarded-Host: ');
const REQUEST_ID = bytesOf('X-Request-Id: ');
const SPACE = 0x20;

function among(ids: readonly FieldId[]): Uint8Array {
  const table = new Uint8Array(FIELD_COUNT);
  for (const id of ids) table[id] = 1;
  return table;
}

const HOP_BY_HOP: readonly FieldId[] = [
  Field.connection,
  Field.keepAlive,
  Field.proxyConnection,
  Field.te,
  Field.trailer,
  Field.transferEncoding,
  Field.upgrade,
];
const CUT_FROM_REQUESTS = among([
  ...HOP_BY_HOP,
  Field.http2Settings,
  Field.proxyAuthorization,
  Field.underscored,
  Field.xForwardedFor,
]);
/** Who a request came from is only taken from those who are trusted to know. */
const CLAIMS = among([Field.forwarded, Field.xForwardedProto, Field.xForwardedHost, Field.xForwardedPort]);
const CUT_FROM_RESPONSES = among([...HOP_BY_HOP, Field.http2Settings]);

/** What the gateway adds to every request of one connection. */
export interface Forwarding {
  /** The peer is in `gateway.trustedProxies`. */
  readonly trusted: boolean;
  readonly clientAddress: Buffer;
  /** `X-Forwarded-Proto`, `-Port` and `Via` lines for an untrusted peer; `Via` alone is `via`. */
  readonly lines: Buffer;
  readonly via: Buffer;
  readonly proto: Buffer;
  readonly port: Buffer;
}

export function forwarding(address: string, port: number, encrypted: boolean, trusted: boolean): Forwarding {
  const proto = bytesOf(`X-Forwarded-Proto: ${encrypted ? 'https' : 'http'}\r\n`);
  const portLine = bytesOf(`X-Forwarded-Port: ${port}\r\n`);
  const via = bytesOf('Via: 1.1 fairlead\r\n');
  // ::ffff:192.0.2.1 is how a dual-stack socket spells an IPv4 peer.
  const clientAddress = bytesOf(address.startsWith('::ffff:') ? address.slice(7) : address);
  return { trusted, clientAddress, lines: Buffer.concat([proto, portLine, via]), via, proto, port: portLine };
}

export interface RequestIdSource {
  /** Writes a new id at `at` and returns the offset behind it. */
  write(into: Buffer, at: number): number;
}

/** Where the written head ends, and where the request id stands in it. */
export interface WrittenRequest {
  end: number;
  idStart: number;
  idEnd: number;
}

/** Copies the fields that go on, in as few pieces as there are gaps. Returns the offset behind them. */
function copyFields(
  head: Head,
  buffer: Buffer,
  from: number,
  into: Buffer,
  at: number,
  cut: (index: number) => boolean,
): number {
  let run = from;
  let end = at;
  for (let i = 0; i < head.count; i++) {
    if (head.nominated[i] === 0 && !cut(i)) continue;
    const gap = head.nameStart[i] as number;
    if (gap > run) end += buffer.copy(into, end, run, gap);
    run = head.nameStart[i + 1] as number;
  }
  const stop = head.nameStart[head.count] as number;
  if (stop > run) end += buffer.copy(into, end, run, stop);
  return end;
}

/**
 * Writes the request head for an instance: the client's, without what was meant for us alone (RFC 9110 section 7.6.1)
 * and without claims we do not believe, then our own fields. `into` must have HEAD_ROOM_BYTES more than the original.
 */
export function writeRequestHead(
  head: RequestHead,
  buffer: Buffer,
  into: Buffer,
  from: Forwarding,
  ids: RequestIdSource,
  websocket: boolean,
  written: WrittenRequest,
): void {
  let at = 0;
  let run = head.methodStart;
  if (head.targetIsAbsolute || head.minorVersion !== 1) {
    at += buffer.copy(into, at, head.methodStart, head.methodEnd);
    into[at++] = SPACE;
    if (head.targetIsAsterisk) at += ASTERISK.copy(into, at);
    else {
      if (head.targetNeedsSlash) at += SLASH.copy(into, at);
      at += buffer.copy(into, at, head.targetStart, head.targetEnd);
    }
    at += VERSION_LINE_END.copy(into, at);
    run = head.nameStart[0] as number;
  }
  const dropHost = head.targetIsAbsolute;
  const dropExpect = head.minorVersion === 0 || head.framing === Framing.none;
  const keepId = head.occurrences[Field.xRequestId] === 1 && isUsableId(head, buffer);
  const ids8 = head.ids;
  at = copyFields(head, buffer, run, into, at, (i) => {
    const id = ids8[i] as number;
    if (id === Field.other) return false;
    if (CUT_FROM_REQUESTS[id] === 1 || (CLAIMS[id] === 1 && !from.trusted)) return true;
    // Kept or not, it is written anew at the end, where its place is known.
    if (id === Field.xRequestId) return true;
    return (id === Field.host && dropHost) || (id === Field.expect && dropExpect);
  });
  if (dropHost) {
    at += HOST.copy(into, at);
    at += buffer.copy(into, at, head.authorityStart, head.authorityEnd);
    at += CRLF.copy(into, at);
  }
  at = writeForwarding(head, buffer, into, at, from);
  at += REQUEST_ID.copy(into, at);
  written.idStart = at;
  if (keepId) {
    const field = head.first[Field.xRequestId] as number;
    at += buffer.copy(into, at, head.valueStart[field], head.valueEnd[field]);
  } else {
    at = ids.write(into, at);
  }
  written.idEnd = at;
  at += CRLF.copy(into, at);
  if (head.framing === Framing.chunked) at += CHUNKED.copy(into, at);
  if (websocket) at += UPGRADE.copy(into, at);
  at += CRLF.copy(into, at);
  written.end = at;
}

function writeForwarding(head: RequestHead, buffer: Buffer, into: Buffer, from: number, peer: Forwarding): number {
  let at = from;
  at += FORWARDED_FOR.copy(into, at);
  if (peer.trusted) {
    for (let i = 0; i < head.count; i++) {
      if (head.ids[i] !== Field.xForwardedFor || head.nominated[i] === 1) continue;
      at += buffer.copy(into, at, head.valueStart[i], head.valueEnd[i]);
      into[at++] = 0x2c;
      into[at++] = SPACE;
    }
  }
  at += peer.clientAddress.copy(into, at);
  at += CRLF.copy(into, at);
  if (peer.trusted) {
    if (!head.has(Field.xForwardedProto)) at += peer.proto.copy(into, at);
    if (!head.has(Field.xForwardedPort)) at += peer.port.copy(into, at);
    at += peer.via.copy(into, at);
    if (head.has(Field.xForwardedHost)) return at;
  } else {
    at += peer.lines.copy(into, at);
  }
  at += FORWARDED_HOST.copy(into, at);
  at += buffer.copy(into, at, head.authorityStart, head.authorityEnd);
  return at + CRLF.copy(into, at);
}

/** A request id from outside is kept where it is short and plain: it goes into logs. */
function isUsableId(head: Head, buffer: Buffer): boolean {
  const field = head.first[Field.xRequestId] as number;
  if (head.nominated[field] === 1) return false;
  const start = head.valueStart[field] as number;
  const end = head.valueEnd[field] as number;
  if (end === start || end - start > 128) return false;
  for (let i = start; i < end; i++) {
    const byte = buffer[i] as number;
    if (byte <= SPACE || byte >= 0x7f) return false;
  }
  return true;
}

export interface ResponseShape {
  readonly output: OutputKind;
  /** The client's connection ends with this response. */
  readonly close: boolean;
  /** The client speaks HTTP/1.0 and asked to keep the connection. */
  readonly sayKeepAlive: boolean;
  readonly websocket: boolean;
}

/** Writes the response head for the client; returns the offset behind it. `into` needs HEAD_ROOM_BYTES more than the original from `at` on. */
export function writeResponseHead(
  head: ResponseHead,
  buffer: Buffer,
  into: Buffer,
  from: number,
  shape: ResponseShape,
): number {
  let at = from + STATUS_LINE.copy(into, from);
  at += buffer.copy(into, at, head.statusStart, head.statusEnd);
  if (head.statusEnd - head.statusStart === 3) into[at++] = SPACE;
  at += CRLF.copy(into, at);
  const dropLength = head.status === 204 || head.status < 200 || shape.output === Output.chunked;
  at = copyFields(head, buffer, head.nameStart[0] as number, into, at, (i) => {
    const id = head.ids[i] as number;
    return CUT_FROM_RESPONSES[id] === 1 || (id === Field.contentLength && dropLength);
  });
  const chunked = shape.output === Output.chunked || (head.framing === Framing.chunked && shape.output === Output.wire);
  if (chunked) at += CHUNKED.copy(into, at);
  if (shape.websocket) at += UPGRADE.copy(into, at);
  else if (shape.close) at += CLOSE.copy(into, at);
  else if (shape.sayKeepAlive) at += KEEP_ALIVE.copy(into, at);
  return at + CRLF.copy(into, at);
}
