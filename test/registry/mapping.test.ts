import { describe, expect, it } from 'vitest';
import { instance } from '../../src/core/instance.ts';
import type { Interest, OnSkip } from '../../src/registry/backend.ts';
import { EVERYTHING, mapped, type ServiceMapping } from '../../src/registry/mapping.ts';
import { MemoryBackend, MemoryRegistry } from '../contract/memory-backend.ts';
import { Observation } from '../contract/observation.ts';
import { registryBackendContract, type RegistryHarness } from '../contract/registry-backend.ts';

const ALL: Interest = { kind: 'all' };
const member = (service: string, id = 'i'): ReturnType<typeof instance> =>
  instance({ service, id, host: '10.0.0.7', port: 80 });

async function namesUnder(mapping: ServiceMapping, ...theirs: readonly string[]) {
  const registry = new MemoryRegistry();
  for (const service of theirs) registry.register(member(service));
  const skips: string[] = [];
  const onSkip: OnSkip = ({ service, why }) => skips.push(`${service}: ${why}`);
  const backend = mapped(new MemoryBackend(registry), mapping, onSkip);
  const watch = await new Observation(backend, ALL).synced(1000);
  const listed = await backend.list(ALL, AbortSignal.timeout(1000));
  expect([...listed.keys()].sort()).toEqual([...watch.table.keys()].sort());
  for (const [service, instances] of watch.table) {
    for (const each of instances.values()) expect(each.service).toBe(service);
  }
  return { registry, watch, skips, names: [...watch.table.keys()].sort() };
}

describe('services of a registry, under our names', () => {
  it('are all of them where nothing is said', async () => {
    const { names, watch } = await namesUnder(EVERYTHING, 'web', 'pay');
    expect(names).toEqual(['pay', 'web']);
    await watch.stop();
  });

  it('have a prefix where one is set, through every kind of event', async () => {
    const { names, watch, registry } = await namesUnder({ kind: 'all', prefix: 'dc1-' }, 'web');
    expect(names).toEqual(['dc1-web']);
    registry.register(member('web', 'second'));
    registry.deregister('web', 'i');
    await watch.until(
      'the change',
      () =>
        watch
          .of('dc1-web')
          .map((each) => each.id)
          .join() === 'second',
      1000,
    );
    expect(watch.of('dc1-web')[0]?.service).toBe('dc1-web');
    registry.deregister('web', 'second');
    await watch.until('the end', () => !watch.table.has('dc1-web'), 1000);
    await watch.stop();
  });

  it('are those that are named, renamed, and one of theirs may be several of ours', async () => {
    const theirs = new Map([
      ['web', 'frontend'],
      ['www', 'frontend'],
      ['pay', '_pay._tcp.example'],
    ]);
    const { names, watch, registry } = await namesUnder(
      { kind: 'named', theirs },
      'frontend',
      '_pay._tcp.example',
      'other',
    );
    expect(names).toEqual(['pay', 'web', 'www']);
    registry.register(member('other', 'second'));
    registry.register(member('frontend', 'second'));
    await watch.until('the second', () => watch.of('www').length === 2, 1000);
    expect(watch.violations).toEqual([]);
    await watch.stop();
  });

  it('are left out and reported, once per watch, where their name is none here', async () => {
    const { names, watch, skips, registry } = await namesUnder(EVERYTHING, 'web', 'a/b', '__proto__', 'x'.repeat(200));
    expect(names).toEqual(['web']);
    for (let at = 0; at < 10; at += 1) registry.register(member('a/b', `i${at}`));
    registry.register(member('web', 'last'));
    await watch.until('the last', () => watch.of('web').length === 2, 1000);
    // Three for the watch and three for the list.
    expect(skips).toHaveLength(6);
    expect(skips[0]).toMatch(/^a\/b: the service name "a\/b" must be 1 to 128/);
    await watch.stop();
  });

  it('must be names in the configuration', () => {
    const mapping: ServiceMapping = { kind: 'named', theirs: new Map([['no name', 'web']]) };
    expect(() => mapped(new MemoryBackend(new MemoryRegistry()), mapping, () => undefined)).toThrow(
      /"no name" must be/,
    );
  });
});

/** The suite knows services as `contract-1`; this registry has them as `1`. */
function prefixedHarness(): RegistryHarness {
  const registry = new MemoryRegistry();
  const theirs = (service: string): string => service.slice('contract-'.length);
  const write = (change: () => void): Promise<void> => {
    change();
    return Promise.resolve();
  };
  const mapping: ServiceMapping = { kind: 'all', prefix: 'contract-' };
  return {
    backend: ({ onSkip }) =>
      mapped(
        new MemoryBackend(registry, {
          silenceMs: 300,
          onSkip: (what) => onSkip({ ...what, service: `contract-${what.service}` }),
        }),
        mapping,
        onSkip,
      ),
    register: (wanted) => write(() => registry.register({ ...wanted, service: theirs(wanted.service) })),
    deregister: (gone) => write(() => registry.deregister(theirs(gone.service), gone.id)),
    registerHostile: (service) => write(() => registry.hostile.add(theirs(service))),
    lose: () => write(() => registry.lose()),
    restore: () => write(() => registry.restore()),
    freeze: () => write(() => registry.freeze()),
    restartEmpty: () => write(() => registry.restartEmpty()),
    refusedBackend: () => {
      const strict = new MemoryRegistry();
      strict.refuse();
      return mapped(new MemoryBackend(strict), mapping, () => undefined);
    },
    close: () => Promise.resolve(),
  };
}

registryBackendContract('a mapped registry', () => Promise.resolve(prefixedHarness()), {
  carries: ['id', 'weight', 'zone', 'version', 'secure', 'state', 'metadata'],
  lacks: {},
  lossNames: { address: /memory:1/, setting: /registries\[\]\.address/ },
  refusalNames: /registries\[\]\.token/,
});
