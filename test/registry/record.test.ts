import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { instance } from '../../src/core/instance.ts';
import { parseRecord } from '../../src/registry/record.ts';

const web = { service: 'web' };

describe('a registration', () => {
  it('needs nothing but an address', () => {
    const wanted = instance({ service: 'web', id: '10.0.0.7-80', host: '10.0.0.7', port: 80 });
    expect(parseRecord('10.0.0.7:80', web)).toEqual({ ok: true, instance: wanted });
    expect(parseRecord({ host: '10.0.0.7', port: 80 }, web)).toEqual({ ok: true, instance: wanted });
  });

  it('takes its id from the record, then from its key, then from its address', () => {
    const idOf = (raw: unknown, id?: string): string => {
      const parsed = parseRecord(raw, { ...web, id });
      return parsed.ok ? parsed.instance.id : parsed.why;
    };
    expect(idOf({ id: 'a', host: 'h', port: 1 }, 'key')).toBe('a');
    expect(idOf({ host: 'h', port: 1 }, 'key')).toBe('key');
    expect(idOf({ host: 'h', port: 1 })).toBe('h-1');
  });

  it('carries every field', () => {
    const parsed = parseRecord(
      {
        id: 'a',
        host: '[::1]',
        port: 443,
        weight: 2.5,
        zone: 'z',
        version: '1',
        secure: true,
        state: 'degraded',
        stateReason: 'slow disk',
        metadata: { team: 'pay', __proto__x: 'y' },
        checks: [{ type: 'http', path: '/health', interval: '5s', timeout: 1500, statuses: [[200, 299]] }],
      },
      web,
    );
    expect(parsed).toEqual({
      ok: true,
      instance: {
        service: 'web',
        id: 'a',
        host: '::1',
        port: 443,
        weight: 2.5,
        zone: 'z',
        version: '1',
        secure: true,
        state: 'degraded',
        stateReason: 'slow disk',
        metadata: new Map([
          ['team', 'pay'],
          ['__proto__x', 'y'],
        ]),
        checks: [{ type: 'http', path: '/health', intervalMs: 5000, timeoutMs: 1500, statuses: [[200, 299]] }],
      },
    });
  });

  it.each([
    ['no object', 7, /expected object/],
    ['no address', {}, /host: .*port: /],
    ['port 0', { host: 'h', port: 0 }, /^port: must be 1 to 65535$/],
    ['a port with a fraction', { host: 'h', port: 80.5 }, /^port: /],
    ['a host that hides a number', { host: '127.1', port: 80 }, /^host: must be an IP address/],
    ['a forbidden id', { id: '__proto__', host: 'h', port: 1 }, /^id: must be 1 to 128/],
    ['weight 0', { host: 'h', port: 1, weight: 0 }, /^weight: must be above 0$/],
    ['an endless weight', { host: 'h', port: 1, weight: Infinity }, /^weight: /],
    ['metadata that is no map', { host: 'h', port: 1, metadata: ['a'] }, /^metadata: must be a map of texts$/],
    ['metadata with numbers', { host: 'h', port: 1, metadata: { a: 1 } }, /^metadata: must have texts/],
    ['metadata past its bound', { host: 'h', port: 1, metadata: { a: 'x'.repeat(4096) } }, /at most 4096 bytes/],
    ['a script as check', { host: 'h', port: 1, checks: [{ type: 'script', command: ['rm'] }] }, /^checks\.0\.type: /],
    [
      'a split in a header',
      { host: 'h', port: 1, checks: [{ type: 'http', headers: [['a', 'b\r\nc']] }] },
      /^checks\.0\.headers/,
    ],
    ['a text that is no address', 'nowhere', /^"nowhere" must be host:port/],
  ])('is refused with %s, with the path of the field', (_what, raw, why) => {
    const parsed = parseRecord(raw, web);
    expect(parsed.ok ? 'accepted' : parsed.why).toMatch(why);
  });

  it('may have keys of others, unless an operator typed it', () => {
    const raw = { host: 'h', port: 1, weigth: 5 };
    expect(parseRecord(raw, web).ok).toBe(true);
    const strict = parseRecord(raw, { ...web, strict: true });
    expect(strict.ok ? 'accepted' : strict.why).toMatch(/weigth/);
  });

  it('never throws, and never yields what breaks a rule, whatever JSON it is given', () => {
    const almost = fc.record(
      {
        id: fc.anything(),
        host: fc.oneof(fc.string(), fc.ipV6()),
        port: fc.anything(),
        weight: fc.double(),
        metadata: fc.anything(),
        checks: fc.anything(),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fc.oneof(almost, fc.jsonValue()), (raw) => {
        const parsed = parseRecord(raw, web);
        if (!parsed.ok) expect(parsed.why.length).toBeLessThanOrEqual(700);
        else expect(parsed.instance.weight > 0 && parsed.instance.port >= 1 && parsed.instance.host !== '').toBe(true);
      }),
    );
  });
});
