import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ProbeState } from '../../src/core/health.ts';
import type { Instance, RegisteredState } from '../../src/core/instance.ts';
import { type Outcome, OUTCOMES } from '../../src/core/outcome.ts';
import type { ServicePolicy } from '../../src/core/policy.ts';
import type { Permit } from '../../src/breaker/breaker.ts';
import type { Member } from '../../src/upstream/directory.ts';
import { FleetHarness, web } from './fleet-harness.ts';
import { POLICY } from '../policy.ts';

const SERVICES = ['web', 'api'];
const IDS = ['a', 'b', 'c', 'd', 'e', 'f'];
const CAPACITY = 10;

interface Known {
  instance: Instance;
  probe: ProbeState;
  passedOnce: boolean;
  drained: boolean;
  ejected: boolean;
}

type Step =
  | { do: 'upsert'; id: string; service: string; port: number; state: RegisteredState; weight: number }
  | { do: 'remove' | 'drain' | 'undrain' | 'eject' | 'restore' | 'begin'; id: string; service: string }
  | { do: 'reset'; service: string; ids: string[] }
  | { do: 'probe'; id: string; service: string; state: ProbeState }
  | { do: 'end'; which: number; outcome: Outcome }
  | { do: 'fail'; id: string; service: string }
  | { do: 'wait'; ms: number }
  | { do: 'configure'; service: string; policy: number }
  | { do: 'flush' };

const POLICIES: readonly ServicePolicy[] = [
  POLICY,
  {
    ...POLICY,
    availability: { ...POLICY.availability, panicThreshold: 0.8, panicMode: 'reject', maxEjectedShare: 0.2 },
    balancer: 'random',
  },
  {
    ...POLICY,
    availability: { ...POLICY.availability, panicThreshold: 0, maxEjectedShare: 1, degradedWeight: 0.25 },
    balancer: 'round-robin',
  },
  { ...POLICY, breaker: { ...POLICY.breaker, enabled: false } },
  { ...POLICY, availability: { ...POLICY.availability, mode: 'trust-registry' } },
  { ...POLICY, availability: { ...POLICY.availability, mode: 'trust-probes', minHealthy: 2, panicThreshold: 0 } },
];

const service = fc.constantFrom(...SERVICES);
const id = fc.constantFrom(...IDS);
const port = fc.constantFrom(80, 80, 80, 81);
const stepOf = (weight: number, arbitrary: fc.Arbitrary<Step>) => ({ weight, arbitrary });
const step: fc.Arbitrary<Step> = fc.oneof(
  stepOf(
    6,
    fc.record({
      do: fc.constant('upsert' as const),
      id,
      service,
      port,
      state: fc.constantFrom<RegisteredState>('up', 'up', 'degraded', 'down'),
      weight: fc.constantFrom(1, 1, 5),
    }),
  ),
  stepOf(
    8,
    fc.record({
      do: fc.constant('probe' as const),
      id,
      service,
      state: fc.constantFrom<ProbeState>('unknown', 'passing', 'passing', 'degraded', 'failing'),
    }),
  ),
  stepOf(
    6,
    fc.record({
      do: fc.constantFrom(
        'remove' as const,
        'drain' as const,
        'undrain' as const,
        'eject' as const,
        'restore' as const,
      ),
      id,
      service,
    }),
  ),
  stepOf(6, fc.record({ do: fc.constant('begin' as const), id, service })),
  stepOf(5, fc.record({ do: fc.constant('end' as const), which: fc.nat(), outcome: fc.constantFrom(...OUTCOMES) })),
  stepOf(4, fc.record({ do: fc.constant('fail' as const), id, service })),
  stepOf(2, fc.record({ do: fc.constant('reset' as const), service, ids: fc.uniqueArray(id) })),
  stepOf(3, fc.record({ do: fc.constant('wait' as const), ms: fc.nat(9000) })),
  stepOf(1, fc.record({ do: fc.constant('configure' as const), service, policy: fc.nat(POLICIES.length - 1) })),
  stepOf(3, fc.record({ do: fc.constant('flush' as const) })),
);

/** The fleet beside the plainest account of it that can be given: maps, and every question answered by looking at all. */
class Comparison {
  readonly harness = new FleetHarness({ capacity: CAPACITY });
  readonly known = new Map(SERVICES.map((name) => [name, new Map<string, Known>()]));
  readonly attempts: { member: Member; permit: Permit }[] = [];
  readonly freed = new Set<Member>();

  constructor() {
    this.harness.fleet.listen({
      freed: (member) => {
        expect(member.leaving).toBe(true);
        expect(this.harness.figures.inflight[member.slot]).toBe(0);
        expect(this.attempts.some((attempt) => attempt.member === member)).toBe(false);
        expect(this.freed.has(member)).toBe(false);
        this.freed.add(member);
      },
      transition: (member, gate, from, to) => {
        if (to === 'ejected' || (to === 'open' && from === 'closed')) this.#checkCap(member, gate);
      },
    });
  }

  run(each: Step): void {
    const { fleet, clock } = this.harness;
    switch (each.do) {
      case 'upsert':
        this.#upsert(web(each.id, each));
        return;
      case 'reset': {
        this.harness.reset(
          each.service,
          each.ids.map((name) => web(name, { service: each.service, port: 80 })),
        );
        this.#resync(each.service, each.ids);
        return;
      }
      case 'flush':
        fleet.flush();
        return;
      case 'wait':
        clock.advance(each.ms);
        return;
      case 'configure':
        fleet.configure(each.service, POLICIES[each.policy]!);
        return;
      case 'end':
        this.#end(each.which, each.outcome);
        return;
      case 'remove':
        expect(fleet.remove(each.service, each.id)).toBe(this.known.get(each.service)!.delete(each.id));
        return;
      case 'probe':
      case 'drain':
      case 'undrain':
      case 'eject':
      case 'restore':
      case 'begin':
      case 'fail':
        this.#toMember(each);
    }
  }

  #toMember(each: Extract<Step, { id: string }>): void {
    const { fleet } = this.harness;
    const known = this.known.get(each.service)!.get(each.id);
    const member = fleet.find(each.service, each.id);
    expect(member === undefined).toBe(known === undefined);
    if (!known || !member) return;
    if (each.do === 'probe') {
      fleet.setProbe(member, each.state, 'test');
      known.probe = each.state;
      known.passedOnce ||= each.state === 'passing' || each.state === 'degraded';
    } else if (each.do === 'drain' || each.do === 'undrain') {
      fleet[each.do](each.service, each.id);
      known.drained = each.do === 'drain';
    } else if (each.do === 'eject') {
      if (fleet.setEjected(member, true, 'test')) known.ejected = true;
    } else if (each.do === 'restore') {
      fleet.setEjected(member, false, 'test');
      known.ejected = false;
    } else if (each.do === 'begin') {
      const permit = member.admit();
      if (permit) this.attempts.push({ member, permit });
      if (permit) this.harness.begin(member);
    } else {
      this.harness.fail(member);
    }
  }

  #upsert(instance: Instance): void {
    const members = this.known.get(instance.service)!;
    const member = this.harness.fleet.upsert(instance);
    const before = members.get(instance.id);
    if (!member) members.delete(instance.id);
    else if (before?.instance.port === instance.port) before.instance = instance;
    else members.set(instance.id, { instance, probe: 'unknown', passedOnce: false, drained: false, ejected: false });
  }

  #resync(name: string, ids: readonly string[]): void {
    const members = this.known.get(name)!;
    for (const each of members.keys()) if (!ids.includes(each)) members.delete(each);
    for (const each of ids) {
      const instance = web(each, { service: name, port: 80 });
      const before = members.get(each);
      if (!this.harness.fleet.find(name, each)) members.delete(each);
      else if (before?.instance.port === 80) before.instance = instance;
      else members.set(each, { instance, probe: 'unknown', passedOnce: false, drained: false, ejected: false });
    }
  }

  #end(which: number, outcome: Outcome): void {
    if (this.attempts.length === 0) return;
    const [attempt] = this.attempts.splice(which % this.attempts.length, 1);
    attempt!.permit.settle(outcome);
    this.harness.end(attempt!.member);
  }

  #checkCap(member: Member, gate: string): void {
    const name = member.service.name;
    const members = [...this.harness.fleet.service(name)!.members.values()];
    // One that was out already, by the other gate: then nobody more is out.
    if (gate === 'ejection' ? member.health.breaker !== 'closed' : member.health.ejected) return;
    const { mode, maxEjectedShare } = member.service.policy.availability;
    const known = this.known.get(name)!;
    const isOut = ({ health }: Member): boolean => health.ejected || health.breaker !== 'closed';
    const works = ({ health, instance: { id } }: Member): boolean => {
      const { instance, probe, drained } = known.get(id)!;
      const probed = probe === 'passing' || probe === 'degraded';
      const wanted = instance.state !== 'down' || (mode === 'trust-probes' && probed);
      return wanted && !drained && (probed || mode === 'trust-registry') && health.registered === instance.state;
    };
    const others = members.filter((each) => each !== member);
    const workers = members.filter(works);
    if (!others.some(isOut)) return;
    if (works(member)) expect(workers.filter(isOut).length).toBeLessThanOrEqual(maxEjectedShare * workers.length);
    else if (!workers.some((each) => !isOut(each)))
      expect(members.filter(isOut).length).toBeLessThanOrEqual(maxEjectedShare * members.length);
  }

  check(): void {
    const { fleet, figures } = this.harness;
    fleet.flush();
    for (const name of SERVICES) this.#checkService(name);
    const owners = fleet.members.filter((member) => member !== undefined);
    expect(owners.length).toBeLessThanOrEqual(CAPACITY);
    for (const member of owners) {
      expect(fleet.members[member.slot]).toBe(member);
      expect(figures.inflight[member.slot]).toBe(this.attempts.filter((attempt) => attempt.member === member).length);
      expect(figures.breaker[member.slot]).toBe({ closed: 0, open: 1, 'half-open': 2 }[member.health.breaker]);
    }
    for (const { member } of this.attempts) expect(fleet.members[member.slot]).toBe(member);
    // After a flush only requests in flight keep a slot.
    for (const member of owners) {
      if (member.leaving) expect(this.attempts.some((attempt) => attempt.member === member)).toBe(true);
    }
  }

  #checkService(name: string): void {
    const { fleet } = this.harness;
    const service = fleet.service(name);
    const known = this.known.get(name)!;
    if (!service) {
      expect(known.size).toBe(0);
      return;
    }
    expect([...service.members.keys()].sort()).toEqual([...known.keys()].sort());
    const { mode, panicThreshold, minHealthy, panicMode, degradedWeight } = service.policy.availability;
    const all = [...known.values()].map((each) => {
      const member = service.members.get(each.instance.id)!;
      const { breaker } = member.health;
      const { probe, passedOnce, drained, ejected } = each;
      expect(member.health).toEqual({
        registered: each.instance.state,
        probe,
        breaker,
        ejected,
        drained,
        passedOnce,
        fallback: false,
      });
      const probed = probe === 'passing' || probe === 'degraded';
      const passes = probed || mode === 'trust-registry';
      const wanted = (each.instance.state !== 'down' || (mode === 'trust-probes' && probed)) && !drained;
      return { ...each, slot: member.slot, breaker, passes, wanted };
    });
    const sound = all.filter((each) => each.wanted && !each.ejected && each.breaker === 'closed');
    const available = sound.filter((each) => each.passes);
    const accountable = all.filter((each) => each.wanted && each.passedOnce);
    const doubted = accountable.filter((each) => !each.passes);
    const few = available.length < panicThreshold * accountable.length || available.length < minHealthy;
    const panic = doubted.length > 0 && few;
    const routed = panic && panicMode === 'route';
    const believed = (each: (typeof all)[number]): boolean => each.passes || (routed && each.passedOnce);
    const slots = panic && !routed ? [] : sound.filter(believed);
    const trials = all.filter((each) => each.wanted && !each.ejected && each.breaker === 'half-open' && believed(each));
    const out = all.filter((each) => each.wanted && believed(each) && (each.ejected || each.breaker !== 'closed'));
    const slotsOf = (some: readonly { slot: number }[]): number[] => some.map(({ slot }) => slot).sort((x, y) => x - y);
    const { view } = service;
    expect([...view.slots]).toEqual(slotsOf(slots));
    expect([...view.trials]).toEqual(slotsOf(trials));
    expect([view.registered, view.available, view.panic]).toEqual([all.length, available.length, panic]);
    const weights = all.map(({ slot, instance, probe }) => {
      const said = { registry: instance.state === 'degraded', probe: probe === 'degraded' };
      const overruled = mode === 'trust-probes' && probe === 'passing';
      const degraded = mode === 'trust-registry' ? said.registry : !overruled && (said.registry || said.probe);
      const weight = instance.weight * (degraded ? degradedWeight : 1);
      expect(this.harness.figures.weight[slot]).toBe(weight);
      return [slot, weight] as const;
    });
    if (view.uniform) {
      const seen = weights.filter(([slot]) => view.slots.includes(slot)).map(([, weight]) => weight);
      expect(new Set(seen).size).toBeLessThanOrEqual(1);
    }
    const rejected = panic && !routed && available.length > 0;
    const broken = out.length > 0 && !rejected;
    const reason = all.length === 0 ? 'none-registered' : broken ? 'all-breakers-open' : 'none-available';
    expect(view.empty).toBe(slots.length > 0 ? undefined : reason);
    const trial = service.takeTrial();
    const ready = trials.filter(({ slot }) => fleet.figures.breakers.trialReady(slot));
    expect(ready.map(({ slot }) => slot).sort((x, y) => x - y)[0] ?? -1).toBe(trial);
    const picked = service.balancer.pick(view, new Int32Array(0), 0);
    expect(slots.length === 0 ? picked === -1 : view.slots.includes(picked)).toBe(true);
  }
}

describe('the fleet', () => {
  it('has the views, slots and counts of the plainest account of it, whatever happens', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(step, fc.boolean()), { maxLength: 120, size: 'max' }), (steps) => {
        const comparison = new Comparison();
        for (const [each, look] of steps) {
          comparison.run(each);
          if (look) comparison.check();
        }
        comparison.check();
      }),
      { numRuns: 60 },
    );
  });
});
