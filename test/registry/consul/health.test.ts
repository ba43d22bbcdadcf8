import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isName } from '../../../src/core/names.ts';
import { wantedNames } from '../../../src/registry/consul/catalog.ts';
import { fingerprint, readHealth } from '../../../src/registry/consul/health.ts';
import { check, entry, type EntryParts } from './fake-consul.ts';

function read(...parts: readonly EntryParts[]): ReturnType<typeof readHealth> & { skips?: string[] } {
  const skips: string[] = [];
  const instances = readHealth(
    'web',
    parts.map((part) => entry(part)),
    ({ id, why }) => void skips.push(`${id}: ${why}`),
  );
  return Object.assign(instances ?? [], { skips });
}

describe('an entry of a health answer', () => {
  it('carries address, weight, tags and metadata', () => {
    const [instance] = read({
      meta: { team: 'pay', zone: 'a', version: '1.2', secure: 'true' },
      tags: ['x', 'y'],
      weights: { Passing: 5, Warning: 2 },
    });
    expect(instance).toMatchObject({
      id: 'web-1',
      service: 'web',
      host: '10.0.0.1',
      port: 80,
      weight: 5,
      zone: 'a',
      version: '1.2',
      secure: true,
      state: 'up',
    });
    expect([...(instance?.metadata ?? [])].sort()).toEqual([
      ['secure', 'true'],
      ['tags', 'x,y'],
      ['team', 'pay'],
      ['version', '1.2'],
      ['zone', 'a'],
    ]);
  });

  it('is at its node where it has no address of its own', () => {
    expect(read({ address: '' })[0]?.host).toBe('10.9.9.9');
    expect(read({ address: null })[0]?.host).toBe('10.9.9.9');
  });

  it.each([
    ['the locality of the service', { serviceParts: { Locality: { Zone: 'one' } }, meta: { zone: 'two' } }],
    ['the metadata of the service', { meta: { zone: 'one' }, nodeParts: { Locality: { Zone: 'two' } } }],
    ['the locality of the node', { nodeParts: { Locality: { Zone: 'one' }, Meta: { zone: 'two' } } }],
    ['the metadata of the node', { nodeParts: { Meta: { zone: 'one' } } }],
  ])('takes its zone from %s first', (_, parts) => {
    expect(read(parts)[0]?.zone).toBe('one');
  });

  it.each([
    ['passing', [check('passing'), check('passing')], { state: 'up', weight: 5, stateReason: undefined }],
    ['no checks at all', null, { state: 'up' }],
    [
      'a warning',
      [check('passing'), check('warning', { Output: 'high load' })],
      { state: 'degraded', weight: 2, stateReason: 'check "the check" is warning: high load' },
    ],
    [
      'a critical one',
      [check('warning'), check('critical')],
      { state: 'down', weight: 5, stateReason: 'check "the check" is critical' },
    ],
    ['a state that nobody knows', [check('unheard-of')], { state: 'down' }],
    [
      'service maintenance',
      [check('critical'), check('critical', { CheckID: '_service_maintenance:web-1', Notes: 'upgrade' })],
      { state: 'down', stateReason: 'maintenance: upgrade' },
    ],
    [
      'node maintenance',
      [check('critical', { CheckID: '_node_maintenance', Notes: '' })],
      { state: 'down', stateReason: 'maintenance' },
    ],
  ])('is judged by its worst check: %s', (_, checks, expected) => {
    expect(read({ checks, weights: { Passing: 5, Warning: 2 } })[0]).toMatchObject(expected);
  });

  it('takes no traffic under warning when its weight for it is 0', () => {
    const [instance] = read({ checks: [check('warning')], weights: { Passing: 5, Warning: 0 } });
    expect(instance).toMatchObject({
      state: 'down',
      weight: 5,
      stateReason: 'Weights.Warning is 0; check "the check" is warning',
    });
  });

  it('keeps what a check printed short and printable', () => {
    const [instance] = read({ checks: [check('critical', { Output: `\u001b[31mred\n${'x'.repeat(5000)}` })] });
    expect(instance?.stateReason).toMatch(/^check "the check" is critical: \[31mred x+$/);
    expect(instance?.stateReason?.length).toBe(200);
  });

  it('leaves tags out where they do not fit', () => {
    expect(read({ tags: ['x'.repeat(2000)] })[0]?.metadata.size).toBe(0);
    expect(read({ tags: ['a'], meta: { tags: 'mine' } })[0]?.metadata.get('tags')).toBe('mine');
    const full = Object.fromEntries(Array.from({ length: 64 }, (_, at) => [`k${at}`, 'v']));
    expect(read({ tags: ['a'], meta: full })[0]?.metadata.size).toBe(64);
  });

  it.each([
    ['port 0', { port: 0 }],
    ['a host that is none', { address: 'a b' }],
    ['metadata that is no map of texts', { meta: { a: 1 } }],
    ['metadata beyond 4 KiB', { meta: { a: 'x'.repeat(5000) } }],
    ['an id that is a number', { serviceParts: { ID: 7 } }],
    ['no node', { nodeParts: { Node: undefined } }],
    ['checks that are no list', { checks: 7 as unknown as null }],
  ])('is left out and reported when it has %s, and its neighbours stay', (_, parts) => {
    const found = read(parts, { id: 'good' });
    expect(found.map((each) => each.id)).toEqual(['good']);
    expect(found.skips).toHaveLength(1);
    expect(found.skips?.[0]).toMatch(/\w{3}/);
  });

  it('is no reading at all when the answer is not a list', () => {
    for (const body of [null, {}, 'x', 7]) expect(readHealth('web', body, () => undefined)).toBeUndefined();
  });

  it('never throws, and never repeats an id', () => {
    const part = fc.constantFrom('web', 'web-1', 'a/b', '', '__proto__', 'x'.repeat(300), 'node-one');
    const parts = fc.record({
      id: part,
      node: part,
      port: fc.constantFrom(80, 0, -1, 1.5),
      meta: fc.jsonValue(),
      checks: fc.constant([]),
    });
    fc.assert(
      fc.property(fc.array(parts), (entries) => {
        const ids = read(...entries).map((each) => each.id);
        expect(new Set(ids).size).toBe(ids.length);
        for (const id of ids) expect(isName(id)).toBe(true);
      }),
    );
    fc.assert(fc.property(fc.array(fc.jsonValue()), (body) => void readHealth('web', body, () => undefined)));
  });
});

describe('the id of an instance', () => {
  const ids = (...parts: readonly EntryParts[]): string[] => read(...parts).map((each) => each.id);

  it('is that of the registration', () => {
    expect(ids({ id: 'web-1' }, { id: 'web-2' })).toEqual(['web-1', 'web-2']);
  });

  it('is the node where the registration has only the default, which every node has', () => {
    expect(ids({ id: 'web', node: 'n1' }, { id: 'web', node: 'n2' })).toEqual(['n1', 'n2']);
    expect(ids({ id: 'web', node: 'n1' })).toEqual(['n1']);
  });

  it('names the node too where two nodes use the same', () => {
    expect(ids({ id: 'r1', node: 'n1' }, { id: 'r1', node: 'n2' }, { id: 'r2' })).toEqual(['r1-n1', 'r1-n2', 'r2']);
  });

  it('is readable and hashed where it is no name', () => {
    expect(ids({ id: 'host:web:80' })[0]).toMatch(/^host-web-80-[0-9a-f]{12}$/);
  });
});

describe('the fingerprint', () => {
  const of = (...parts: readonly EntryParts[]): string => fingerprint(read(...parts));

  it('does not depend on order, nor on what checks print', () => {
    expect(of({ id: 'a' }, { id: 'b' })).toBe(of({ id: 'b' }, { id: 'a' }));
    const warning = (Output: string): EntryParts => ({ checks: [check('warning', { Output })] });
    expect(of(warning('load 1'))).toBe(of(warning('load 2')));
  });

  it.each([
    ['an address', { address: '10.0.0.2' }],
    ['a state', { checks: [check('warning')] }],
    ['metadata', { meta: { a: 'b' } }],
    ['a weight', { weights: { Passing: 2, Warning: 1 } }],
  ])('changes with %s', (_, parts) => {
    expect(of(parts)).not.toBe(of({}));
  });
});

describe('the catalog', () => {
  it('wants every service that is usable but Consul itself, and reports names that are none', () => {
    const bad: string[] = [];
    const services = new Map<string, unknown>([
      ['consul', []],
      ['web', ['a', 'b']],
      ['pay', ['a']],
      ['odd', null],
      ['a b', []],
    ]);
    expect([...wantedNames(services, [], (name) => bad.push(name))]).toEqual(['web', 'pay', 'odd']);
    expect([...wantedNames(services, ['a', 'b'], () => undefined)]).toEqual(['web', 'odd']);
    expect(bad).toEqual(['"a b"']);
  });
});
