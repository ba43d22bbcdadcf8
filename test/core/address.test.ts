import { lookup as dnsLookup } from 'node:dns';
import { isIP } from 'node:net';
import type { LookupFunction } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AddressPolicy, guardedLookup, normalizeHost, normalizeIp, parseCidr } from '../../src/core/address.ts';

describe('normalizeHost', () => {
  it.each([
    ['10.0.0.1', '10.0.0.1'],
    ['::1', '::1'],
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['::ffff:7f00:1', '127.0.0.1'],
    ['0:0:0:0:0:ffff:169.254.169.254', '169.254.169.254'],
    ['::127.0.0.1', '::7f00:1'],
    ['Web-1.Example.COM', 'web-1.example.com'],
    ['localhost', 'localhost'],
    ['1.2.3.4.example', '1.2.3.4.example'],
    ['a', 'a'],
    ['0xfe.example', '0xfe.example'],
    ['x'.repeat(63), 'x'.repeat(63)],
  ])('spells %s as %s', (text, spelled) => {
    expect(normalizeHost(text)).toBe(spelled);
  });

  it.each([
    ['hexadecimal IPv4', '0x7f.1'],
    ['octal IPv4', '017700000001'],
    ['decimal IPv4', '2130706433'],
    ['short IPv4', '127.1'],
    ['octal parts', '0177.0.0.1'],
    ['leading zeros', '127.0.0.01'],
    ['five parts', '1.2.3.4.5'],
    ['a part over 255', '1.2.3.256'],
    ['a name ending in a number', 'example.0x1f'],
    ['an octal tail in IPv6', '::ffff:0177.0.0.1'],
    ['a zone', 'fe80::1%eth0'],
    ['brackets', '[::1]'],
    ['two ellipses', '1::2::3'],
    ['nothing', ''],
    ['a dot', '.'],
    ['an absolute name', 'example.'],
    ['a blank', 'a b'],
    ['CR LF', 'a\r\nb'],
    ['NUL', 'a\0b'],
    ['an underscore', 'a_b'],
    ['a hyphen first', '-a'],
    ['a hyphen last', 'a-'],
    ['a long label', 'x'.repeat(64)],
    ['a long name', `${'x.'.repeat(127)}xx`],
    ['a path', 'a/b'],
    ['userinfo', 'u@a'],
    ['a port', 'a:80'],
    ['other scripts', 'bücher.example'],
    ['a full-width digit', '１27.0.0.1'],
  ])('refuses %s', (_, text) => {
    expect(normalizeHost(text)).toBeUndefined();
  });

  it('accepts as IP addresses what the operating system takes for one, and nothing else', () => {
    const ipLike = fc.oneof(
      fc.ipV4(),
      fc.ipV4Extended(),
      fc.ipV6(),
      fc.string({ unit: fc.constantFrom(...Array.from('0123456789abcdef:.x')), maxLength: 46 }),
    );
    fc.assert(
      fc.property(ipLike, (text) => {
        expect(normalizeIp(text) !== undefined, text).toBe(isIP(text) !== 0);
      }),
      { numRuns: 2000 },
    );
  });

  it('is idempotent', () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain()), (text) => {
        const once = normalizeHost(text);
        if (once !== undefined) expect(normalizeHost(once)).toBe(once);
      }),
    );
  });
});

describe('AddressPolicy', () => {
  it.each([
    ['169.254.169.254', 'link-local'],
    ['fe80::1', 'link-local'],
    ['::ffff:169.254.169.254', 'link-local'],
    ['224.0.0.1', 'multicast'],
    ['ff02::1', 'multicast'],
    ['0.0.0.0', 'unspecified'],
    ['0.1.2.3', 'unspecified'],
    ['::', 'unspecified'],
    ['255.255.255.255', 'broadcast'],
    ['127.0.0.1', 'loopback'],
    ['127.8.9.1', 'loopback'],
    ['::1', 'loopback'],
    ['::ffff:127.0.0.1', 'loopback'],
    ['64:ff9b::a9fe:a9fe', 'leads to 169.254.169.254'],
    ['2002:a9fe:a9fe::1', 'leads to 169.254.169.254'],
    ['2002:7f00:1::', 'leads to 127.0.0.1'],
    ['::7f00:1', 'leads to 127.0.0.1'],
    ['::ffff:0:7f00:1', 'leads to 127.0.0.1'],
    ['0x7f.1', 'not an IP address'],
    ['fe80::1%eth0', 'not an IP address'],
  ])('refuses %s by default', (ip, reason) => {
    expect(new AddressPolicy().refuseAddress(ip, 80)).toContain(reason);
  });

  it.each(['10.0.0.1', '192.168.1.1', '8.8.8.8', '100.64.0.1', '2001:4860::1', 'fd00::1', '64:ff9b::808:808'])(
    'lets %s pass by default',
    (ip) => {
      expect(new AddressPolicy().refuseAddress(ip, 80)).toBeUndefined();
    },
  );

  it('lets loopback pass where it is allowed', () => {
    const policy = new AddressPolicy({ allowLoopback: true });
    expect(policy.refuseAddress('127.0.0.1', 80)).toBeUndefined();
    expect(policy.refuseAddress('::1', 80)).toBeUndefined();
    expect(policy.refuseHost('localhost', 80)).toBeUndefined();
    expect(new AddressPolicy().refuseHost('localhost', 80)).toContain('loopback');
    expect(new AddressPolicy().refuseHost('a.localhost', 80)).toContain('loopback');
  });

  it('keeps to the allowed networks, less the denied ones', () => {
    const policy = new AddressPolicy({ allow: ['10.0.0.0/8', 'fd00::/8'], deny: ['10.9.0.0/16'] });
    expect(policy.refuseAddress('10.1.2.3', 80)).toBeUndefined();
    expect(policy.refuseAddress('::ffff:10.1.2.3', 80)).toBeUndefined();
    expect(policy.refuseAddress('fd12::1', 80)).toBeUndefined();
    expect(policy.refuseAddress('11.0.0.1', 80)).toBe(
      '11.0.0.1 is in no network of gateway.upstreamAddresses.allow (10.0.0.0/8, fd00::/8)',
    );
    expect(policy.refuseAddress('10.9.1.1', 80)).toBe(
      '10.9.1.1 is in 10.9.0.0/16, which gateway.upstreamAddresses.deny names',
    );
  });

  it('does not open link-local addresses by a network that merely includes them', () => {
    expect(new AddressPolicy({ allow: ['0.0.0.0/0', '::/0'] }).refuseAddress('169.254.169.254', 80)).toContain(
      'link-local',
    );
    expect(new AddressPolicy({ allow: ['169.254.10.0/24'] }).refuseAddress('169.254.10.7', 80)).toBeUndefined();
    expect(new AddressPolicy({ allow: ['169.254.10.0/24'] }).refuseAddress('169.254.169.254', 80)).toContain(
      'link-local',
    );
    expect(new AddressPolicy({ allow: ['fe80::/10'] }).refuseAddress('fe80::1', 80)).toBeUndefined();
  });

  it('sees a denied network through a translator', () => {
    const policy = new AddressPolicy({ deny: ['10.0.0.0/8'] });
    expect(policy.refuseAddress('64:ff9b::a00:1', 80)).toContain('leads to 10.0.0.1');
  });

  it('keeps to the allowed ports', () => {
    const policy = new AddressPolicy({
      ports: [
        [80, 80],
        [8000, 8999],
      ],
    });
    expect(policy.refuseAddress('10.0.0.1', 80)).toBeUndefined();
    expect(policy.refuseAddress('10.0.0.1', 8999)).toBeUndefined();
    expect(policy.refuseAddress('10.0.0.1', 22)).toBe(
      'port 22 is outside of gateway.upstreamAddresses.ports (80, 8000-8999)',
    );
    expect(policy.refuseHost('db.internal', 22)).toContain('port 22');
    for (const port of [0, -1, 65_536, 1.5, Number.NaN]) {
      expect(new AddressPolicy().refuseAddress('10.0.0.1', port)).toContain('is not a port');
    }
  });

  it('refuses the gateway itself, also behind wildcard listeners', () => {
    const policy = new AddressPolicy({
      allowLoopback: true,
      ownListeners: [
        { host: '127.0.0.1', port: 9901 },
        { host: '0.0.0.0', port: 8080 },
        { host: 'localhost', port: 8761 },
      ],
      localAddresses: () => ['10.0.0.5', '::ffff:10.0.0.6'],
    });
    for (const [ip, port] of [
      ['127.0.0.1', 9901],
      ['127.0.0.1', 8080],
      ['127.0.0.9', 8080],
      ['10.0.0.5', 8080],
      ['10.0.0.6', 8080],
      ['::1', 8761],
    ] as const) {
      expect(policy.refuseAddress(ip, port), `${ip} ${port}`).toContain('listener of this gateway');
    }
    expect(policy.refuseAddress('127.0.0.1', 9902)).toBeUndefined();
    expect(policy.refuseAddress('10.0.0.7', 8080)).toBeUndefined();
    expect(policy.refuseHost('localhost', 8080)).toContain('listener of this gateway');
  });

  it.each([
    '10.0.0.1/8',
    '10.0.0.0/33',
    '10/8',
    '010.0.0.0/8',
    'fd00::1/8',
    '::ffff:10.0.0.0/104',
    '10.0.0.0/08',
    '10.0.0.0/',
    'x',
    '',
    '10.0.0.0/8/8',
  ])('does not start on the ambiguous network %j', (text) => {
    expect(parseCidr(text)).toBeUndefined();
    expect(() => new AddressPolicy({ deny: [text] })).toThrow(/is not a network/);
  });

  it('agrees with itself: what an allow-list of one address lets pass is that address', () => {
    fc.assert(
      fc.property(fc.ipV4(), fc.ipV4(), (one, other) => {
        const policy = new AddressPolicy({ allow: [one], allowLoopback: true });
        if (one !== other) expect(policy.refuseAddress(other, 80)).toBeDefined();
      }),
    );
  });
});

describe('guardedLookup', () => {
  const answering =
    (...addresses: string[]): LookupFunction =>
    (_hostname, options, callback) => {
      const all = addresses.map((address) => ({ address, family: isIP(address) }));
      if (options.all) callback(null, all);
      else callback(null, addresses[0] ?? '', isIP(addresses[0] ?? ''));
    };

  const ask = (lookup: LookupFunction, all: boolean): Promise<unknown> =>
    new Promise((resolve, reject) => {
      lookup('name.example', { all }, (error, address) => {
        if (error) reject(error);
        else resolve(address);
      });
    });

  it('hands out only addresses that may be connected to', async () => {
    const lookup = guardedLookup(new AddressPolicy(), 80, answering('169.254.169.254', '10.0.0.1', '::1'));
    expect(await ask(lookup, true)).toEqual([{ address: '10.0.0.1', family: 4 }]);
  });

  it('fails with the reason when none is left', async () => {
    for (const all of [true, false]) {
      const lookup = guardedLookup(new AddressPolicy(), 80, answering('127.0.0.1'));
      await expect(ask(lookup, all)).rejects.toMatchObject({
        code: 'ERR_ADDRESS_REFUSED',
        message: expect.stringContaining(
          'name.example may not be connected to: 127.0.0.1 is a loopback address',
        ) as string,
      });
    }
    await expect(ask(guardedLookup(new AddressPolicy(), 80, answering()), true)).rejects.toThrow('has no address');
  });

  it('checks the port of the connection as well', async () => {
    const policy = new AddressPolicy({ ownListeners: [{ host: '10.0.0.1', port: 80 }] });
    await expect(ask(guardedLookup(policy, 80, answering('10.0.0.1')), false)).rejects.toThrow(
      'listener of this gateway',
    );
    expect(await ask(guardedLookup(policy, 81, answering('10.0.0.1')), false)).toBe('10.0.0.1');
  });

  it('passes on a failed resolution', async () => {
    const failing: LookupFunction = (_hostname, _options, callback) => {
      callback(Object.assign(new Error('no such name'), { code: 'ENOTFOUND' }), '', 0);
    };
    await expect(ask(guardedLookup(new AddressPolicy(), 80, failing), true)).rejects.toMatchObject({
      code: 'ENOTFOUND',
    });
  });

  it('works over the lookup of the machine', async () => {
    const resolve = (policy: AddressPolicy): Promise<unknown> =>
      new Promise((done) => {
        guardedLookup(policy, 80, dnsLookup)('localhost', { all: true }, (error, address) => {
          done(error ?? address);
        });
      });
    expect(await resolve(new AddressPolicy())).toBeInstanceOf(Error);
    expect(await resolve(new AddressPolicy({ allowLoopback: true }))).toContainEqual({
      address: '127.0.0.1',
      family: 4,
    });
  });
});
