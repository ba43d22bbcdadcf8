import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Field, FIELD_COUNT, identifyField } from '../../src/http1/fields.ts';
import { wordsOf } from '../../src/http1/words.ts';
import { FIELD_VALUE, HEX, HOST_NAME, LOWER, TARGET, TOKEN } from '../../src/http1/syntax.ts';
import { latin1 } from './server-view.ts';

/** `xForwardedFor` → `x-forwarded-for`. */
const nameOf = (key: string): string =>
  key === 'http2Settings' ? 'http2-settings' : key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

const KNOWN = Object.entries(Field)
  .filter(([key]) => key !== 'other' && key !== 'underscored')
  .map(([key, id]) => [nameOf(key), id] as const);

const identify = (name: string): number => identifyField(wordsOf(latin1(name)), 0, name.length);

describe('a field', () => {
  it.each(KNOWN)('%s is known in any case, anywhere in a buffer', (name, id) => {
    const capitals = name.replace(/(^|-)[a-z]/g, (match) => match.toUpperCase());
    for (const spelled of [name, name.toUpperCase(), capitals]) {
      expect(identify(spelled)).toBe(id);
      const buffer = latin1(`\r\n${spelled}: x`);
      expect(identifyField(wordsOf(buffer), 2, 2 + spelled.length)).toBe(id);
    }
  });

  it.each(KNOWN)('%s is not taken for another that looks like it', (name) => {
    const others = [`${name}x`, `x${name}`, name.slice(1), name.slice(0, -1), name.replaceAll('-', '~')];
    for (let at = 0; at < name.length; at++) {
      others.push(`${name.slice(0, at)}q${name.slice(at + 1)}`, `${name.slice(0, at)}${name.slice(at + 1)}`);
      // Differs from its letter in the bit that tells cases apart.
      others.push(`${name.slice(0, at)}${String.fromCharCode(name.charCodeAt(at) ^ 0x20)}${name.slice(at + 1)}`);
    }
    const known = new Map<string, number>(KNOWN);
    // A name is looked up once it is known to be a token.
    for (const other of others.filter((each) => /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(each)))
      expect([other, identify(other)]).toEqual([other, known.get(other.toLowerCase()) ?? Field.other]);
  });

  it('has an id below the size of the tables', () => {
    expect(Math.max(...Object.values(Field))).toBe(FIELD_COUNT - 1);
    expect(new Set(Object.values(Field)).size).toBe(FIELD_COUNT);
  });

  it('of any other name is no known one', () => {
    const known = new Map<string, number>(KNOWN);
    fc.assert(
      fc.property(fc.stringMatching(/^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,24}$/), (name) => {
        expect(identify(name)).toBe(known.get(name.toLowerCase()) ?? Field.other);
      }),
      { seed: 20_261_122, numRuns: 2000 },
    );
  });
});

describe('the tables', () => {
  const bytesOf = (table: Uint8Array): string =>
    Array.from({ length: 256 }, (_, byte) => (table[byte] === 1 ? String.fromCharCode(byte) : '')).join('');
  const matching = (pattern: RegExp): string =>
    Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte))
      .filter((char) => pattern.test(char))
      .join('');

  it.each([
    ['token', TOKEN, /[!#$%&'*+\-.^_`|~0-9A-Za-z]/],
    ['field value', FIELD_VALUE, /[\t\x20-\x7e\x80-\xff]/],
    ['target', TARGET, /[\x21\x22\x24-\x7e]/],
    ['host name', HOST_NAME, /[A-Za-z0-9._-]/],
  ])('of %s has what the RFC says', (_, table, pattern) => {
    expect(bytesOf(table)).toBe(matching(pattern));
  });

  it('of hexadecimal digits and of lower case as well', () => {
    for (let byte = 0; byte < 256; byte++) {
      const char = String.fromCharCode(byte);
      expect(HEX[byte]).toBe(/[0-9A-Fa-f]/.test(char) ? Number.parseInt(char, 16) : 255);
      expect(LOWER[byte]).toBe(/[A-Z]/.test(char) ? char.toLowerCase().charCodeAt(0) : byte);
    }
  });
});
