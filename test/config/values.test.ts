import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { parseHostPattern, parseHostPort, readCidr } from '../../src/config/addresses.ts';
import { duration, share, size } from '../../src/config/scalars.ts';
import { formatDuration, parseDuration, parseSize } from '../../src/core/units.ts';
import { load } from './load-text.ts';

const patternOf = (schema: z.ZodType): RegExp => {
  const exported = z.toJSONSchema(schema, { io: 'input' });
  return new RegExp(String(exported.pattern));
};
const noise = fc.string({
  unit: fc.constantFrom('0', '1', '9', '.', 'm', 's', 'h', 'K', 'M', 'i', 'B', ' ', '-', 'e'),
});

describe('durations', () => {
  const anyDuration = duration('', { fallback: '1s', min: '0ms', max: '1000000h' });

  it('are read as their unit says', () => {
    const units = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const;
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 100_000 }), fc.constantFrom('ms', 's', 'm', 'h'), (amount, unit) => {
        expect(anyDuration.parse(`${amount}${unit}`)).toBe(amount * units[unit]);
      }),
    );
  });

  it('survive being formatted', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1_000_000_000 }), (durationMs) => {
        expect(parseDuration(formatDuration(durationMs))).toBe(durationMs);
      }),
    );
  });

  it('are no durations without a unit, with a sign, or with anything around them', () => {
    for (const text of ['', '5', '5 s', '-5s', '+5s', '5S', '5sec', ' 5s', '5s ', '.5s', '5.s', '1e3ms', '5s5s']) {
      expect(anyDuration.safeParse(text).success, text).toBe(false);
    }
    expect(anyDuration.safeParse(5).success).toBe(false);
  });

  it('are told to editors by a pattern that agrees with the parser', () => {
    const pattern = patternOf(anyDuration);
    fc.assert(fc.property(noise, (text) => pattern.test(text) === (parseDuration(text) !== undefined)));
  });

  it('are held to their range, both ends included', () => {
    const short = duration('', { fallback: '1s', min: '10ms', max: '2s' });
    expect(['10ms', '2s', '2000ms'].map((text) => short.safeParse(text).success)).toEqual([true, true, true]);
    expect(['9ms', '2001ms', '1m'].map((text) => short.safeParse(text).success)).toEqual([false, false, false]);
  });
});

describe('sizes', () => {
  const anySize = size('', { fallback: '1KiB', min: '0B', max: '1000000GiB' });

  it('are read as their unit says; a bare number is bytes', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 100_000 }), (amount) => {
        expect(['', 'B', 'KiB', 'MiB'].map((unit) => anySize.parse(`${amount}${unit}`))).toEqual([
          amount,
          amount,
          amount * 1024,
          amount * 1_048_576,
        ]);
        expect(anySize.parse(amount)).toBe(amount);
      }),
    );
  });

  it('are no sizes with a fraction, a sign or a unit of another kind', () => {
    for (const text of ['', '1.5KiB', '-1', '16KB', '16kib', '16 KiB', '1s'])
      expect(anySize.safeParse(text).success, text).toBe(false);
    for (const number of [1.5, -1, Number.NaN]) expect(anySize.safeParse(number).success, String(number)).toBe(false);
  });

  it('are told to editors by a pattern that agrees with the parser', () => {
    const pattern = patternOf(anySize);
    fc.assert(fc.property(noise, (text) => pattern.test(text) === (parseSize(text) !== undefined)));
  });
});

describe('shares', () => {
  const anyShare = share('', { fallback: 0.5, min: 0, max: 1 });

  it('are the same as a number and in percent', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 100 }), (percent) => {
        expect(anyShare.parse(`${percent}%`)).toBe(percent / 100);
        expect(anyShare.parse(percent / 100)).toBe(percent / 100);
      }),
    );
  });

  it('are refused beyond all and below nothing', () => {
    for (const value of ['101%', '-1%', '50', '%', 1.01, -0.1, Number.NaN])
      expect(anyShare.safeParse(value).success, String(value)).toBe(false);
  });
});

const v4 = fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255), fc.nat(255));

describe('networks', () => {
  it('are IPv4 networks exactly when no bit is set behind the prefix', () => {
    fc.assert(
      fc.property(v4, fc.integer({ min: 0, max: 32 }), (bytes, bits) => {
        const value = bytes.reduce((sum, byte) => sum * 256 + byte, 0);
        const hostBits = value % 2 ** (32 - bits);
        const text = `${bytes.join('.')}/${bits}`;
        expect(readCidr(text)).toEqual(
          hostBits === 0 ? { cidr: text } : { problem: expect.stringContaining('ambiguous') as string },
        );
      }),
    );
  });

  it('come with the network that was meant, where one is ambiguous', () => {
    fc.assert(
      fc.property(v4, fc.integer({ min: 0, max: 31 }), (bytes, bits) => {
        const result = readCidr(`${bytes.join('.')}/${bits}`);
        fc.pre('problem' in result);
        const meant = /The network is (\S+),/.exec('problem' in result ? result.problem : '')?.[1] ?? '';
        expect(readCidr(meant)).toEqual({ cidr: meant });
      }),
    );
  });

  it.each([
    ['10.0.0.7', '10.0.0.7/32'],
    ['2001:DB8::/32', '2001:db8::/32'],
    ['2001:db8:0:0:0:0:0:1', '2001:db8::1/128'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['::/0', '::/0'],
  ])('%s is %s', (text, cidr) => {
    expect(readCidr(text)).toEqual({ cidr });
  });

  it.each([
    '',
    '/8',
    '10.0.0.0/',
    '10.0.0.0/33',
    '10.0.0.0/08',
    '10.0.0.0/+8',
    '10.0.0.0/8/8',
    '10.0.0/8',
    '10/8',
    '010.0.0.0/8',
    '0x0a.0.0.0/8',
    '167772160/8',
    '2001:db8::1/32',
    'fe80::1%eth0/128',
    '::ffff:10.0.0.0/104',
    '[::1]/128',
    'localhost/8',
    '10.0.0.0/8 ',
  ])('%s is no network', (text) => {
    expect(readCidr(text)).toHaveProperty('problem');
  });
});

describe('host and port', () => {
  it.each([
    ['0.0.0.0:80', '0.0.0.0', 80],
    ['localhost:0', 'localhost', 0],
    ['[::1]:8080', '::1', 8080],
    ['[2001:DB8::1]:65535', '2001:db8::1', 65_535],
    ['App.Internal:80', 'app.internal', 80],
  ])('%s', (text, host, port) => {
    expect(parseHostPort(text)).toEqual({ host, port });
  });

  it.each([
    '',
    ':80',
    'a',
    'a:',
    'a:65536',
    'a:080',
    'a:-1',
    '::1:80',
    '[::1]',
    '[::1]80',
    '[1.2.3.4]:80',
    'a b:80',
    'a:80:80',
    '127.1:80',
    '*:80',
    'a_b:80 ',
  ])('%s is refused', (text) => {
    expect(parseHostPort(text)).toBeUndefined();
  });
});

describe('host names', () => {
  it('are compared in lower case', () => {
    expect(
      load('services: { a: { hosts: [PAY.Example.COM, "*.Pay.Example.com", pay.example.com] } }').services.get('a')
        ?.hosts,
    ).toEqual(['pay.example.com', '*.pay.example.com']);
  });

  it.each([
    '',
    '*',
    '*.',
    '*.*.x',
    'a.*.x',
    '*a.x',
    'a..b',
    '-a.x',
    'a.x:80',
    'a/b',
    '::1',
    '*.10.0.0.1',
    `${'a'.repeat(64)}.x`,
    'a b',
  ])('%s is refused', (text) => {
    expect(parseHostPattern(text)).toBeUndefined();
  });
});

describe('a list', () => {
  it.each([
    ['gateway: { listen: ONE }', '"127.0.0.1:1"'],
    ['gateway: { trustedProxies: ONE }', '10.0.0.0/8'],
    ['gateway: { upstreamAddresses: { allow: ONE } }', '10.0.0.0/8'],
    ['gateway: { upstreamAddresses: { deny: ONE } }', '10.0.0.0/8'],
    ['gateway: { upstreamAddresses: { ports: ONE } }', '80-90'],
    ['services: { a: { hosts: ONE } }', 'a.example'],
    ['services: { a: { fallback: ONE } }', '"a.example:80"'],
    ['defaults: { breaker: { failureStatuses: ONE } }', '500'],
    ['defaults: { health: { type: http, expect: ONE } }', '200'],
    ['registries: [{ type: static, services: { a: ONE } }]', '"10.0.0.7:80"'],
    ['registries: [{ type: static, services: { a: ONE } }]', '{ host: 10.0.0.7, port: 80 }'],
    ['registries: [{ type: consul, tags: ONE }]', 'http'],
    ['registries: [{ type: etcd, endpoints: ONE }]', '"http://a:2379"'],
    ['registries: [{ type: eureka, urls: ONE }]', '"http://a:8761/eureka"'],
    ['registries: [{ type: kubernetes, namespaces: ONE }]', 'shop'],
    ['registries: [{ type: dns, servers: ONE, services: {} }]', '"127.0.0.1:53"'],
    ['registries: [{ type: embedded, listen: ONE }]', '"127.0.0.1:2"'],
  ])('may be its only entry alone: %s, %s', (text, one) => {
    expect(load(text.replace('ONE', one))).toEqual(load(text.replace('ONE', `[${one}]`)));
  });
});
