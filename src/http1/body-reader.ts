import { Framing, type FramingKind } from './framing.ts';
import { READ_BUFFER_BYTES } from './transport.ts';
import { COLON, CR, FIELD_VALUE, HEX, LF, TOKEN } from './syntax.ts';

const SEMICOLON = 0x3b;
const EQUALS = 0x3d;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** What leaves a BodyReader. */
export const Output = {
  /** The same framing as came in, in its plainest form: no chunk extensions, no trailers. */
  wire: 0,
  /** Content alone: for a recipient without chunked coding. */
  content: 1,
  /** Chunked, for content whose end is the end of the connection. */
  chunked: 2,
} as const;
export type OutputKind = (typeof Output)[keyof typeof Output];

export interface BodySink {
  /**
   * Bytes of the body in `buffer[start, end)`, never empty. Where `buffer` is the one that was given to `read`, it is
   * the caller's; else it is scratch memory that is only good until this returns.
   */
  onBody(buffer: Buffer, start: number, end: number): void;
}

/** Chunk extensions and trailers are read and dropped, up to this many bytes a message. */
const MAX_DROPPED_BYTES = 4096;
/** 13 hexadecimal digits stay below 2^53. */
const MAX_SIZE_DIGITS = 13;

const State = {
  size: 0,
  extension: 1,
  sizeLf: 2,
  data: 3,
  dataCr: 4,
  dataLf: 5,
  trailer: 6,
  trailerName: 7,
  trailerValue: 8,
  trailerLf: 9,
  endLf: 10,
} as const;

/** Where inside a chunk extension: `;name`, `;name=token`, `;name="quoted"`. */
const Extension = { nameStart: 0, name: 1, valueStart: 2, value: 3, quoted: 4, escaped: 5, afterQuote: 6 } as const;

/** Room for one read, and for the chunk header that an earlier read left unfinished. */
const scratch: Buffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES * 2 + 64);

const HEX_DIGITS = Buffer.from('0123456789abcdef');

/** Writes `size` in hexadecimal and CRLF at `at`; returns the offset behind it. */
function writeChunkSize(into: Buffer, at: number, size: number): number {
  let digits = 1;
  for (let rest = Math.floor(size / 16); rest > 0; rest = Math.floor(rest / 16)) digits++;
  let rest = size;
  for (let i = digits - 1; i >= 0; i--) {
    into[at + i] = HEX_DIGITS[rest % 16] as number;
    rest = Math.floor(rest / 16);
  }
  into[at + digits] = CR;
  into[at + digits + 1] = LF;
  return at + digits + 2;
}

export const LAST_CHUNK: Buffer = Buffer.from('0\r\n\r\n');

/** Finds the end of one body and hands its bytes on, RFC 9112 sections 6 and 7. One object serves many bodies in turn. */
export class BodyReader {
  done = true;
  /** Bytes of content read so far. */
  contentBytes = 0;
  #framing: FramingKind = Framing.none;
  #output: OutputKind = Output.wire;
  /** Content bytes to come: of the body, or of the chunk. */
  #remaining = 0;
  #state: number = State.size;
  #digits = 0;
  #dropped = 0;
  #extension: number = Extension.nameStart;
  /** Where in scratch the transcoded bytes end. */
  #written = 0;
  /** Whether the bytes of this read may go on as they are, and up to where. */
  #clean = true;
  #cleanEnd = 0;

  begin(framing: FramingKind, lengthBytes: number, output: OutputKind): void {
    this.#framing = framing;
    this.#output = output;
    this.#remaining = framing === Framing.length ? lengthBytes : 0;
    this.#state = State.size;
    this.#digits = 0;
    this.#dropped = 0;
    this.contentBytes = 0;
    this.done = framing === Framing.none;
  }

  /**
   * Takes what belongs to the body out of `buffer[start, end)`. Returns the offset behind it (below `end` only where
   * the body is done), or -1 where the chunked coding is broken: nothing from there on was handed on then.
   */
  read(buffer: Buffer, start: number, end: number, sink: BodySink): number {
    switch (this.#framing) {
      case Framing.none:
        return start;
      case Framing.length: {
        const stop = Math.min(end, start + this.#remaining);
        this.#remaining -= stop - start;
        this.contentBytes += stop - start;
        this.done = this.#remaining === 0;
        if (stop > start) sink.onBody(buffer, start, stop);
        return stop;
      }
      case Framing.untilClose:
        this.contentBytes += end - start;
        if (this.#output === Output.chunked) this.#encode(buffer, start, end, sink);
        else sink.onBody(buffer, start, end);
        return end;
      case Framing.chunked:
        return this.#readChunks(buffer, start, end, sink);
    }
  }

  /** The connection has ended. True where that is how this body was to end; the last chunk, if one is due, goes to the sink. */
  finishAtClose(sink: BodySink): boolean {
    if (this.#framing !== Framing.untilClose) return this.done;
    this.done = true;
    if (this.#output === Output.chunked) sink.onBody(LAST_CHUNK, 0, LAST_CHUNK.length);
    return true;
  }

  #encode(buffer: Buffer, start: number, end: number, sink: BodySink): void {
    for (let from = start; from < end; from += READ_BUFFER_BYTES) {
      const stop = Math.min(end, from + READ_BUFFER_BYTES);
      let at = writeChunkSize(scratch, 0, stop - from);
      at += buffer.copy(scratch, at, from, stop);
      scratch[at] = CR;
      scratch[at + 1] = LF;
      sink.onBody(scratch, 0, at + 2);
    }
  }

  /** In turns that scratch has room for: what was held back while another request was answered can be longer. */
  #readChunks(buffer: Buffer, start: number, end: number, sink: BodySink): number {
    let at = start;
    do {
      at = this.#readChunked(buffer, at, Math.min(end, at + READ_BUFFER_BYTES), sink);
    } while (at >= 0 && at < end && !this.done);
    return at;
  }

  #readChunked(buffer: Buffer, start: number, end: number, sink: BodySink): number {
    const state = this.#state;
    const remaining = this.#remaining;
    const digits = this.#digits;
    const dropped = this.#dropped;
    const extension = this.#extension;
    const contentBytes = this.contentBytes;
    // A read that begins inside a line continues one of which nothing was passed on yet.
    this.#clean =
      this.#output === Output.wire &&
      (state === State.data || state === State.dataCr || (state === State.size && digits === 0));
    this.#cleanEnd = start;
    const stop = this.#scan(buffer, start, end, undefined);
    if (stop < 0) return -1;
    if (this.#clean) {
      if (this.#cleanEnd > start) sink.onBody(buffer, start, this.#cleanEnd);
      return stop;
    }
    this.#state = state;
    this.#remaining = remaining;
    this.#digits = digits;
    this.#dropped = dropped;
    this.#extension = extension;
    this.contentBytes = contentBytes;
    this.done = false;
    this.#written = 0;
    this.#scan(buffer, start, end, scratch);
    if (this.#written > 0) sink.onBody(scratch, 0, this.#written);
    return stop;
  }

  /** One pass of the state machine. With `into`, writes the plainest form of what it reads there. */
  #scan(buffer: Buffer, start: number, end: number, into: Buffer | undefined): number {
    let at = start;
    while (at < end) {
      if (this.#state === State.data) {
        const stop = Math.min(end, at + this.#remaining);
        if (into) this.#written += buffer.copy(into, this.#written, at, stop);
        this.contentBytes += stop - at;
        this.#remaining -= stop - at;
        at = stop;
        this.#cleanEnd = at;
        if (this.#remaining === 0) this.#state = State.dataCr;
        continue;
      }
      if (!this.#step(buffer[at] as number, into)) return -1;
      at++;
      if (this.#state === State.data || (this.#state === State.size && this.#digits === 0)) this.#cleanEnd = at;
      if (this.done) {
        this.#cleanEnd = at;
        return at;
      }
    }
    return at;
  }

  /** One byte outside the data of a chunk. False: refused. */
  #step(byte: number, into: Buffer | undefined): boolean {
    switch (this.#state) {
      case State.size:
        return this.#stepSize(byte);
      case State.extension:
        return this.#stepExtension(byte);
      case State.sizeLf:
        return byte === LF && this.#endSize(into);
      case State.dataCr:
        this.#state = State.dataLf;
        return byte === CR;
      case State.dataLf:
        if (into && this.#output === Output.wire) this.#write(into, CR, LF);
        this.#state = State.size;
        this.#digits = 0;
        return byte === LF;
      case State.trailer:
        if (byte === CR) {
          this.#state = State.endLf;
          return true;
        }
        // A field line: it is dropped, and must be one all the same.
        this.#clean = false;
        this.#state = State.trailerName;
        return TOKEN[byte] === 1 && this.#drop();
      case State.trailerName:
        if (byte === COLON) this.#state = State.trailerValue;
        else if (TOKEN[byte] === 0) return false;
        return this.#drop();
      case State.trailerValue:
        if (byte === CR) this.#state = State.trailerLf;
        else if (FIELD_VALUE[byte] === 0) return false;
        return this.#drop();
      case State.trailerLf:
        this.#state = State.trailer;
        return byte === LF;
      default:
        if (byte !== LF) return false;
        this.done = true;
        if (into && this.#output === Output.wire) this.#written += LAST_CHUNK.copy(into, this.#written);
        return true;
    }
  }

  #stepSize(byte: number): boolean {
    const digit = HEX[byte] as number;
    if (digit !== 255) {
      if (this.#digits === 0) this.#remaining = 0;
      else if (this.#remaining === 0) this.#clean = false;
      this.#remaining = this.#remaining * 16 + digit;
      return ++this.#digits <= MAX_SIZE_DIGITS;
    }
    if (this.#digits === 0) return false;
    if (byte === CR) {
      this.#state = State.sizeLf;
      return true;
    }
    if (byte !== SEMICOLON) return false;
    this.#clean = false;
    this.#state = State.extension;
    this.#extension = Extension.nameStart;
    return this.#drop();
  }

  #drop(): boolean {
    return ++this.#dropped <= MAX_DROPPED_BYTES;
  }

  /** RFC 9112 section 7.1.1, without the "bad" white space it lets recipients put up with. */
  #stepExtension(byte: number): boolean {
    if (!this.#drop()) return false;
    switch (this.#extension) {
      case Extension.quoted:
        if (byte === QUOTE) this.#extension = Extension.afterQuote;
        else if (byte === BACKSLASH) this.#extension = Extension.escaped;
        return FIELD_VALUE[byte] === 1;
      case Extension.escaped:
        this.#extension = Extension.quoted;
        return FIELD_VALUE[byte] === 1;
      case Extension.nameStart:
        this.#extension = Extension.name;
        return TOKEN[byte] === 1;
      case Extension.valueStart:
        this.#extension = byte === QUOTE ? Extension.quoted : Extension.value;
        return byte === QUOTE || TOKEN[byte] === 1;
      default:
        if (byte === CR) {
          this.#state = State.sizeLf;
          return true;
        }
        if (byte === SEMICOLON) {
          this.#extension = Extension.nameStart;
          return true;
        }
        if (byte === EQUALS && this.#extension === Extension.name) {
          this.#extension = Extension.valueStart;
          return true;
        }
        return this.#extension !== Extension.afterQuote && TOKEN[byte] === 1;
    }
  }

  #endSize(into: Buffer | undefined): boolean {
    this.#digits = 0;
    if (this.#remaining === 0) {
      this.#state = State.trailer;
      return true;
    }
    if (into && this.#output === Output.wire) this.#written = writeChunkSize(into, this.#written, this.#remaining);
    this.#state = State.data;
    return true;
  }

  #write(into: Buffer, first: number, second: number): void {
    into[this.#written++] = first;
    into[this.#written++] = second;
  }
}
