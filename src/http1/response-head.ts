import { Field } from './fields.ts';
import { contentLength, Framing, type FramingKind, isChunked } from './framing.ts';
import { Head, type HeadLimits, INCOMPLETE, REFUSED } from './head.ts';
import { REFUSALS } from './refusal.ts';
import { bytesOf, CR, equalsIgnoringCase, FIELD_VALUE, LF, SP } from './syntax.ts';

const VERSION = bytesOf('HTTP/1.');
const WEBSOCKET = bytesOf('websocket');

/** A response head, RFC 9112 section 4. What is refused here is the upstream's fault: the status of a refusal means nothing. */
export class ResponseHead extends Head {
  status = 0;
  /** From the status code to the end of the reason phrase: `200 OK`. */
  statusStart = 0;
  statusEnd = 0;
  framing: FramingKind = Framing.none;
  bodyLength = 0;
  keepAlive = true;
  /** Seconds of `Keep-Alive: timeout=`, or -1. */
  keepAliveSeconds = -1;
  /** 101 to `websocket`. */
  switchesToWebsocket = false;

  /** As RequestHead.parse. `toHead`: the request was a HEAD, so no body follows whatever the fields say. */
  parse(buffer: Buffer, start: number, end: number, limits: HeadLimits, toHead: boolean): number {
    this.refusal = undefined;
    const fieldsAt = this.#parseLine(buffer, start, end);
    const parsed = this.parseRest(buffer, start, fieldsAt, end, limits);
    if (parsed === INCOMPLETE || parsed === REFUSED) return parsed;
    return this.#interpret(buffer, toHead) ? parsed : REFUSED;
  }

  #parseLine(buffer: Buffer, start: number, end: number): number {
    for (let i = 0; i < VERSION.length; i++) {
      if (start + i >= end) return INCOMPLETE;
      if (buffer[start + i] !== VERSION[i]) return this.refuse(REFUSALS.badRequestLine);
    }
    let at = start + VERSION.length;
    // minor, SP, three digits, and what follows them
    if (at + 6 > end) return INCOMPLETE;
    const minor = (buffer[at] as number) - 0x30;
    if ((minor !== 0 && minor !== 1) || buffer[at + 1] !== SP) return this.refuse(REFUSALS.badVersion);
    this.minorVersion = minor;
    at += 2;
    this.statusStart = at;
    let status = 0;
    for (let i = 0; i < 3; i++, at++) {
      const digit = (buffer[at] as number) - 0x30;
      if (digit < 0 || digit > 9) return this.refuse(REFUSALS.badRequestLine);
      status = status * 10 + digit;
    }
    if (status < 100 || status > 599) return this.refuse(REFUSALS.badRequestLine);
    // RFC 9110 section 15.2: HTTP/1.0 has no interim responses.
    if (status < 200 && minor === 0) return this.refuse(REFUSALS.badVersion);
    this.status = status;
    // Many servers leave out the space before an empty reason phrase.
    if (buffer[at] !== SP && buffer[at] !== CR) return this.refuse(REFUSALS.badRequestLine);
    while (at < end && FIELD_VALUE[buffer[at] as number] === 1) at++;
    if (at >= end) return INCOMPLETE;
    if (buffer[at] !== CR) return this.refuse(buffer[at] === LF ? REFUSALS.bareLf : REFUSALS.badFieldValue);
    if (at + 1 >= end) return INCOMPLETE;
    if (buffer[at + 1] !== LF) return this.refuse(REFUSALS.bareCr);
    this.statusEnd = at;
    return at + 2;
  }

  #interpret(buffer: Buffer, toHead: boolean): boolean {
    this.readConnection(buffer);
    this.keepAlive = this.persists;
    this.keepAliveSeconds = this.has(Field.keepAlive) ? this.#readKeepAlive(buffer) : -1;
    this.switchesToWebsocket = false;
    this.framing = Framing.none;
    this.bodyLength = 0;
    const chunked = isChunked(this, buffer);
    const length = contentLength(this, buffer);
    if (typeof chunked === 'object' || typeof length === 'object') {
      this.refusal = typeof chunked === 'object' ? chunked : (length as typeof this.refusal);
      return false;
    }
    if (this.status === 101) {
      const at = this.first[Field.upgrade] as number;
      this.switchesToWebsocket =
        at >= 0 && equalsIgnoringCase(buffer, this.valueStart[at] as number, this.valueEnd[at] as number, WEBSOCKET);
      return true;
    }
    if (toHead || this.status < 200 || this.status === 204 || this.status === 304) return true;
    if (chunked) this.framing = Framing.chunked;
    else if (length > 0) {
      this.framing = Framing.length;
      this.bodyLength = length;
    } else if (length < 0) {
      this.framing = Framing.untilClose;
      this.keepAlive = false;
    }
    return true;
  }

  #readKeepAlive(buffer: Buffer): number {
    const match = /(?:^|[,\s])timeout\s*=\s*"?(\d{1,6})/i.exec(this.text(buffer, Field.keepAlive) ?? '');
    return match ? Number(match[1]) : -1;
  }
}
