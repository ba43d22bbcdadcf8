import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isName } from '../../../src/core/names.ts';
import type { Interest, RegistryEvent } from '../../../src/registry/backend.ts';
import { idOfRest, normalizePrefix, prefixRange, rangesOf, splitKey } from '../../../src/registry/etcd/keys.ts';
import { parseValue, type Layout } from '../../../src/registry/etcd/layout.ts';
import { Roster } from '../../../src/registry/etcd/roster.ts';

const anyText = fc.uint8Array({ minLength: 1 }).map((bytes) => Buffer.from(bytes).toString('utf8'));
const ALL: Interest = { kind: 'all' };

function roster(interest = ALL): { roster: Roster; skips: string[] } {
  const skips: string[] = [];
  const onSkip = ({ service, id, why }: { service: string; id: string; why: string }): void =>
    void skips.push(`${service}/${id}: ${why}`);
  return { roster: new Roster({ prefix: '/services/', interest, layout: 'auto', onSkip }), skips };
}

function pair(key: string, value: unknown = '10.0.0.1:80'): { key: string; rawKey: Buffer; value: Buffer } {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return { key, rawKey: Buffer.from(key), value: Buffer.from(text) };
}

describe('a key', () => {
  it.each([
    ['/services/', '/services/web/a', { service: 'web', rest: 'a' }],
    ['/services/', '/services/web/10.0.0.1:80', { service: 'web', rest: '10.0.0.1:80' }],
    ['/services/', '/services/web/zone/a', { service: 'web', rest: 'zone/a' }],
    ['', 'web/a', { service: 'web', rest: 'a' }],
    ['/services/', '/services/web', undefined],
    ['/services/', '/services/web/', undefined],
    ['/services/', '/other/web/a', undefined],
  ])('under %j splits %j into service and rest', (prefix, key, parts) => {
    expect(splitKey(prefix, key)).toEqual(parts);
  });

  it('always makes a valid id, and different ones for different keys', () => {
    expect([idOfRest('web-1'), idOfRest('10.0.0.1:80'), idOfRest('[::1]:80')]).toEqual([
      'web-1',
      '10.0.0.1-80',
      '--1-80',
    ]);
    expect(idOfRest('zone/a')).toMatch(/^zone-a-[0-9a-f]{12}$/);
    const rest = fc.oneof(anyText, fc.constantFrom('..', '__proto__', 'a/b', 'a-b', 'a b'));
    fc.assert(
      fc.property(rest, rest, (one, other) => {
        expect(isName(idOfRest(one))).toBe(true);
        expect(idOfRest(one) === idOfRest(other)).toBe(one === other);
      }),
    );
  });

  it('prefixes cover themselves with everything below, and nothing beside', () => {
    expect(normalizePrefix('/services')).toBe('/services/');
    expect(normalizePrefix('')).toBe('');
    expect(prefixRange('/services/')).toEqual({ from: Buffer.from('/services/'), to: Buffer.from('/services0') });
    expect(prefixRange('')).toEqual({ from: Buffer.of(0), to: Buffer.of(0) });
  });

  it('is watched by service while services are few, and by the whole prefix otherwise', () => {
    const names = (count: number): Interest => ({
      kind: 'services',
      names: new Set(Array.from({ length: count }, (_, at) => `s${at}`)),
    });
    expect(rangesOf('/p/', names(2)).map((range) => String(range.from))).toEqual(['/p/s0/', '/p/s1/']);
    for (const interest of [ALL, names(0), names(65)]) expect(rangesOf('/p/', interest)).toEqual([prefixRange('/p/')]);
  });
});

describe('a value', () => {
  const read = (value: unknown, layout: Layout = 'auto'): unknown => {
    const parsed = parseValue('web', 'a', pair('', value).value, layout);
    return parsed.ok ? parsed.instance : parsed.why;
  };

  it('is read as our own JSON, with every optional part', () => {
    const metadata = { team: 'pay' };
    expect(
      read({ host: '10.0.0.7', port: 80, weight: 3, zone: 'z', version: '1', secure: true, metadata, extra: [] }),
    ).toMatchObject({
      ...{ id: 'a', service: 'web', host: '10.0.0.7', port: 80, weight: 3, zone: 'z', version: '1', secure: true },
      metadata: new Map([['team', 'pay']]),
    });
  });

  it('takes its identity from the key, whatever id it claims', () => {
    expect(read({ id: 'other', host: '10.0.0.7', port: 80 })).toMatchObject({ id: 'a' });
  });

  it('is read as gRPC naming, whose metadata may be anything', () => {
    expect(read({ Op: 0, Addr: '10.0.0.7:80', Metadata: { zone: 'z', n: 1, deep: {} } })).toMatchObject({
      host: '10.0.0.7',
      port: 80,
      metadata: new Map([
        ['zone', 'z'],
        ['n', '1'],
      ]),
    });
    for (const Metadata of [null, 'text', 7, [1], undefined])
      expect(read({ Addr: '[::1]:80', Metadata })).toMatchObject({ host: '::1' });
  });

  it('is read as a bare address', () => {
    expect(read(' 10.0.0.7:80\n')).toMatchObject({ host: '10.0.0.7', port: 80 });
    expect(read('[2001:db8::1]:443')).toMatchObject({ host: '2001:db8::1', port: 443 });
  });

  it.each([
    ['nothing', ''],
    ['no port', '10.0.0.7'],
    ['cut-off JSON', '{"host":'],
    ['a list', '["10.0.0.7:80"]'],
    ['JSON without an address', '{}'],
    ['port 0', { host: '10.0.0.7', port: 0 }],
    ['a port in words', { host: '10.0.0.7', port: '80' }],
    ['a host with a path', { host: '10.0.0.7/x', port: 80 }],
    ['weight 0', { host: '10.0.0.7', port: 80, weight: 0 }],
    ['metadata that is no map', { host: '10.0.0.7', port: 80, metadata: 'x' }],
    ['metadata beyond 4 KiB', { host: '10.0.0.7', port: 80, metadata: { a: 'x'.repeat(5000) } }],
    ['a value beyond 64 KiB', { host: '10.0.0.7', port: 80, padding: 'x'.repeat(70_000) }],
    ['a gRPC deletion', { Op: 1, Addr: '10.0.0.7:80' }],
    ['a gRPC address without port', { Op: 0, Addr: '10.0.0.7' }],
    ['a gRPC address that is a number', { Op: 0, Addr: 7 }],
    ['binary', '\u0000\u0001\ufffd'],
  ])('is refused with a reason when it is %s', (_, value) => {
    expect(read(value)).toMatch(/\w{3}/);
  });

  it('must have the layout that was configured, if one was', () => {
    const values: Record<string, unknown> = {
      json: { host: '10.0.0.7', port: 80 },
      grpc: { Op: 0, Addr: '10.0.0.7:80' },
      bare: '10.0.0.7:80',
    };
    for (const layout of ['json', 'grpc', 'bare'] as const) {
      for (const [found, value] of Object.entries(values)) {
        if (found === layout) expect(read(value, layout)).toMatchObject({ host: '10.0.0.7', port: 80 });
        else
          expect(read(value, layout)).toBe(
            `the value has the layout "${found}", and registries[].layout is "${layout}"`,
          );
      }
    }
  });

  it('never throws', () => {
    fc.assert(fc.property(fc.uint8Array(), (bytes) => void parseValue('web', 'a', Buffer.from(bytes), 'auto')));
    fc.assert(fc.property(fc.json(), (json) => void parseValue('web', 'a', Buffer.from(json), 'auto')));
    const field = fc.constantFrom('host', 'port', 'Addr', 'Op', 'Metadata', 'weight', 'metadata', '__proto__');
    fc.assert(fc.property(fc.dictionary(field, fc.jsonValue()), (value) => void read(value)));
  });
});

describe('the roster', () => {
  it('opens a service with its whole truth, changes it, and removes its last instance by name: somebody deleted that key', () => {
    const { roster: known } = roster();
    const events = [
      known.put(pair('/services/web/a')),
      known.put(pair('/services/web/b')),
      known.put(pair('/services/web/b', '10.0.0.2:80')),
      known.delete('/services/web/a'),
      known.delete('/services/web/a'),
      known.delete('/services/web/b'),
      known.put(pair('/services/web/a')),
    ];
    const brief = (event: RegistryEvent | undefined): string =>
      event === undefined ? '' : `${event.kind}${event.kind === 'remove' ? ` ${event.id}` : ''}`;
    expect(events.map(brief)).toEqual(['reset', 'upsert', 'upsert', 'remove a', '', 'remove b', 'reset']);
    expect(known.size).toBe(1);
  });

  it('takes an instance away when its value goes bad, as a list would', () => {
    const { roster: known, skips } = roster();
    known.put(pair('/services/web/a'));
    known.put(pair('/services/web/b'));
    expect(known.put(pair('/services/web/a', 'nonsense'))).toEqual({ kind: 'remove', service: 'web', id: 'a' });
    expect(known.put(pair('/services/web/b', ''))).toEqual({ kind: 'remove', service: 'web', id: 'b' });
    expect(known.put(pair('/services/web/b', ''))).toBeUndefined();
    expect(skips).toHaveLength(3);
    expect(skips[0]).toContain('web/a: "nonsense" must be host:port');
  });

  it('gives an id to the key that had it first, and reports the other', () => {
    const { roster: known, skips } = roster();
    expect(known.put(pair('/services/web/10.0.0.1-80'))?.kind).toBe('reset');
    expect(known.put(pair('/services/web/10.0.0.1:80'))).toBeUndefined();
    expect(known.delete('/services/web/10.0.0.1:80')).toBeUndefined();
    expect(skips).toEqual(['web/10.0.0.1-80: key "/services/web/10.0.0.1:80" makes the same id as "10.0.0.1-80"']);
    expect(known.delete('/services/web/10.0.0.1-80')?.kind).toBe('remove');
  });

  it('reports keys that name no service, and passes over services that are not wanted in silence', () => {
    const { roster: all, skips } = roster();
    for (const key of ['/services/web', '/services/', '/services/a b/c', '/services/__proto__/c', '/services//c']) {
      expect(all.put(pair(key))).toBeUndefined();
    }
    expect(skips).toHaveLength(5);
    const { roster: some, skips: none } = roster({ kind: 'services', names: new Set(['web']) });
    expect(some.put(pair('/services/other/a', 'nonsense'))).toBeUndefined();
    expect(some.delete('/services/other/a')).toBeUndefined();
    expect(none).toEqual([]);
  });

  it('agrees with a fresh reading of the store after any history', () => {
    const key = fc.constantFrom('a/1', 'a/2', 'b/1', 'b/1:80', 'b/x/y', 'c').map((rest) => `/services/${rest}`);
    const value = fc.constantFrom('10.0.0.1:80', '10.0.0.2:80', 'bad', undefined);
    fc.assert(
      fc.property(fc.array(fc.tuple(key, value)), (history) => {
        const { roster: known } = roster();
        const store = new Map<string, string>();
        const table = new Map<string, string>();
        for (const [at, text] of history) {
          const event = text === undefined ? known.delete(at) : known.put(pair(at, text));
          if (text === undefined) store.delete(at);
          else store.set(at, text);
          apply(table, event);
        }
        const { roster: fresh } = roster();
        const listed = new Map<string, string>();
        for (const [at, text] of [...store].sort()) {
          const entered = fresh.enter(pair(at, text));
          if (entered) listed.set(`${entered.service}/${entered.id}`, entered.host);
        }
        expect(new Map([...table].sort())).toEqual(new Map([...listed].sort()));
        expect(known.size).toBe(fresh.size);
      }),
    );
  });
});

function apply(table: Map<string, string>, event: RegistryEvent | undefined): void {
  const drop = (service: string): void => {
    for (const at of table.keys()) if (at.startsWith(`${service}/`)) table.delete(at);
  };
  switch (event?.kind) {
    case 'reset':
      drop(event.service);
      for (const each of event.instances) table.set(`${each.service}/${each.id}`, each.host);
      break;
    case 'upsert':
      table.set(`${event.instance.service}/${event.instance.id}`, event.instance.host);
      break;
    case 'remove':
      table.delete(`${event.service}/${event.id}`);
      break;
    case 'absent':
      drop(event.service);
      break;
    case 'synced':
    case undefined:
      break;
  }
}
