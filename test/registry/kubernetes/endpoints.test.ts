import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Instance } from '../../../src/core/instance.ts';
import { joinSlices } from '../../../src/registry/kubernetes/endpoints.ts';
import { readSlice, type PortChoice, type Slice } from '../../../src/registry/kubernetes/slice.ts';
import { DRAINING, NOT_READY, ready, slice } from './slices.ts';

function read(object: unknown, port?: PortChoice): { slice: Slice | undefined; flaws: string[] } {
  const flaws: string[] = [];
  return { slice: readSlice(object, port, (_, why) => flaws.push(why)), flaws };
}

function join(...objects: unknown[]): Instance[] {
  return joinSlices(
    'web',
    objects.flatMap((each) => read(each).slice ?? []),
  );
}

const states = (instances: readonly Instance[]): string[] => instances.map(({ host, state }) => `${host} ${state}`);

describe('conditions', () => {
  it.each([
    ['none at all', undefined, 'up'],
    ['null', null, 'up'],
    ['ready null', { ready: null }, 'up'],
    ['ready', { ready: true, serving: true, terminating: false }, 'up'],
    ['ready, whatever else', { ready: true, terminating: true }, 'up'],
    ['not ready', { ready: false }, 'down'],
    ['not ready, serving', { ready: false, serving: true }, 'down'],
    ['terminating, serving unknown', { ready: false, terminating: true }, 'down'],
    ['terminating and serving', DRAINING.conditions, 'degraded'],
  ])('%s: %o is %s, where nobody else is there', (_, conditions, state) => {
    expect(join(slice('web', 'a', [{ ...ready('10.0.0.1'), conditions }]))[0]?.state).toBe(state);
  });
});

describe('one address in several slices', () => {
  it('is one instance, and ready anywhere is ready', () => {
    const old = slice('web', 'a', [
      { ...ready('10.0.0.1'), ...NOT_READY },
      { ...ready('10.0.0.2'), ...DRAINING },
    ]);
    const fresh = slice('web', 'b', [ready('10.0.0.1'), { ...ready('10.0.0.2'), ...NOT_READY }]);
    const wanted = ['10.0.0.1 up', '10.0.0.2 down'];
    expect([states(join(old, fresh)), states(join(fresh, old))]).toEqual([wanted, wanted]);
  });

  it('counts once for a pod with both families, and by IPv6 where that is all there is', () => {
    const v4 = slice('web', 'a', [ready('10.0.0.1', { pod: 'web-0' })]);
    const v6 = slice('web', 'b', [ready('fd00::1', { pod: 'web-0' }), ready('fd00::2', { pod: 'web-1' })]);
    expect(join(v4, v6).map(({ id, host }) => [id, host])).toEqual([
      ['web-0', '10.0.0.1'],
      ['web-1', 'fd00::2'],
    ]);
  });

  it('never gives the same id twice, whatever the slices say', () => {
    const endpoint = fc.record({
      addresses: fc.array(fc.constantFrom('10.0.0.1', '10.0.0.2', '10.0.0.3', 'fd00::1', 'x', ''), { maxLength: 2 }),
      conditions: fc.option(
        fc.record({ ready: fc.option(fc.boolean()), serving: fc.boolean(), terminating: fc.boolean() }),
      ),
      targetRef: fc.option(fc.record({ kind: fc.constant('Pod'), name: fc.constantFrom('p', 'q', '10.0.0.1-80') })),
    });
    const object = fc
      .tuple(fc.array(endpoint, { maxLength: 4 }), fc.constantFrom(80, 81))
      .map(([endpoints, port]) => slice('web', 's', endpoints, { ports: [{ port }] }));
    fc.assert(
      fc.property(fc.array(object, { maxLength: 4 }), (objects) => {
        const instances = join(...objects);
        expect(new Set(instances.map(({ id }) => id)).size).toBe(instances.length);
        expect(new Set(instances.map(({ host, port }) => `${host} ${port}`)).size).toBe(instances.length);
        expect(join(...objects.toReversed()).map(({ host, state }) => `${host} ${state}`)).toEqual(states(instances));
        const up = instances.some(({ state }) => state === 'up');
        expect(up && instances.some(({ state }) => state === 'degraded')).toBe(false);
      }),
    );
  });
});

describe('the port', () => {
  const ports = [
    { name: 'dns', port: 53, protocol: 'UDP' },
    { name: 'metrics', port: 9090 },
    { name: 'https', port: 8443, protocol: 'TCP', appProtocol: 'https' },
  ];
  const chosen = (port: PortChoice): unknown[] =>
    (read(slice('web', 'a', [ready('10.0.0.1')], { ports }), port).slice?.endpoints ?? []).map((each) => [
      each.port,
      each.secure,
    ]);

  it('is the first that speaks TCP, or the one of that name or number', () => {
    expect(chosen(undefined)).toEqual([[9090, false]]);
    expect(chosen('https')).toEqual([[8443, true]]);
    expect(chosen(8443)).toEqual([[8443, true]]);
  });

  it('that is not there is reported with what is', () => {
    expect(read(slice('web', 'a', [ready('10.0.0.1')], { ports }), 'dns').flaws).toEqual([
      'slice "a" has no TCP port "dns" (it has "dns" 53/UDP, "metrics" 9090/TCP, "https" 8443/TCP); check registries[].port',
    ]);
  });

  it('is any where the slice names none, so that a number must say it', () => {
    const bare = slice('web', 'a', [ready('10.0.0.1')], { ports: [] });
    expect(read(bare, 8080).slice?.endpoints[0]?.port).toBe(8080);
    expect(read(bare).flaws).toEqual(['slice "a" names no port: set registries[].port to the number of one']);
  });
});

describe('hostile slices', () => {
  it('carry what they may: zone, node, pod; and only the first address counts', () => {
    const endpoint = {
      ...ready('10.0.0.1', { pod: 'web-0', zone: 'z1', node: 'n1' }),
      addresses: ['10.0.0.1', '10.0.0.7'],
    };
    const [only, ...rest] = join(slice('web', 'a', [endpoint]));
    expect(rest).toEqual([]);
    expect(only).toMatchObject({ id: 'web-0', zone: 'z1', host: '10.0.0.1', port: 8080 });
    expect([...(only?.metadata ?? [])]).toEqual([
      ['node', 'n1'],
      ['pod', 'web-0'],
    ]);
  });

  it('lose a bad endpoint and keep its neighbours', () => {
    const bad = [
      ready('10.0.0.1'),
      { addresses: [] },
      { addresses: ['a b'] },
      7,
      null,
      { ...ready('10.0.0.2'), zone: 1 },
    ];
    const { slice: parsed, flaws } = read(slice('web', 'a', bad));
    expect(parsed?.endpoints.map(({ host }) => host)).toEqual(['10.0.0.1']);
    expect(flaws).toHaveLength(5);
  });

  it('never throw', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), fc.jsonValue(), (endpoints, ports, other) => {
        const metadata = { name: 'a', namespace: 'default', labels: { 'kubernetes.io/service-name': 'web' } };
        join({ metadata, endpoints, ports }, { metadata: other }, other);
      }),
    );
  });
});
