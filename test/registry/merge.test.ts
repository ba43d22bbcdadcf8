import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import { addressOf, type Instance, instance } from '../../src/core/instance.ts';
import { type MergeSink, RegistryMerge } from '../../src/registry/merge.ts';
import { SourceTable } from '../../src/registry/table.ts';
import { RecordingSink } from './recording-sink.ts';
import { Registrant } from './registrant.ts';

function twoRegistries(): {
  fleet: RecordingSink;
  clock: ManualClock;
  merge: RegistryMerge;
  first: Registrant;
  second: Registrant;
} {
  const fleet = new RecordingSink();
  const clock = new ManualClock();
  const merge = new RegistryMerge(fleet, clock);
  return { fleet, clock, merge, first: new Registrant(merge, 'consul'), second: new Registrant(merge, 'etcd') };
}

const web = (id: string, address: number, part: Partial<Instance> = {}): Instance =>
  instance({ service: 'web', id, host: `10.0.0.${address >> 1}`, port: 80 + (address & 1), ...part });

describe('a pool of several registries', () => {
  it('shows an address once, from when the first registry has it until the last has lost it', () => {
    const { fleet, first, second } = twoRegistries();
    second.put(web('a', 1), false);
    first.put(web('a', 1), false);
    expect(fleet.take()).toEqual(['+web/a']);
    second.drop(web('a', 1));
    expect(fleet.take()).toEqual([]);
    first.drop(web('a', 1));
    expect(fleet.take()).toEqual(['-web/a']);
    expect(fleet.services.size).toBe(0);
  });

  it('takes weight, zone, metadata and state whole from the first registry in the order that has the address', () => {
    const { fleet, first, second } = twoRegistries();
    second.put(web('a', 1, { weight: 9, zone: 'b', state: 'up' }), false);
    first.put(web('a', 1, { weight: 2, state: 'down' }), false);
    expect(fleet.pool.get('web/a')).toMatchObject({ weight: 2, zone: undefined, state: 'down' });
    first.drop(web('a', 1));
    expect(fleet.pool.get('web/a')).toMatchObject({ weight: 9, zone: 'b', state: 'up' });
  });

  it('says nothing where nothing changed for the pool', () => {
    const { fleet, first, second } = twoRegistries();
    first.put(web('a', 1, { metadata: new Map([['k', 'v']]) }), false);
    fleet.take();
    first.put(web('a', 1, { metadata: new Map([['k', 'v']]) }), false);
    first.put(web('a', 1, { metadata: new Map([['k', 'v']]) }), true);
    second.put(web('b', 1, { weight: 7 }), false);
    second.drop(web('b', 1));
    expect(fleet.take()).toEqual([]);
  });

  it('treats an id that moves to another address as another instance', () => {
    const { fleet, first } = twoRegistries();
    first.put(web('a', 1), false);
    first.drop(web('a', 1));
    first.put(web('a', 2), false);
    expect(fleet.take()).toEqual(['+web/a', '-web/a', '+web/a']);
  });

  it('tells a service that is known and empty from one that is not known', () => {
    const { fleet, first, second, merge } = twoRegistries();
    first.source.know('web');
    second.source.know('web');
    first.source.forget('web');
    expect([...merge.services()]).toEqual(['web']);
    second.source.forget('web');
    expect([...fleet.services]).toEqual([]);
  });

  it('lets a new order decide anew', () => {
    const { fleet, merge, first, second } = twoRegistries();
    first.put(web('a', 1, { weight: 1 }), false);
    second.put(web('a', 1, { weight: 2 }), false);
    merge.setOrder(['etcd', 'consul']);
    expect(fleet.pool.get('web/a')?.weight).toBe(2);
  });

  it('refuses a second registry of the same name, until the first is closed', () => {
    const { merge, first } = twoRegistries();
    expect(() => merge.source('consul')).toThrow(/two registries named consul/);
    first.source.close();
    expect(merge.source('consul').name).toBe('consul');
  });
});

describe('where an instance came from', () => {
  it('is told per registry, with its id there, since when, whether held, and who decides', () => {
    const { clock, merge, first, second } = twoRegistries();
    const startMs = clock.wall();
    second.put(web('theirs', 1), false);
    second.source.flush();
    clock.advance(1000);
    first.put(web('ours', 1, { state: 'degraded' }), true);
    merge.settle();
    expect(merge.origins('web', 'ours')).toEqual([
      {
        registry: 'consul',
        registeredId: 'ours',
        state: 'degraded',
        held: true,
        sinceWallMs: startMs + 1000,
        decides: true,
      },
      { registry: 'etcd', registeredId: 'theirs', state: 'up', held: false, sinceWallMs: startMs, decides: false },
    ]);
    expect(merge.origins('web', 'nobody')).toEqual([]);
  });
});

describe('ids of the pool', () => {
  it('are told apart by address where two registries use one id for different addresses', () => {
    const { fleet, first, second } = twoRegistries();
    first.put(web('a', 1), false);
    second.put(web('a', 2), false);
    expect([...fleet.pool.keys()]).toEqual(['web/a', expect.stringMatching(/^web\/a-[0-9a-f]{8}$/)]);
    second.put(web('a', 2, { weight: 3 }), false);
    second.drop(web('a', 2));
    expect([...fleet.pool.keys()]).toEqual(['web/a']);
  });

  it('keep within the length of a name', () => {
    const { fleet, first, second } = twoRegistries();
    first.put(web('x'.repeat(128), 1), false);
    second.put(web('x'.repeat(128), 2), false);
    expect(fleet.pool.size).toBe(2);
  });

  it('stay, once settled, while the address stays: its health hangs on it', () => {
    const { fleet, merge, first } = twoRegistries();
    first.put(web('old', 1), false);
    merge.settle();
    fleet.take();
    // A registry that lost everything, and the instance registered anew.
    first.put(web('old', 1), true);
    first.put(web('new', 1), false);
    first.drop(web('old', 1));
    expect(fleet.take()).toEqual([]);
    expect(merge.origins('web', 'old')).toMatchObject([{ registeredId: 'new' }]);
    expect(first.source.publishedOf(web('new', 1))?.id).toBe('old');
  });

  it('are the same whichever registry answered first', () => {
    const claim = fc.record({
      source: fc.constantFrom(0, 1, 2),
      id: fc.constantFrom('a', 'b', 'c'),
      address: fc.integer({ min: 1, max: 4 }),
    });
    const claims = fc.uniqueArray(claim, { selector: ({ source, id }) => `${source}/${id}`, maxLength: 9 });
    fc.assert(
      fc.property(
        claims.chain((list) => fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length }))),
        ([one, other]) => {
          const settledIds = (order: typeof one): string[] => {
            const fleet = new RecordingSink();
            const merge = new RegistryMerge(fleet, new ManualClock());
            const sources = ['x', 'y', 'z'].map((name) => new Registrant(merge, name));
            for (const each of order) sources[each.source]!.put(web(each.id, each.address), false);
            merge.settle();
            return [...fleet.pool].map(([key, value]) => `${key} ${addressOf(value)} ${value.weight}`).sort();
          };
          expect(settledIds(other)).toEqual(settledIds(one));
        },
      ),
    );
  });
});

describe('after any sequence of changes', () => {
  interface Step {
    readonly source: number;
    readonly id: string;
    readonly address: number;
    readonly weight: number;
    readonly gone: boolean;
  }
  const step = fc.record<Step>({
    source: fc.constantFrom(0, 1, 2),
    id: fc.constantFrom('a', 'b', 'c', 'd'),
    address: fc.integer({ min: 1, max: 5 }),
    weight: fc.integer({ min: 1, max: 3 }),
    gone: fc.boolean(),
  });

  /** So many that others begin to be looked up another way: never, in the middle, from the start. */
  const bystanders = fc.constantFrom(0, 13, 40);

  it('the pool is the union of the registries by address, decided in order, with unique ids', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.nat(60), bystanders, (steps, settleAt, others) => {
        const fleet = new RecordingSink();
        const merge = new RegistryMerge(fleet, new ManualClock());
        const sources = ['x', 'y', 'z'].map((name) => new Registrant(merge, name));
        const registries = sources.map(() => new Map<string, Instance>());
        for (let at = 0; at < others; at++) {
          const other = web(`other-${at}`, 100 + at);
          sources[at % 3]!.put(other, false);
          registries[at % 3]!.set(other.id, other);
        }
        steps.forEach((each, at) => {
          if (at === settleAt) merge.settle();
          const table = registries[each.source]!;
          const before = table.get(each.id);
          const next = web(each.id, each.address, { weight: each.weight });
          if (before && (each.gone || addressOf(before) !== addressOf(next))) {
            sources[each.source]!.drop(before);
            table.delete(each.id);
          }
          if (!each.gone) {
            sources[each.source]!.put(next, false);
            table.set(each.id, next);
          }
        });
        const wanted = new Map<string, number>();
        for (const table of [...registries].reverse()) {
          for (const each of [...table.values()].sort((a, b) => (a.id < b.id ? 1 : -1)))
            wanted.set(addressOf(each), each.weight);
        }
        const shown = new Map([...fleet.pool.values()].map((each) => [addressOf(each), each.weight]));
        expect([...shown].sort()).toEqual([...wanted].sort());
        expect(fleet.pool.size).toBe(wanted.size);
        for (const each of fleet.pool.values()) {
          expect(merge.publishedAt(each)).toBe(each);
          const origins = merge.origins('web', each.id);
          expect(origins.filter(({ decides }) => decides)).toHaveLength(1);
          const having = registries.flatMap((table, at) =>
            [...table.values()].filter((one) => addressOf(one) === addressOf(each)).map(({ id }) => `${at} ${id}`),
          );
          const named = origins.map(({ registry, registeredId }) => `${'xyz'.indexOf(registry)} ${registeredId}`);
          expect(named.sort()).toEqual(having.sort());
        }
      }),
    );
  });
});

describe('a fleet that fails now and then', () => {
  const id = fc.constantFrom('a', 'b', 'c');
  const change = fc.record({
    registry: fc.constantFrom(0, 1),
    id,
    address: fc.integer({ min: 1, max: 3 }),
    weight: fc.integer({ min: 1, max: 2 }),
    gone: fc.boolean(),
    fails: fc.boolean(),
  });

  it('has in the end what it would have had', () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
        const fleet = new RecordingSink();
        let failing = false;
        const sink: MergeSink = {
          upsert: (each) => (failing ? fail() : fleet.upsert(each)),
          remove: (service, each) => (failing ? fail() : fleet.remove(service, each)),
          known: (service, known) => fleet.known(service, known),
        };
        const merge = new RegistryMerge(sink, new ManualClock());
        const limits = { instances: 100, services: 10 };
        const nothing = (): void => undefined;
        const tables = ['x', 'y'].map((name) => new SourceTable(merge.source(name), limits, nothing, nothing));
        const truth = tables.map(() => new Map<string, Instance>());
        for (const each of changes) {
          const next = web(each.id, each.address, { weight: each.weight });
          const table = tables[each.registry]!;
          table.apply(
            each.gone ? { kind: 'remove', service: 'web', id: each.id } : { kind: 'upsert', instance: next },
            0,
          );
          if (each.gone) truth[each.registry]!.delete(each.id);
          else truth[each.registry]!.set(each.id, next);
          failing = each.fails;
          try {
            table.show(() => false);
          } catch (error) {
            expect(error).toEqual(new Error('a bug further down'));
          }
        }
        failing = false;
        for (const table of tables) table.show(() => false);
        const weights = new Map<string, number>();
        for (const table of [...truth].reverse()) {
          for (const each of [...table.values()].sort((a, b) => (a.id < b.id ? 1 : -1)))
            weights.set(addressOf(each), each.weight);
        }
        const shown = [...fleet.pool.values()].map((each) => [addressOf(each), each.weight]);
        expect(shown.sort()).toEqual([...weights].sort());
      }),
    );
  });
});

function fail(): never {
  throw new Error('a bug further down');
}
