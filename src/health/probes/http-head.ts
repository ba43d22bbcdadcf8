const TAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const SP = 0x20;
const COLON = 0x3a;
const VERSION = Buffer.from('HTTP/1.', 'latin1');
const NOT_HTTP = 'the answer is not HTTP/1';
/** The type of the TLS record with which a TLS server answers a plain request. */
const TLS_ALERT = 0x15;

/** RFC 9110 section 5.6.2. */
const TOKEN = table((byte) => /[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(String.fromCharCode(byte)));
/** RFC 9110 section 5.5: visible characters, obs-text, space and tab. */
const VALUE = table((byte) => byte === TAB || (byte >= SP && byte !== 0x7f));

/**
 * The head of a response, as far as a probe needs it: status, framing, and whether the connection may be used again.
 * Strict (RFC 9112 sections 4 to 6): what is ambiguous is a failure, because the data path would refuse it as well.
 */
export class ProbeResponseHead {
  status = 0;
  chunked = false;
  /** -1 = not given. */
  contentLength = -1;
  keepAlive = false;

  /** Reads the head in `[start, end)`, its empty line included. What is wrong with it, or undefined. */
  parse(bytes: Buffer, start: number, end: number): string | undefined {
    this.chunked = false;
    this.contentLength = -1;
    const problem = refuseBeginning(bytes, start, end);
    if (problem !== undefined) return problem;
    const minor = digit(bytes[start + 7]);
    const at = start + 8;
    this.status =
      bytes[at] === SP ? digit(bytes[at + 1]) * 100 + digit(bytes[at + 2]) * 10 + digit(bytes[at + 3]) : Number.NaN;
    if (minor > 1 || !(this.status >= 100 && this.status <= 599)) return 'the status line is malformed';
    if (bytes[at + 4] !== SP && bytes[at + 4] !== CR) return 'the status line is malformed';
    this.keepAlive = minor === 1;
    let line = endOfLine(bytes, at + 4);
    while (line > 0 && line < end) {
      if (bytes[line] === CR) return line + 2 === end ? this.#refuseFraming(minor) : 'the head holds a bare CR';
      const colon = endOfToken(bytes, line);
      if (colon === line || bytes[colon] !== COLON) return 'a header field is malformed';
      const next = endOfLine(bytes, colon + 1);
      if (next < 0) return 'a header field holds a control character';
      const bad = this.#field(bytes, line, colon, next - 2);
      if (bad !== undefined) return bad;
      line = next;
    }
    return 'the status line holds a control character';
  }

  #field(bytes: Buffer, start: number, colon: number, end: number): string | undefined {
    // Only three names matter, and no other common one has their lengths.
    const length = colon - start;
    if (length !== 10 && length !== 14 && length !== 17) return undefined;
    const name = bytes.toString('latin1', start, colon).toLowerCase();
    if (name === 'connection') {
      for (const option of bytes
        .toString('latin1', colon + 1, end)
        .toLowerCase()
        .split(',')) {
        if (option.trim() === 'close') this.keepAlive = false;
      }
      return undefined;
    }
    const value = bytes.toString('latin1', colon + 1, end).replace(/^[ \t]+|[ \t]+$/g, '');
    if (name === 'content-length') {
      if (this.contentLength >= 0 || !/^(?:0|[1-9]\d{0,14})$/.test(value))
        return 'its Content-Length is malformed or given twice';
      this.contentLength = Number(value);
    } else if (name === 'transfer-encoding') {
      if (this.chunked || value.toLowerCase() !== 'chunked') return 'its Transfer-Encoding is not chunked alone';
      this.chunked = true;
    }
    return undefined;
  }

  #refuseFraming(minor: number): string | undefined {
    if (!this.chunked) return undefined;
    if (this.contentLength >= 0) return 'it has both Content-Length and Transfer-Encoding';
    return minor === 0 ? 'it has Transfer-Encoding in HTTP/1.0' : undefined;
  }
}

/** What is wrong with the first bytes of an answer, as far as they have come; undefined = nothing yet. */
export function refuseBeginning(bytes: Buffer, start: number, end: number): string | undefined {
  if (bytes[start] === TLS_ALERT) return `${NOT_HTTP}: the port seems to speak TLS`;
  for (let at = 0; at < VERSION.length && start + at < end; at++) {
    if (bytes[start + at] !== VERSION[at]) return NOT_HTTP;
  }
  return undefined;
}

function digit(byte: number | undefined): number {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39 ? byte - 0x30 : Number.NaN;
}

/** The index past the CRLF of the line, or -1 where a byte does not belong in it. */
function endOfLine(bytes: Buffer, from: number): number {
  let at = from;
  while (VALUE[bytes[at] ?? 0] === 1) at++;
  return bytes[at] === CR && bytes[at + 1] === LF ? at + 2 : -1;
}

function endOfToken(bytes: Buffer, from: number): number {
  let at = from;
  while (TOKEN[bytes[at] ?? 0] === 1) at++;
  return at;
}

function table(holds: (byte: number) => boolean): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, byte) => (holds(byte) ? 1 : 0));
}
