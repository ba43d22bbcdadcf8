import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addressOf } from '../../src/core/instance.ts';
import { isName } from '../../src/core/names.ts';
import { canonicalHost, idOfAddress, parseAddress } from '../../src/registry/address.ts';

describe('a host', () => {
  it.each([
    ['10.0.0.7', '10.0.0.7'],
    ['Web-1.Internal.', 'web-1.internal'],
    ['localhost', 'localhost'],
    ['[::1]', '::1'],
    ['0:0:0:0:0:0:0:1', '::1'],
    ['2001:DB8::A', '2001:db8::a'],
    ['::ffff:10.0.0.7', '10.0.0.7'],
  ])('%s has the one spelling %s', (text, canonical) => {
    expect(canonicalHost(text)).toBe(canonical);
  });

  it.each([
    '',
    '.',
    'a..b',
    '-a.example',
    'a b',
    'a/b',
    'user@host',
    'host:80',
    '[10.0.0.7]',
    'fe80::1%eth0',
    'a\0b',
    'ü.de',
  ])('refuses %j', (text) => expect(canonicalHost(text)).toBeUndefined());

  it.each(['127.1', '2130706433', '0x7f000001', '0x7f.1', '010.0.0.1', '1.2.3.4.5', '256.1.1.1'])(
    'refuses %s, which a resolver may read as a number',
    (text) => expect(canonicalHost(text)).toBeUndefined(),
  );

  it('has a spelling that is its own spelling', () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain(), fc.string()), (text) => {
        const once = canonicalHost(text);
        if (once !== undefined) expect(canonicalHost(once)).toBe(once);
      }),
    );
  });
});

describe('an address', () => {
  it('is read back from how it is written', () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain()), fc.integer({ min: 1, max: 65_535 }), (text, port) => {
        const host = canonicalHost(text);
        fc.pre(host !== undefined);
        expect(parseAddress(addressOf({ host, port }))).toEqual({ host, port });
      }),
    );
  });

  it.each([
    '10.0.0.7',
    '10.0.0.7:',
    '10.0.0.7:0',
    '10.0.0.7:65536',
    '10.0.0.7:080',
    ':80',
    '::1:80',
    '[::1]',
    'a:80:90',
    '',
  ])('refuses %j', (text) => expect(parseAddress(text)).toBeUndefined());

  it('gives an id that is a name, the same each time', () => {
    expect(idOfAddress('10.0.0.7', 80)).toBe('10.0.0.7-80');
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain()), fc.integer({ min: 1, max: 65_535 }), (host, port) => {
        expect(isName(idOfAddress(host, port))).toBe(true);
        expect(idOfAddress(host, port)).toBe(idOfAddress(host, port));
      }),
    );
    expect(isName(idOfAddress(`${'a.'.repeat(120)}example`, 80))).toBe(true);
  });
});
