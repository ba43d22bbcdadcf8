import { ProbeResponseHead, refuseBeginning } from './http-head.ts';

/** Where a reader stands after some bytes. After `failed`, see `failure`, and push nothing more. */
export type Progress = 'more' | 'done' | 'failed';

/** Told of the body as it comes; `bytes` is valid during the call only. False: the rest is not wanted. */
export type BodySink = (bytes: Buffer, start: number, end: number) => boolean;

/** Reads one response after another from the bytes of a connection: all that the HTTP probe needs of HTTP. */
export interface HttpProbeTransport {
  /** Forgets the last response. `toHead`: the request is a HEAD, so that its answer has no body. */
  begin(toHead: boolean, body: BodySink): void;
  /** Bytes of the connection in `[start, end)`. */
  push(bytes: Buffer, start: number, end: number): Progress;
  /** The server has ended the connection. */
  end(): Progress;
  /** 0 until the final head is complete. */
  readonly status: number;
  /** Some byte of an answer has come. */
  readonly begun: boolean;
  /** After `done`: the connection may carry another request. */
  readonly reusable: boolean;
  /** What is wrong with the answer; holds none of its bytes. */
  readonly failure: string;
}

const MAX_HEAD_BYTES = 32 * 1024;
const MAX_LINE_BYTES = 1024;
const MAX_TRAILER_BYTES = 8 * 1024;
/** Chunks of up to 4 GiB: more digits than that are an attack on somebody's integers. */
const MAX_SIZE_DIGITS = 8;
const LF = 0x0a;
const CR = 0x0d;
const SEMICOLON = 0x3b;
const END_OF_HEAD = Buffer.from('\r\n\r\n', 'latin1');

type State =
  | 'head'
  | 'fixed-body'
  | 'body-until-close'
  | 'chunk-size'
  | 'chunk-extension'
  | 'chunk-size-lf'
  | 'chunk-data'
  | 'chunk-cr'
  | 'chunk-lf'
  | 'trailer'
  | 'done'
  | 'failed';

/** A minimal strict reader of HTTP/1 responses (RFC 9112). Interim responses are skipped; the first final one counts. */
export class HttpResponseReader implements HttpProbeTransport {
  status = 0;
  begun = false;
  failure = '';
  readonly #head = new ProbeResponseHead();
  #toHead = false;
  #sink: BodySink = () => true;
  #state: State = 'head';
  /** The beginning of a head that comes in pieces. */
  #pending: Buffer | undefined;
  /** Of all heads, interim ones included. */
  #headBytes = 0;
  /** Body bytes that the current length or chunk still promises. */
  #left = 0;
  /** Of the current line of the chunked coding, or of all trailers. */
  #lineBytes = 0;
  #trailerLineBytes = 0;
  #lastByte = 0;
  #surplus = false;

  get reusable(): boolean {
    return this.#state === 'done' && this.#head.keepAlive && !this.#surplus;
  }

  begin(toHead: boolean, body: BodySink): void {
    this.status = 0;
    this.begun = false;
    this.failure = '';
    this.#toHead = toHead;
    this.#sink = body;
    this.#state = 'head';
    this.#pending = undefined;
    this.#headBytes = 0;
    this.#surplus = false;
  }

  push(bytes: Buffer, start: number, end: number): Progress {
    this.begun = true;
    if (this.#pending !== undefined) {
      const all = Buffer.concat([this.#pending, bytes.subarray(start, end)]);
      this.#pending = undefined;
      return this.#read(all, 0, all.length);
    }
    return this.#read(bytes, start, end);
  }

  end(): Progress {
    if (this.#state === 'body-until-close') this.#state = 'done';
    else if (!this.#over)
      this.#fail(
        this.status === 0
          ? 'the connection was closed before an answer'
          : 'the connection was closed within the answer',
      );
    return this.#progress;
  }

  get #over(): boolean {
    return this.#state === 'done' || this.#state === 'failed';
  }

  get #progress(): Progress {
    return this.#state === 'done' || this.#state === 'failed' ? this.#state : 'more';
  }

  #fail(failure: string): number {
    this.failure = failure;
    this.#state = 'failed';
    return 0;
  }

  #read(bytes: Buffer, start: number, end: number): Progress {
    let at = start;
    while (at < end && !this.#over)
      at = this.#state === 'head' ? this.#readHead(bytes, at, end) : this.#readBody(bytes, at, end);
    if (at < end) this.#surplus = true;
    return this.#progress;
  }

  #readHead(bytes: Buffer, start: number, end: number): number {
    const found = bytes.indexOf(END_OF_HEAD, start);
    // The buffer is shared: what lies past `end` belongs to somebody else's read.
    const after = found >= 0 && found + 4 <= end ? found + 4 : -1;
    this.#headBytes += after < 0 ? 0 : after - start;
    if ((after < 0 ? this.#headBytes + end - start : this.#headBytes) > MAX_HEAD_BYTES)
      return this.#fail('its head is longer than 32 KiB');
    if (after < 0) {
      const problem =
        refuseBeginning(bytes, start, end) ?? (holdsBareLf(bytes, start, end) ? 'the head holds a bare LF' : undefined);
      if (problem !== undefined) return this.#fail(problem);
      this.#pending = Buffer.from(bytes.subarray(start, end));
      return end;
    }
    const problem = this.#head.parse(bytes, start, after);
    if (problem !== undefined) return this.#fail(problem);
    if (this.#head.status === 101) return this.#fail('it switches protocols, which nobody has asked for');
    if (this.#head.status >= 200) this.#enterBody();
    return after;
  }

  /** RFC 9112 section 6.3. */
  #enterBody(): void {
    const { status, chunked, contentLength } = this.#head;
    this.status = status;
    this.#left = contentLength;
    if (this.#toHead || status === 204 || status === 304 || contentLength === 0) this.#state = 'done';
    else if (chunked) this.#enterChunk();
    else if (contentLength > 0) this.#state = 'fixed-body';
    else {
      this.#head.keepAlive = false;
      this.#state = 'body-until-close';
    }
  }

  #enterChunk(): void {
    this.#state = 'chunk-size';
    this.#left = 0;
    this.#lineBytes = 0;
  }

  #readBody(bytes: Buffer, start: number, end: number): number {
    if (this.#state === 'body-until-close') return this.#deliver(bytes, start, end, false);
    if (this.#state === 'fixed-body' || this.#state === 'chunk-data') {
      const until = Math.min(end, start + this.#left);
      this.#left -= until - start;
      return this.#deliver(bytes, start, until, this.#left === 0);
    }
    this.#readCoding(bytes[start] ?? 0);
    return start + 1;
  }

  #deliver(bytes: Buffer, start: number, end: number, complete: boolean): number {
    if (!this.#sink(bytes, start, end)) {
      this.#state = 'done';
      this.#surplus = true;
    } else if (complete) this.#state = this.#state === 'chunk-data' ? 'chunk-cr' : 'done';
    return end;
  }

  /** One byte of what the chunked coding puts around the data: RFC 9112 section 7.1. */
  #readCoding(byte: number): void {
    const state = this.#state;
    if (state === 'chunk-size') this.#readSize(byte);
    else if (state === 'chunk-extension') this.#readExtension(byte);
    else if (state === 'trailer') this.#readTrailer(byte);
    else if (byte !== (state === 'chunk-cr' ? CR : LF)) this.#fail('its chunked coding is malformed');
    else if (state === 'chunk-cr') this.#state = 'chunk-lf';
    else if (state === 'chunk-lf') this.#enterChunk();
    else if (this.#left > 0) this.#state = 'chunk-data';
    else this.#enterTrailer();
  }

  #readExtension(byte: number): void {
    if (byte === CR) this.#state = 'chunk-size-lf';
    else if (byte < 0x20 || byte === 0x7f || ++this.#lineBytes > MAX_LINE_BYTES)
      this.#fail('its chunked coding is malformed');
  }

  #readSize(byte: number): void {
    const value = hexValue(byte);
    if (value >= 0) {
      this.#left = this.#left * 16 + value;
      if (++this.#lineBytes > MAX_SIZE_DIGITS) this.#fail('a chunk size is too long');
    } else if (this.#lineBytes === 0) this.#fail('its chunked coding is malformed');
    else if (byte === CR) this.#state = 'chunk-size-lf';
    else if (byte === SEMICOLON) this.#state = 'chunk-extension';
    else this.#fail('its chunked coding is malformed');
  }

  #enterTrailer(): void {
    this.#state = 'trailer';
    this.#lineBytes = 0;
    this.#trailerLineBytes = 0;
    this.#lastByte = LF;
  }

  /** Trailers are skipped; the empty line ends them. */
  #readTrailer(byte: number): void {
    if (++this.#lineBytes > MAX_TRAILER_BYTES) this.#fail('its trailers are longer than 8 KiB');
    else if (byte !== LF) this.#trailerLineBytes++;
    else if (this.#lastByte !== CR) this.#fail('its trailers hold a bare LF');
    else if (this.#trailerLineBytes === 1) this.#state = 'done';
    else this.#trailerLineBytes = 0;
    this.#lastByte = byte;
  }
}

function holdsBareLf(bytes: Buffer, start: number, end: number): boolean {
  for (let at = bytes.indexOf(LF, start); at >= 0 && at < end; at = bytes.indexOf(LF, at + 1)) {
    if (at === start || bytes[at - 1] !== CR) return true;
  }
  return false;
}

function hexValue(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
