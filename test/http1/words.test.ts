import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FIELD_VALUE, HTAB } from '../../src/http1/syntax.ts';
import { skipPlain, wordsOf } from '../../src/http1/words.ts';
import { latin1 } from './server-view.ts';

const plain = (byte: number): boolean => FIELD_VALUE[byte] === 1 && byte !== HTAB;

/** The same, a byte at a time. */
function skipSlowly(bytes: Buffer, start: number, end: number): number {
  let at = start;
  while (at + 4 <= end && bytes.subarray(at, at + 4).every(plain)) at += 4;
  return at;
}

describe('what may stand in a value, four bytes at a time', () => {
  it('is told from what may not, for every byte at every place beside every kind of neighbour', () => {
    const bytes = Buffer.alloc(4);
    const words = wordsOf(bytes);
    for (const neighbour of [0x00, 0x01, 0x1f, 0x20, 0x21, 0x7e, 0x7f, 0x80, 0x9f, 0xa0, 0xff]) {
      for (let place = 0; place < 4; place++) {
        bytes.fill(neighbour);
        for (let byte = 0; byte < 256; byte++) {
          bytes[place] = byte;
          expect([neighbour, place, byte, skipPlain(words, 0, 4)]).toEqual([
            neighbour,
            place,
            byte,
            plain(byte) && plain(neighbour) ? 4 : 0,
          ]);
        }
      }
    }
  });

  it('is skipped at any place of a buffer, of which nothing from the end on is looked at', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof({ weight: 20, arbitrary: fc.integer({ min: 0x20, max: 0x7e }) }, fc.nat(255)), {
          maxLength: 60,
        }),
        fc.nat(60),
        fc.nat(60),
        (values, from, to) => {
          const bytes = Buffer.from(values);
          const end = Math.min(Math.max(from, to), bytes.length);
          const start = Math.min(from, end);
          expect(skipPlain(wordsOf(bytes), start, end)).toBe(skipSlowly(bytes, start, end));
        },
      ),
      { seed: 20_261_121, numRuns: 2000 },
    );
  });

  it('is read from the buffer that was asked for, also where it is part of another', () => {
    const whole = latin1('abcdefgh');
    const part = whole.subarray(3);
    expect(String.fromCharCode(wordsOf(part).getUint8(0))).toBe('d');
    expect(String.fromCharCode(wordsOf(whole).getUint8(0))).toBe('a');
    expect(wordsOf(part).byteLength).toBe(5);
  });
});
