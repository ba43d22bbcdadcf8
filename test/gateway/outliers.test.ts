import { describe, expect, it } from 'vitest';
import type { OutlierPolicy, ServicePolicy } from '../../src/core/policy.ts';
import { parseDuration } from '../../src/core/units.ts';
import { Outliers } from '../../src/gateway/outliers.ts';
import type { Member } from '../../src/upstream/directory.ts';
import { FleetHarness, web } from '../upstream/fleet-harness.ts';
import { POLICY } from '../policy.ts';

const IDS = ['a', 'b', 'c', 'd', 'e', 'f'];

function policyOf(part: Partial<OutlierPolicy> = {}): ServicePolicy {
  return { ...POLICY, outliers: { ...POLICY.outliers, successRate: 'eject', latency: 'eject', ...part } };
}

class World {
  readonly harness = new FleetHarness({ defaultPolicy: policyOf() });
  readonly said: string[] = [];
  readonly members: Member[];
  readonly watch: Outliers;

  constructor(part: Partial<OutlierPolicy> = {}) {
    this.harness.fleet.setDefaultPolicy(policyOf(part));
    this.members = this.harness.serving(...IDS);
    this.watch = new Outliers({
      clock: this.harness.clock,
      fleet: this.harness.fleet,
      onOutlier: ({ instance: { id } }, { by }, result, fresh) =>
        void this.said.push(`${id} ${by} ${result}${fresh ? '' : ' again'}`),
    });
  }

  /** Lets an interval pass in which everybody gets requests, `a` failing or slow. */
  interval(of: { failing?: number; latencyMs?: number; attempts?: number } = {}): void {
    const { figures, clock, fleet } = this.harness;
    for (let second = 0; second < 10; second++) {
      for (const { slot } of this.members) {
        for (let request = 0; request < (of.attempts ?? 20); request++) {
          figures.take(slot);
          figures.release(slot);
        }
        figures.latencyMs[slot] = 40;
      }
      const [{ slot } = { slot: 0 }] = this.members;
      for (let failure = 0; failure < (of.failing ?? 0); failure++) figures.failed(slot);
      figures.latencyMs[slot] = of.latencyMs ?? 40;
      clock.advance(1000);
      fleet.flush();
    }
  }
}

describe('an instance that fails more than its peers', () => {
  it('is out for half a minute, with its figures in the cause, and back by itself', () => {
    const world = new World();
    world.interval({ failing: 10 });
    expect(world.said).toEqual([]);
    world.interval({ failing: 10 });
    world.interval();
    expect(world.said).toEqual(['a success-rate eject']);
    expect(world.harness.slots).toEqual(['b', 'c', 'd', 'e', 'f']);
    expect(world.harness.log).toEqual([
      expect.stringMatching(
        /^a ejection: in rotation > ejected \(outlier by success-rate, for 30s: success rate \d+\.\d % of 200/,
      ),
    ]);
    const [a] = world.members as [Member];
    const { ejectedForMs = 0 } = world.harness.fleet.explain(a) ?? {};
    expect(ejectedForMs).toBeGreaterThan(0);
    expect(ejectedForMs).toBeLessThanOrEqual(30_000);
    world.harness.clock.advance(31_000);
    expect(world.harness.slots).toEqual(IDS);
    expect(world.harness.log.at(-1)).toBe('a ejection: ejected > in rotation (its time out as an outlier is over)');
    expect(world.harness.fleet.explain(a)?.ejectedForMs).toBeUndefined();
  });

  it('is out for longer each time, and forgiven by good conduct', () => {
    const world = new World();
    const outFor = (): number | undefined => {
      for (let turn = 0; turn < 40 && world.harness.slots.includes('a'); turn++) world.interval({ failing: 10 });
      const { ejectedForMs = 0 } = world.harness.fleet.explain(world.members[0]!) ?? {};
      const longMs = parseDuration(/for (\w+):/.exec(world.harness.log.at(-1) ?? '')?.[1] ?? '');
      world.harness.clock.advance(ejectedForMs + 1000);
      expect(world.harness.slots).toEqual(IDS);
      return longMs;
    };
    expect([outFor(), outFor(), outFor()]).toEqual([30_000, 60_000, 90_000]);
    for (let turn = 0; turn < 12; turn++) world.interval();
    expect(outFor()).toBe(30_000);
  });

  it('is only counted where it is observed, and called fresh once', () => {
    const world = new World({ successRate: 'observe' });
    for (let turn = 0; turn < 4; turn++) world.interval({ failing: 10 });
    expect(world.said.slice(0, 3)).toEqual([
      'a success-rate observe',
      'a success-rate observe again',
      'a success-rate observe again',
    ]);
    expect(world.harness.slots).toEqual(IDS);
    world.interval();
    world.interval();
    world.said.length = 0;
    for (let turn = 0; turn < 2; turn++) world.interval({ failing: 10 });
    expect(world.said[0]).toBe('a success-rate observe');
  });

  it('stays where the ejection cap leaves no room', () => {
    const world = new World();
    for (const id of ['b', 'c', 'd'])
      world.harness.fleet.setEjected(world.harness.fleet.find('web', id)!, true, 'test');
    // Then there are too few to compare; so peers come in.
    for (const id of ['g', 'h']) world.members.push(...world.harness.serving(id));
    world.harness.fleet.setEjected(world.harness.fleet.find('web', 'e')!, true, 'test');
    for (const id of ['i', 'j']) world.members.push(...world.harness.serving(id));
    world.harness.fleet.setEjected(world.harness.fleet.find('web', 'f')!, true, 'test');
    for (let turn = 0; turn < 3; turn++) world.interval({ failing: 10 });
    expect(world.said[0]).toBe('a success-rate capped');
    expect(world.harness.slots).toContain('a');
  });
});

describe('nobody is ejected', () => {
  it('who is slow together with everybody, or gets too few requests', () => {
    const world = new World();
    for (let turn = 0; turn < 3; turn++) world.interval({ failing: 5, attempts: 5 });
    expect(world.said).toEqual([]);
  });

  it('in panic', () => {
    const world = new World();
    for (const id of ['d', 'e', 'f', 'b']) {
      world.harness.fleet.setProbe(world.harness.fleet.find('web', id)!, 'failing', 'test');
    }
    expect(world.harness.view?.panic).toBe(true);
    for (let turn = 0; turn < 3; turn++) world.interval({ failing: 10 });
    expect(world.said).toEqual([]);
  });

  it('for what an instance did that had its slot before', () => {
    const world = new World();
    for (let turn = 0; turn < 2; turn++) world.interval();
    const slot = world.members[0]!.slot;
    world.harness.fleet.remove('web', 'a');
    world.harness.fleet.flush();
    world.harness.figures.attempts[slot] = 0;
    const next = world.harness.fleet.upsert(web('z')) as Member;
    world.harness.fleet.setProbe(next, 'passing', 'test');
    world.interval();
    expect(world.said).toEqual([]);
  });
});

describe('an instance that answers more slowly than its peers', () => {
  it('is ejected by its average latency', () => {
    const world = new World();
    for (let turn = 0; turn < 2; turn++) world.interval({ latencyMs: 2000 });
    expect(world.said[0]).toBe('a latency eject');
  });
});

describe('the watch', () => {
  it('leaves no timer, and no listener', () => {
    const world = new World();
    world.watch.close();
    expect(world.harness.clock.pending).toBe(0);
    world.harness.fleet.remove('web', 'a');
    world.harness.fleet.flush();
  });

  it('takes turns over very many services, each of which is looked at once an interval', () => {
    const harness = new FleetHarness({ defaultPolicy: policyOf(), capacity: 120_000, maxServices: 20_000 });
    for (let service = 0; service < 10_000; service++) harness.fleet.know(`s${service}`);
    let turns = 0;
    let spentMs = 0;
    const watch = new Outliers({
      clock: {
        // Every look at the clock finds a millisecond gone.
        now: () => harness.clock.now() + spentMs++,
        wall: () => harness.clock.wall(),
        after: (delayMs, task) =>
          harness.clock.after(delayMs, () => {
            turns++;
            task();
          }),
      },
      fleet: harness.fleet,
      onOutlier: () => undefined,
    });
    harness.clock.advance(1000);
    expect(turns).toBe(7);
    watch.close();
  });
});
