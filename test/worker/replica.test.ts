import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BreakerGate } from '../../src/breaker/gate.ts';
import { ManualClock } from '../../src/core/clock.ts';
import { instance } from '../../src/core/instance.ts';
import { seededRandom } from '../../src/core/random.ts';
import { HostTable } from '../../src/routing/hosts.ts';
import { Figures } from '../../src/upstream/figures.ts';
import { Fleet } from '../../src/upstream/fleet.ts';
import { Feed } from '../../src/worker/feed.ts';
import { Replica } from '../../src/worker/replica.ts';
import type { Update } from '../../src/worker/update.ts';
import { POLICY } from '../proxy/harness.ts';

const CAPACITY = 48;
const SERVICES = ['a', 'b', 'c'];

/** A fleet and one thread that follows it, with updates that arrive when the test lets them. */
class World {
  readonly clock = new ManualClock();
  readonly figures = new Figures(CAPACITY);
  readonly underway: Update[] = [];
  readonly freed: number[] = [];
  readonly fleet: Fleet;
  readonly replica: Replica;
  readonly feed: Feed;

  constructor() {
    const { clock, figures } = this;
    const random = seededRandom(1);
    let feed: Feed | undefined;
    this.fleet = new Fleet({
      clock,
      random,
      figures,
      defaultPolicy: POLICY,
      barrier: { mark: () => feed?.mark() ?? (() => true) },
    });
    this.replica = new Replica({
      figures,
      gate: new BreakerGate(figures.breakers, clock, 1, this.fleet.breakerReports),
      random,
      hosts: new HostTable([], 'localhost'),
      onFreed: (slot) => this.freed.push(slot),
      onDropped: () => undefined,
    });
    const rows = new Map<string, number>();
    this.feed = feed = new Feed({
      fleet: this.fleet,
      rowOf: (name) => rows.get(name) ?? (rows.set(name, rows.size + 2), rows.size + 1),
      send: (update) => this.underway.push(structuredClone(update)),
    });
    this.fleet.listen({
      serviceAdded: (service) => this.feed.serviceChanged(service),
      policyChanged: (service) => this.feed.serviceChanged(service),
      serviceDropped: (service) => this.feed.serviceDropped(service),
      added: (member) => this.feed.memberChanged(member),
      updated: (member) => this.feed.memberChanged(member),
      freed: (member) => this.feed.memberFreed(member),
      viewChanged: (service) => this.feed.viewChanged(service),
    });
  }

  /** The thread takes over one update. */
  deliver(): void {
    const update = this.underway.shift();
    if (!update) return;
    this.replica.apply(update);
    this.feed.acknowledged(update.through);
  }

  /** Whoever a view of the thread lists is there, and is who the fleet gave the slot to. */
  check(): void {
    for (const name of SERVICES) {
      const service = this.replica.services.named(name);
      for (const slot of service?.view.slots ?? []) {
        const member = this.replica.members[slot];
        expect(member?.service.name).toBe(name);
        expect(member?.instance.id).toBe(this.fleet.memberBySlot(slot)?.instance.id);
        expect(member?.instance.port).toBe(this.fleet.memberBySlot(slot)?.instance.port);
      }
    }
  }

  async settle(): Promise<void> {
    for (let round = 0; round < 50; round++) {
      if (round > 0) this.clock.advance(100);
      this.fleet.flush();
      await Promise.resolve();
      while (this.underway.length > 0) {
        this.deliver();
        await Promise.resolve();
      }
    }
  }
}

const change = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('upsert' as const),
      service: fc.constantFrom(...SERVICES),
      id: fc.nat(5),
      port: fc.integer({ min: 1, max: 3 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('pass' as const), service: fc.constantFrom(...SERVICES), id: fc.nat(5) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('remove' as const), service: fc.constantFrom(...SERVICES), id: fc.nat(5) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('fail' as const), service: fc.constantFrom(...SERVICES), id: fc.nat(5) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('drop' as const), service: fc.constantFrom(...SERVICES) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('policy' as const),
      service: fc.constantFrom(...SERVICES),
      attempts: fc.nat(3),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('turn' as const) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('deliver' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.nat(6000) }) },
);

describe('a thread that follows the fleet', () => {
  it('never lists whom it does not know, and in the end knows all that the fleet knows, whatever happens in between', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 120, size: 'max' }), async (changes) => {
        const world = new World();
        const { fleet } = world;
        for (const each of changes) {
          if (each.do === 'deliver') world.deliver();
          else if (each.do === 'turn') await Promise.resolve();
          else if (each.do === 'wait') world.clock.advance(each.ms);
          else if (each.do === 'drop') fleet.dropService(each.service);
          else if (each.do === 'policy')
            fleet.configure(each.service, { ...POLICY, retry: { ...POLICY.retry, attempts: each.attempts } });
          else if (each.do === 'upsert')
            fleet.upsert(instance({ id: `i${each.id}`, service: each.service, host: '10.0.0.1', port: each.port }));
          else if (each.do === 'remove') fleet.remove(each.service, `i${each.id}`);
          else {
            const member = fleet.find(each.service, `i${each.id}`);
            if (member && each.do === 'pass') fleet.setProbe(member, 'passing', 'test');
            if (member && each.do === 'fail')
              for (let times = 0; times < 5; times++) world.replica.members[member.slot]?.admit()?.settle('timeout');
          }
          world.check();
        }
        await world.settle();
        world.check();
        for (const name of SERVICES) {
          const known = fleet.service(name);
          const followed = world.replica.services.named(name);
          expect(followed === undefined).toBe(known === undefined);
          if (!known || !followed) continue;
          expect(followed.view).toEqual(known.view);
          expect(followed.policy).toEqual(known.policy);
        }
        for (const [slot, member] of fleet.members.entries())
          if (member) expect(world.replica.members[slot]?.instance.id).toBe(member.instance.id);
        fleet.close();
      }),
      { numRuns: 150 },
    );
  });

  it('is told everything in bounded pieces, members before the views that name them', async () => {
    const world = new World();
    for (let id = 0; id < CAPACITY; id++) {
      const member = world.fleet.upsert(instance({ id: `i${id}`, service: 'a', host: '10.0.0.1', port: 1 + id }));
      if (member) world.fleet.setProbe(member, 'passing', 'test');
    }
    await world.settle();
    expect(world.replica.services.named('a')?.view.slots).toHaveLength(CAPACITY);
    expect(world.replica.services.resolve('a.localhost')?.name).toBe('a');
  });

  it('does not give a slot to another before the thread knows that it is free', async () => {
    const world = new World();
    const { fleet } = world;
    const member = fleet.upsert(instance({ id: 'i1', service: 'a', host: '10.0.0.1', port: 1 }))!;
    fleet.setProbe(member, 'passing', 'test');
    await world.settle();
    fleet.remove('a', 'i1');
    fleet.flush();
    await Promise.resolve();
    world.clock.advance(1000);
    expect(fleet.memberBySlot(member.slot)).toBe(member);
    expect(world.replica.members[member.slot]?.admit()).toBeUndefined();
    world.deliver();
    world.clock.advance(1000);
    expect(fleet.memberBySlot(member.slot)).toBeUndefined();
    await world.settle();
    expect(world.freed).toEqual([member.slot]);
  });
});
