import { Field } from './fields.ts';
import type { Head } from './head.ts';
import { REFUSALS, type Refusal } from './refusal.ts';
import { bytesOf, CR, equalsIgnoringCase, HTAB, SP, TOKEN } from './syntax.ts';

/** How the end of a body is found, RFC 9112 section 6.3. */
export const Framing = { none: 0, length: 1, chunked: 2, untilClose: 3 } as const;
export type FramingKind = (typeof Framing)[keyof typeof Framing];

const CHUNKED = bytesOf('chunked');

/** The one `Content-Length`, -1 where there is none, or a refusal. */
export function contentLength(head: Head, buffer: Buffer): number | Refusal {
  const occurrences = head.occurrences[Field.contentLength] as number;
  if (occurrences === 0) return -1;
  if (occurrences > 1) return REFUSALS.badLength;
  const at = head.first[Field.contentLength] as number;
  const start = head.valueStart[at] as number;
  const end = head.valueEnd[at] as number;
  const digits = end - start;
  // A leading zero reads as octal elsewhere.
  if (digits === 0 || (digits > 1 && buffer[start] === 0x30)) return REFUSALS.badLength;
  let length = 0;
  for (let i = start; i < end; i++) {
    const digit = (buffer[i] as number) - 0x30;
    if (digit < 0 || digit > 9) return REFUSALS.badLength;
    length = length * 10 + digit;
  }
  // Well formed, and past 2^53 two readers could count differently; 15 digits stay below.
  return digits > 15 ? REFUSALS.bodyTooLarge : length;
}

/**
 * Whether the body is chunked. Anything but exactly one clean `chunked` is refused: what two readers could take
 * differently must not pass (RFC 9112 section 6.1, request smuggling).
 */
export function isChunked(head: Head, buffer: Buffer): boolean | Refusal {
  const occurrences = head.occurrences[Field.transferEncoding] as number;
  if (occurrences === 0) return false;
  if (occurrences > 1 || head.minorVersion === 0) return REFUSALS.badCoding;
  if (head.has(Field.contentLength)) return REFUSALS.lengthAndCoding;
  const at = head.first[Field.transferEncoding] as number;
  const start = head.valueStart[at] as number;
  const end = head.valueEnd[at] as number;
  // Optional white space to RFC 9110, and part of the name to llhttp: behind a tab Node finds no chunks.
  for (let i = end; buffer[i] !== CR; i++) if (buffer[i] === HTAB) return REFUSALS.badCoding;
  if (equalsIgnoringCase(buffer, start, end, CHUNKED)) return true;
  return otherCoding(buffer, start, end);
}

/** A well-formed list of codings that are all foreign is "not implemented"; everything else is an attack or a bug. */
function otherCoding(buffer: Buffer, start: number, end: number): Refusal {
  let at = start;
  while (true) {
    const from = at;
    while (at < end && TOKEN[buffer[at] as number] === 1) at++;
    const last = at >= end;
    if (at === from) return REFUSALS.badCoding;
    const coding = buffer.toString('latin1', from, at).toLowerCase();
    if (coding.includes('chunked') && !(coding === 'chunked' && last)) return REFUSALS.badCoding;
    if (last) return REFUSALS.unknownCoding;
    while (at < end && (buffer[at] === SP || buffer[at] === HTAB)) at++;
    if (buffer[at] !== 0x2c) return REFUSALS.badCoding;
    at++;
    while (at < end && (buffer[at] === SP || buffer[at] === HTAB)) at++;
    if (at >= end) return REFUSALS.badCoding;
  }
}
