import { Output, type OutputKind } from '../http1/body-reader.ts';
import { Field, FIELD_COUNT, type FieldId } from '../http1/fields.ts';
import { Framing } from '../http1/framing.ts';
import type { Head } from '../http1/head.ts';
import type { RequestHead } from '../http1/request-head.ts';
import type { ResponseHead } from '../http1/response-head.ts';
import { bytesOf } from '../http1/syntax.ts';

/** Room that a rewritten head needs beyond the original. */
export const HEAD_ROOM_BYTES = 512;

const VERSION_LINE_END = bytesOf(' HTTP/1.1\r\n');
const STATUS_LINE = bytesOf('HTTP/1.1 ');
const HOST = bytesOf('Host: ');
const CHUNKED = bytesOf('Transfer-Encoding: chunked\r\n');
const UPGRADE = bytesOf('Connection: Upgrade\r\nUpgrade: websocket\r\n');
const CLOSE = bytesOf('Connection: close\r\n');
const KEEP_ALIVE = bytesOf('Connection: keep-alive\r\n');
const FORWARDED_HOST = 'X-Forwarded-Host: ';
const REQUEST_ID = 'X-Request-Id: ';
const SPACE = 0x20;
const CR = 0x0d;
const LF = 0x0a;

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
/** Cut from every request. `X-Request-Id` is written anew at the end, kept or not, where its place is known. */
const FROM_REQUESTS: readonly FieldId[] = [
  ...HOP_BY_HOP,
  Field.http2Settings,
  Field.proxyAuthorization,
  Field.xForwardedFor,
  Field.xRequestId,
];
/** Who a request came from is only taken from those who are trusted to know. */
const CLAIMS: readonly FieldId[] = [Field.forwarded, Field.xForwardedProto, Field.xForwardedHost, Field.xForwardedPort];
const FROM_RESPONSES: readonly FieldId[] = [...HOP_BY_HOP, Field.http2Settings];

/**
 * Tables of what is cut from a request, by bits: 1 = the peer is not trusted, 2 = Host is replaced, 4 = no Expect, 8 =
 * no names with `_`.
 */
const REQUEST_CUTS: readonly Uint8Array[] = Array.from({ length: 16 }, (_, bits) =>
  among([
    ...FROM_REQUESTS,
    ...((bits & 1) === 0 ? [] : CLAIMS),
    ...((bits & 2) === 0 ? [] : [Field.host]),
    ...((bits & 4) === 0 ? [] : [Field.expect]),
    ...((bits & 8) === 0 ? [] : [Field.underscored]),
  ]),
);
const RESPONSE_CUTS = among(FROM_RESPONSES);
const RESPONSE_CUTS_AND_LENGTH = among([...FROM_RESPONSES, Field.contentLength]);

/** What the gateway adds to every request of one connection. */
export interface Forwarding {
  /** The peer is in `gateway.trustedProxies`. */
  readonly trusted: boolean;
  readonly allowUnderscores: boolean;
  readonly address: Buffer;
  /** For a peer that is not trusted: all lines up to the value of `X-Forwarded-Host`, in one piece. */
  readonly lines: Buffer;
  readonly proto: Buffer;
  readonly port: Buffer;
}

const VIA = 'Via: 1.1 fairlead\r\n';
const VIA_BYTES = bytesOf(VIA);
const FORWARDED_FOR_BYTES = bytesOf('X-Forwarded-For: ');
const FORWARDED_HOST_BYTES = bytesOf(FORWARDED_HOST);
const REQUEST_ID_BYTES = bytesOf(`\r\n${REQUEST_ID}`);

export function forwarding(options: {
  readonly peer: string;
  readonly port: number;
  readonly encrypted: boolean;
  readonly trusted: boolean;
  readonly allowUnderscores: boolean;
}): Forwarding {
  const { peer, port, encrypted, trusted, allowUnderscores } = options;
  // ::ffff:192.0.2.1 is how a dual-stack socket spells an IPv4 peer.
  const address = peer.startsWith('::ffff:') ? peer.slice(7) : peer;
  const proto = `X-Forwarded-Proto: ${encrypted ? 'https' : 'http'}\r\n`;
  const portLine = `X-Forwarded-Port: ${port}\r\n`;
  return {
    trusted,
    allowUnderscores,
    address: bytesOf(address),
    lines: bytesOf(`X-Forwarded-For: ${address}\r\n${proto}${portLine}${VIA}${FORWARDED_HOST}`),
    proto: bytesOf(proto),
    port: bytesOf(portLine),
  };
}

export interface RequestIdSource {
  /** What all ids of this process begin with. */
  readonly prefix: Buffer;
  /** Writes the rest of a new id at `at` and returns the offset behind it. */
  writeCount(into: Buffer, at: number): number;
  /** A whole id, where there is no head to write it into. */
  next(): string;
}

/** Where the written head ends, and where the request id stands in it. */
export interface WrittenRequest {
  end: number;
  idStart: number;
  idEnd: number;
}

/** A call into native code costs as much as copying some dozen bytes here. */
function copyShort(from: Buffer, start: number, end: number, into: Buffer, at: number): number {
  if (end - start > 48) return at + from.copy(into, at, start, end);
  let to = at;
  for (let i = start; i < end; i++) into[to++] = from[i] as number;
  return to;
}

/** Copies `[from, stop)` without the field lines that go, in as few pieces as there are gaps. Returns the offset behind it. */
function copyFields(
  head: Head,
  buffer: Buffer,
  from: number,
  stop: number,
  into: Buffer,
  at: number,
  cuts: Uint8Array,
): number {
  let run = from;
  let end = at;
  const { count, ids, nominated, nameStart } = head;
  for (let i = 0; i < count; i++) {
    if (nominated[i] === 0 && cuts[ids[i] as number] === 0) continue;
    const gap = nameStart[i] as number;
    if (gap > run) end += buffer.copy(into, end, run, gap);
    run = nameStart[i + 1] as number;
  }
  return stop > run ? copyShort(buffer, run, stop, into, end) : end;
}

/**
 * Writes the request head for an instance at `start`: the client's, without what was meant for us alone (RFC 9110
 * section 7.6.1) and without claims we do not believe, then our own fields. `into` must have HEAD_ROOM_BYTES more than
 * the original.
 */
export function writeRequestHead(
  head: RequestHead,
  buffer: Buffer,
  into: Buffer,
  start: number,
  from: Forwarding,
  ids: RequestIdSource,
  websocket: boolean,
  written: WrittenRequest,
): void {
  let at = start;
  let run = head.methodStart;
  if (head.targetIsAbsolute || head.minorVersion !== 1) {
    at = writeRequestLine(head, buffer, into, at);
    run = head.nameStart[0] as number;
  }
  const dropExpect = head.minorVersion === 0 || head.framing === Framing.none;
  const bits =
    (from.trusted ? 0 : 1) | (head.targetIsAbsolute ? 2 : 0) | (dropExpect ? 4 : 0) | (from.allowUnderscores ? 0 : 8);
  const cuts = REQUEST_CUTS[bits] as Uint8Array;
  at = copyFields(head, buffer, run, head.nameStart[head.count] as number, into, at, cuts);
  if (head.targetIsAbsolute) {
    at += HOST.copy(into, at);
    at = copyShort(buffer, head.authorityStart, head.authorityEnd, into, at);
    into[at++] = CR;
    into[at++] = LF;
  }
  if (head.framing === Framing.chunked) at += CHUNKED.copy(into, at);
  if (websocket) at += UPGRADE.copy(into, at);
  at = writeForwarding(head, buffer, into, at, from);
  at = copyShort(REQUEST_ID_BYTES, 0, REQUEST_ID_BYTES.length, into, at);
  written.idStart = at;
  if (head.occurrences[Field.xRequestId] === 1 && isUsableId(head, buffer)) {
    const field = head.first[Field.xRequestId] as number;
    at += buffer.copy(into, at, head.valueStart[field], head.valueEnd[field]);
  } else {
    at = ids.writeCount(into, copyShort(ids.prefix, 0, ids.prefix.length, into, at));
  }
  written.idEnd = at;
  into[at] = CR;
  into[at + 1] = LF;
  into[at + 2] = CR;
  into[at + 3] = LF;
  written.end = at + 4;
}

function writeRequestLine(head: RequestHead, buffer: Buffer, into: Buffer, from: number): number {
  let at = from + buffer.copy(into, from, head.methodStart, head.methodEnd);
  into[at++] = SPACE;
  if (head.targetIsAsterisk) {
    into[at++] = 0x2a;
  } else {
    if (head.targetNeedsSlash) into[at++] = 0x2f;
    at += buffer.copy(into, at, head.targetStart, head.targetEnd);
  }
  return at + VERSION_LINE_END.copy(into, at);
}

/** Up to the end of the value of the last line, whose line end is still to come. */
function writeForwarding(head: RequestHead, buffer: Buffer, into: Buffer, from: number, peer: Forwarding): number {
  if (peer.trusted) return writeTrusted(head, buffer, into, from, peer);
  const at = from + peer.lines.copy(into, from);
  return copyShort(buffer, head.authorityStart, head.authorityEnd, into, at);
}

function writeTrusted(head: RequestHead, buffer: Buffer, into: Buffer, from: number, peer: Forwarding): number {
  let at = from;
  if (!head.has(Field.xForwardedProto)) at += peer.proto.copy(into, at);
  if (!head.has(Field.xForwardedPort)) at += peer.port.copy(into, at);
  at += VIA_BYTES.copy(into, at);
  if (!head.has(Field.xForwardedHost)) {
    at += FORWARDED_HOST_BYTES.copy(into, at);
    at = copyShort(buffer, head.authorityStart, head.authorityEnd, into, at);
    into[at++] = CR;
    into[at++] = LF;
  }
  at += FORWARDED_FOR_BYTES.copy(into, at);
  for (let i = 0; i < head.count; i++) {
    if (head.ids[i] !== Field.xForwardedFor || head.nominated[i] === 1) continue;
    at += buffer.copy(into, at, head.valueStart[i], head.valueEnd[i]);
    into[at++] = 0x2c;
    into[at++] = SPACE;
  }
  return copyShort(peer.address, 0, peer.address.length, into, at);
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

/** What a response says of the connection it is on: `keepAlive` only to HTTP/1.0. */
export const Closing = { none: 0, close: 1, keepAlive: 2 } as const;
export type ClosingKind = (typeof Closing)[keyof typeof Closing];

/**
 * Writes the response head for the client; returns the offset behind it. `into` needs HEAD_ROOM_BYTES more than the
 * original from `start` on.
 */
export function writeResponseHead(
  head: ResponseHead,
  buffer: Buffer,
  into: Buffer,
  start: number,
  output: OutputKind,
  closing: ClosingKind,
): number {
  let at = start;
  let run: number;
  if (head.minorVersion === 1 && head.statusEnd - head.statusStart > 3) {
    run = head.statusStart - STATUS_LINE.length;
  } else {
    // An HTTP/1.0 server, or one that left out the space before an empty reason phrase.
    at += STATUS_LINE.copy(into, at);
    at = copyShort(buffer, head.statusStart, head.statusEnd, into, at);
    if (head.statusEnd - head.statusStart === 3) into[at++] = SPACE;
    run = head.statusEnd;
  }
  const { status, framing } = head;
  const cuts = status === 204 || status < 200 || output === Output.chunked ? RESPONSE_CUTS_AND_LENGTH : RESPONSE_CUTS;
  at = copyFields(head, buffer, run, head.nameStart[head.count] as number, into, at, cuts);
  if (output === Output.chunked || (framing === Framing.chunked && output === Output.wire))
    at += CHUNKED.copy(into, at);
  if (status === 101) at += UPGRADE.copy(into, at);
  else if (closing === Closing.close) at += CLOSE.copy(into, at);
  else if (closing === Closing.keepAlive) at += KEEP_ALIVE.copy(into, at);
  into[at] = CR;
  into[at + 1] = LF;
  return at + 2;
}
