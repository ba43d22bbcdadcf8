import { Field } from './fields.ts';
import { contentLength, Framing, type FramingKind, isChunked } from './framing.ts';
import { Head, type HeadLimits, INCOMPLETE, REFUSED } from './head.ts';
import { REFUSALS, type Refusal } from './refusal.ts';
import { bytesOf, CR, equalsIgnoringCase, HOST_NAME, IPV6, LF, SP, TARGET, TOKEN } from './syntax.ts';

/** Indices into METHODS; `other` is any further valid token. */
export const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'other'] as const;
export const Method = { get: 0, head: 1, post: 2, put: 3, delete: 4, patch: 5, options: 6, other: 7 } as const;

const METHOD_BYTES = METHODS.slice(0, -1).map(bytesOf);
const CONNECT = bytesOf('CONNECT');
const TRACE = bytesOf('TRACE');
const VERSION = bytesOf('HTTP/1.');
const HTTP = bytesOf('http://');
const HTTPS = bytesOf('https://');
const CONTINUE = bytesOf('100-continue');
const WEBSOCKET = bytesOf('websocket');
const MAX_METHOD_BYTES = 32;
const PERCENT = 0x25;

function matches(buffer: Buffer, start: number, end: number, word: Uint8Array): boolean {
  if (end - start !== word.length) return false;
  for (let i = 0; i < word.length; i++) if (buffer[start + i] !== word[i]) return false;
  return true;
}

/** A request head, RFC 9112 section 3. */
export class RequestHead extends Head {
  methodStart = 0;
  methodEnd = 0;
  /** Index into METHODS. */
  method: number = Method.get;
  /** The origin form to send on: where it is empty or begins with `?`, a `/` belongs before it. */
  targetStart = 0;
  targetEnd = 0;
  targetNeedsSlash = false;
  /** `*`: about the server as a whole. */
  targetIsAsterisk = false;
  /** The host, without its port (IPv6 with brackets). */
  hostStart = 0;
  hostEnd = 0;
  /** The host with its port: of the target where that is absolute, else of `Host`. */
  authorityStart = 0;
  authorityEnd = 0;
  targetIsAbsolute = false;
  framing: FramingKind = Framing.none;
  /** Bytes, where framing is `length`. */
  bodyLength = 0;
  expectsContinue = false;
  /** `Upgrade: websocket`, named by `Connection`, on a GET. */
  wantsWebsocket = false;
  keepAlive = true;

  /**
   * Parses `buffer[start, end)`. Returns the offset behind the head, INCOMPLETE where more bytes are needed, or
   * REFUSED with `refusal` set.
   */
  parse(buffer: Buffer, start: number, end: number, limits: HeadLimits): number {
    this.refusal = undefined;
    let from = start;
    // One empty line before a request is forgiven (RFC 9112 section 2.2).
    if (from + 1 < end && buffer[from] === CR && buffer[from + 1] === LF) from += 2;
    const fieldsAt = this.#parseLine(buffer, from, end, limits);
    const parsed = this.parseRest(buffer, start, fieldsAt, end, limits);
    if (parsed === INCOMPLETE || parsed === REFUSED) return parsed;
    const refusal = this.#interpret(buffer);
    return refusal ? this.refuse(refusal) : parsed;
  }

  #parseLine(buffer: Buffer, start: number, end: number, limits: HeadLimits): number {
    let at = start;
    if (at >= end) return INCOMPLETE;
    if (buffer[at] === CR) return at + 1 >= end ? INCOMPLETE : this.refuse(REFUSALS.badRequestLine);
    while (at < end && TOKEN[buffer[at] as number] === 1) at++;
    if (at - start > MAX_METHOD_BYTES) return this.refuse(REFUSALS.badMethod);
    if (at >= end) return INCOMPLETE;
    if (buffer[at] !== SP || at === start) return this.refuse(REFUSALS.badMethod);
    this.methodStart = start;
    this.methodEnd = at;

    const target = ++at;
    let percent = false;
    while (at < end && TARGET[buffer[at] as number] === 1) {
      if (buffer[at] === PERCENT) percent = true;
      at++;
    }
    if (at - target > limits.targetBytes) return this.refuse(REFUSALS.targetTooLong);
    if (at >= end) return INCOMPLETE;
    if (buffer[at] !== SP || at === target) return this.refuse(this.#lineRefusal(buffer[at] as number, at === target));
    this.targetStart = target;
    this.targetEnd = at;
    if (percent && hasEncodedNul(buffer, target, at)) return this.refuse(REFUSALS.badTarget);
    return this.#parseVersion(buffer, at + 1, end);
  }

  #lineRefusal(byte: number, empty: boolean): Refusal {
    // "GET /" and nothing more is HTTP/0.9.
    return (byte === CR || byte === LF) && !empty ? REFUSALS.badRequestLine : REFUSALS.badTarget;
  }

  #parseVersion(buffer: Buffer, start: number, end: number): number {
    for (let i = 0; i < VERSION.length; i++) {
      if (start + i >= end) return INCOMPLETE;
      if (buffer[start + i] !== VERSION[i]) return this.refuse(i < 5 ? REFUSALS.badRequestLine : REFUSALS.badVersion);
    }
    const minorAt = start + VERSION.length;
    // What has come may already be wrong, and no more may ever come.
    if (minorAt >= end) return INCOMPLETE;
    const minor = (buffer[minorAt] as number) - 0x30;
    if (minor !== 0 && minor !== 1) return this.refuse(REFUSALS.badVersion);
    if (minorAt + 1 >= end) return INCOMPLETE;
    if (buffer[minorAt + 1] !== CR) return this.refuse(versionRefusal(buffer[minorAt + 1] as number));
    if (minorAt + 2 >= end) return INCOMPLETE;
    if (buffer[minorAt + 2] !== LF) return this.refuse(REFUSALS.bareCr);
    this.minorVersion = minor;
    return minorAt + 3;
  }

  #interpret(buffer: Buffer): Refusal | undefined {
    this.readConnection(buffer);
    this.keepAlive = this.persists;
    return (
      this.#readMethod(buffer) ?? this.#readTarget(buffer) ?? this.#readFraming(buffer) ?? this.#readIntents(buffer)
    );
  }

  #readMethod(buffer: Buffer): Refusal | undefined {
    this.method = Method.other;
    for (let i = 0; i < METHOD_BYTES.length; i++) {
      if (matches(buffer, this.methodStart, this.methodEnd, METHOD_BYTES[i] as Buffer)) {
        this.method = i;
        return undefined;
      }
    }
    const refused =
      matches(buffer, this.methodStart, this.methodEnd, CONNECT) ||
      matches(buffer, this.methodStart, this.methodEnd, TRACE);
    return refused ? REFUSALS.methodNotAllowed : undefined;
  }

  #readTarget(buffer: Buffer): Refusal | undefined {
    this.targetIsAbsolute = false;
    this.targetNeedsSlash = false;
    this.targetIsAsterisk = false;
    const hosts = this.occurrences[Field.host] as number;
    if (hosts > 1 || (hosts === 0 && this.minorVersion === 1)) return REFUSALS.badHost;
    const first = buffer[this.targetStart];
    if (first === 0x2f) return this.#readHost(buffer);
    if (first === 0x2a && this.targetEnd - this.targetStart === 1 && this.method === Method.options) {
      this.targetIsAsterisk = true;
      return this.#readHost(buffer);
    }
    return this.#readAbsolute(buffer);
  }

  #readHost(buffer: Buffer): Refusal | undefined {
    const at = this.first[Field.host] as number;
    // HTTP/1.0 without Host: there is no name to route by.
    if (at < 0) return REFUSALS.badHost;
    return this.#readAuthority(buffer, this.valueStart[at] as number, this.valueEnd[at] as number);
  }

  #readAbsolute(buffer: Buffer): Refusal | undefined {
    const scheme = [HTTP, HTTPS].find((word) =>
      equalsIgnoringCase(buffer, this.targetStart, Math.min(this.targetStart + word.length, this.targetEnd), word),
    );
    if (!scheme) return REFUSALS.badTarget;
    const start = this.targetStart + scheme.length;
    let stop = start;
    while (stop < this.targetEnd && buffer[stop] !== 0x2f && buffer[stop] !== 0x3f) stop++;
    const refusal = this.#readAuthority(buffer, start, stop);
    if (refusal) return refusal;
    const host = this.first[Field.host] as number;
    if (host >= 0) {
      const same = buffer.toString('latin1', this.valueStart[host], this.valueEnd[host]).toLowerCase();
      if (same !== buffer.toString('latin1', start, stop).toLowerCase()) return REFUSALS.hostMismatch;
    }
    this.targetIsAbsolute = true;
    this.targetIsAsterisk = this.method === Method.options && stop === this.targetEnd;
    this.targetNeedsSlash = !this.targetIsAsterisk && (stop === this.targetEnd || buffer[stop] === 0x3f);
    this.targetStart = stop;
    return undefined;
  }

  /** `uri-host [ ":" port ]` (RFC 3986 section 3.2) without userinfo and percent-encoding. */
  #readAuthority(buffer: Buffer, start: number, end: number): Refusal | undefined {
    this.authorityStart = start;
    this.authorityEnd = end;
    let at = start;
    if (buffer[at] === 0x5b) {
      at++;
      while (at < end && IPV6[buffer[at] as number] === 1) at++;
      if (at >= end || buffer[at] !== 0x5d || at === start + 1) return REFUSALS.badHost;
      at++;
    } else {
      while (at < end && HOST_NAME[buffer[at] as number] === 1) at++;
    }
    if (at === start) return REFUSALS.badHost;
    this.hostStart = start;
    this.hostEnd = at;
    if (at === end) return undefined;
    if (buffer[at] !== 0x3a || at + 1 >= end || end - at > 6) return REFUSALS.badHost;
    let port = 0;
    for (let i = at + 1; i < end; i++) {
      const digit = (buffer[i] as number) - 0x30;
      if (digit < 0 || digit > 9) return REFUSALS.badHost;
      port = port * 10 + digit;
    }
    return port < 1 || port > 65_535 ? REFUSALS.badHost : undefined;
  }

  #readFraming(buffer: Buffer): Refusal | undefined {
    this.framing = Framing.none;
    this.bodyLength = 0;
    const chunked = isChunked(this, buffer);
    if (typeof chunked === 'object') return chunked;
    if (chunked) {
      this.framing = Framing.chunked;
      return undefined;
    }
    const length = contentLength(this, buffer);
    if (typeof length === 'object') return length;
    if (length > 0) {
      this.framing = Framing.length;
      this.bodyLength = length;
    }
    return undefined;
  }

  #readIntents(buffer: Buffer): Refusal | undefined {
    this.expectsContinue = false;
    if (this.has(Field.expect) && this.minorVersion === 1) {
      const at = this.first[Field.expect] as number;
      const known = equalsIgnoringCase(buffer, this.valueStart[at] as number, this.valueEnd[at] as number, CONTINUE);
      if (!known || this.occurrences[Field.expect] !== 1) return REFUSALS.badExpect;
      this.expectsContinue = this.framing !== Framing.none;
    }
    this.wantsWebsocket = false;
    if (
      this.connectionUpgrade &&
      this.method === Method.get &&
      this.minorVersion === 1 &&
      this.framing === Framing.none
    ) {
      const at = this.first[Field.upgrade] as number;
      this.wantsWebsocket =
        at >= 0 &&
        this.occurrences[Field.upgrade] === 1 &&
        equalsIgnoringCase(buffer, this.valueStart[at] as number, this.valueEnd[at] as number, WEBSOCKET);
    }
    return undefined;
  }
}

function versionRefusal(byte: number): Refusal {
  return byte === LF ? REFUSALS.bareLf : REFUSALS.badVersion;
}

function hasEncodedNul(buffer: Buffer, start: number, end: number): boolean {
  for (let i = start; i + 2 < end; i++) {
    if (buffer[i] === PERCENT && buffer[i + 1] === 0x30 && buffer[i + 2] === 0x30) return true;
  }
  return false;
}
