import { crc32 } from 'node:zlib';

/**
 * One record of the log on disk: `crc32 length json LF`, the checksum as eight hexadecimal digits, the length in bytes.
 * JSON never holds a raw line feed, so a reader that lost its way finds the next record by looking for a head that
 * fits; the length and the checksum say whether it does.
 */
export function frame(json: string): string {
  return `${crc32(json).toString(16).padStart(8, '0')} ${Buffer.byteLength(json)} ${json}\n`;
}

/** No record is longer. A registration comes from a request of at most 64 KiB; escaping can multiply parts of it. */
export const MAX_RECORD_BYTES = 262_144;

const LONGEST_HEAD = 8 + 1 + 6 + 1;
const LINE_FEED = 0x0a;
const SPACE = 0x20;
const ZERO = 0x30;

/** A stretch of the log that holds no record that can be trusted. */
export interface Skipped {
  readonly offset: number;
  readonly bytes: number;
  /** Nothing follows: the write that was going on when the machine or the process stopped. */
  readonly atEnd: boolean;
}

type Frame = { readonly bodyAt: number; readonly end: number; readonly next: number };

/**
 * Reads records out of chunks of a log and survives damage anywhere: what cannot be trusted is skipped up to the next
 * whole record and reported once per stretch.
 *
 * A record that only looks like one cannot be smuggled in by way of damage: text from outside sits inside JSON
 * strings, where its quotes are escaped, so that no part of it is JSON with a key.
 */
export class FrameReader {
  readonly #onRecord: (json: string, offset: number) => void;
  readonly #onSkip: (skipped: Skipped) => void;
  #rest: Buffer = Buffer.alloc(0);
  /** Offset in the log of the first byte of `#rest`. */
  #restAt = 0;
  #skipFrom: number | undefined;

  constructor(onRecord: (json: string, offset: number) => void, onSkip: (skipped: Skipped) => void) {
    this.#onRecord = onRecord;
    this.#onSkip = onSkip;
  }

  push(chunk: Buffer): void {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#read(false);
  }

  /** After the last chunk. Returns the length of the log up to which it may be appended to. */
  end(): number {
    this.#read(true);
    const length = this.#restAt + this.#rest.length;
    const goodLength = this.#skipFrom ?? length;
    if (goodLength < length) this.#onSkip({ offset: goodLength, bytes: length - goodLength, atEnd: true });
    return goodLength;
  }

  #read(last: boolean): void {
    const bytes = this.#rest;
    let at = 0;
    while (at < bytes.length) {
      const found = readFrame(bytes, at);
      if (found === 'short' && !last) break;
      if (typeof found === 'string') {
        this.#skipFrom ??= this.#restAt + at;
        at = nextCandidate(bytes, at + 1);
        continue;
      }
      this.#endSkip(this.#restAt + at);
      this.#onRecord(bytes.toString('utf8', found.bodyAt, found.end), this.#restAt + at);
      at = found.next;
    }
    this.#rest = bytes.subarray(at);
    this.#restAt += at;
  }

  #endSkip(offset: number): void {
    if (this.#skipFrom === undefined) return;
    this.#onSkip({ offset: this.#skipFrom, bytes: offset - this.#skipFrom, atEnd: false });
    this.#skipFrom = undefined;
  }
}

/** The record that begins at `at`; `short` = more bytes are needed to tell. */
function readFrame(bytes: Buffer, at: number): Frame | 'short' | 'bad' {
  let checksum = 0;
  let cursor = at;
  for (; cursor < at + 8; cursor++) {
    const byte = bytes[cursor];
    if (byte === undefined) return 'short';
    const digit = hexDigit(byte);
    if (digit < 0) return 'bad';
    checksum = checksum * 16 + digit;
  }
  if (bytes[cursor] !== SPACE) return cursor < bytes.length ? 'bad' : 'short';
  cursor++;
  let length = 0;
  for (; bytes[cursor] !== SPACE; cursor++) {
    const byte = bytes[cursor];
    if (byte === undefined) return 'short';
    const digit = byte - ZERO;
    if (digit < 0 || digit > 9) return 'bad';
    length = length * 10 + digit;
    if (length === 0 || length > MAX_RECORD_BYTES) return 'bad';
  }
  if (length === 0) return 'bad';
  const bodyAt = cursor + 1;
  const end = bodyAt + length;
  if (end >= bytes.length) return 'short';
  if (crc32(bytes.subarray(bodyAt, end)) !== checksum) return 'bad';
  // A damaged line feed costs no record: what follows is found again.
  return { bodyAt, end, next: bytes[end] === LINE_FEED ? end + 1 : end };
}

/** Lower case only, as `frame` writes them. */
function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  return byte >= 0x61 && byte <= 0x66 ? byte - 0x57 : -1;
}

/** Where the next record may begin: at a head, or where the bytes end too early to tell. */
function nextCandidate(bytes: Buffer, from: number): number {
  for (let at = from; at < bytes.length; at++) {
    at = bytes.indexOf(SPACE, at);
    if (at < 0) break;
    if (at - 8 >= from && isHeadBefore(bytes, at)) return at - 8;
  }
  return Math.max(from, bytes.length - LONGEST_HEAD);
}

function isHeadBefore(bytes: Buffer, spaceAt: number): boolean {
  for (let at = spaceAt - 8; at < spaceAt; at++) if (hexDigit(bytes[at] ?? 0) < 0) return false;
  return true;
}
