import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ProbeState } from '../../src/core/health.ts';
import type { AvailabilityPolicy, ServicePolicy } from '../../src/core/policy.ts';
import { availability, regimeOf, type Standing } from '../../src/upstream/availability.ts';
import type { Member } from '../../src/upstream/directory.ts';
import { FleetHarness, web } from './fleet-harness.ts';
import { POLICY } from '../policy.ts';

const ID = 'fallback:10.9.9.9:80';
const FALLBACK = [{ host: '10.9.9.9', port: 80 }];

function start(part: Partial<ServicePolicy> = {}): { harness: FleetHarness; a: Member; b: Member; spare: Member } {
  const harness = new FleetHarness();
  harness.fleet.listen({
    fallback: ({ name }, on) => void harness.log.push(`fallback ${name} ${on ? 'on' : 'off'}`),
  });
  harness.fleet.configure('web', { ...POLICY, fallback: FALLBACK, ...part });
  const [a, b] = harness.serving('a', 'b') as [Member, Member];
  const spare = harness.fleet.find('web', ID)!;
  harness.fleet.setProbe(spare, 'passing', 'test');
  harness.fleet.flush();
  harness.log.length = 0;
  return { harness, a, b, spare };
}

describe('a fallback instance', () => {
  it('is sent to only while no registered one is available, before those in doubt, loudly', () => {
    const { harness, a, b } = start();
    expect(harness.slots).toEqual(['a', 'b']);
    harness.fleet.setProbe(a, 'failing', 'test');
    harness.fleet.setProbe(b, 'failing', 'test');
    expect(harness.slots).toEqual([ID]);
    expect(harness.view).toMatchObject({ fallback: true, panic: false, available: 0, registered: 3, empty: undefined });
    harness.fleet.setProbe(b, 'passing', 'test');
    harness.fleet.setProbe(a, 'passing', 'test');
    expect(harness.slots).toEqual(['a', 'b']);
    expect(harness.log.filter((line) => line.startsWith('fallback') || line.startsWith('panic'))).toEqual([
      'fallback web on',
      'fallback web off',
    ]);
  });

  it('serves a service that has nobody registered, as soon as it has passed a probe', () => {
    const harness = new FleetHarness();
    harness.fleet.configure('web', { ...POLICY, fallback: FALLBACK });
    expect(harness.view).toMatchObject({ slots: { length: 0 }, empty: 'none-available' });
    harness.fleet.setProbe(harness.fleet.find('web', ID)!, 'passing', 'test');
    expect(harness.slots).toEqual([ID]);
  });

  it('leaves what is in doubt to panic where it is in doubt itself', () => {
    const { harness, a, b, spare } = start();
    for (const member of [a, b, spare]) harness.fleet.setProbe(member, 'failing', 'test');
    expect(harness.slots).toEqual(['a', 'b']);
    expect(harness.view).toMatchObject({ fallback: false, panic: true });
  });

  it('takes over from few that reject is to protect', () => {
    const { harness, a } = start({
      availability: { ...POLICY.availability, panicThreshold: 0.8, panicMode: 'reject' },
    });
    harness.fleet.setProbe(a, 'failing', 'test');
    expect(harness.slots).toEqual([ID]);
    expect(harness.view).toMatchObject({ fallback: true, panic: true, available: 1 });
  });

  it('is no part of the whole of which panic asks how much is available', () => {
    const { harness, a } = start();
    harness.fleet.setProbe(a, 'failing', 'test');
    expect(harness.view).toMatchObject({ panic: false, available: 1 });
    expect(harness.slots).toEqual(['b']);
  });

  it('stands aside for the trial of a registered one, and for it alone when that succeeds', () => {
    const { harness, a, b } = start({ availability: { ...POLICY.availability, maxEjectedShare: 1 } });
    harness.fail(a);
    harness.fail(b);
    expect(harness.slots).toEqual([ID]);
    harness.clock.advance(5001);
    expect([harness.slots, harness.trials]).toEqual([[ID], ['a', 'b']]);
    a.admit()?.settle('success');
    expect([harness.slots, harness.trials]).toEqual([['a'], ['b']]);
  });

  it('whose breaker is open is not sent to, and says so where nobody is left', () => {
    const { harness, a, b, spare } = start({ availability: { ...POLICY.availability, maxEjectedShare: 1 } });
    harness.fleet.drain('web', a.instance.id);
    harness.fleet.drain('web', b.instance.id);
    harness.fail(spare);
    expect(harness.view).toMatchObject({ slots: { length: 0 }, empty: 'all-breakers-open' });
  });

  it('gets no trial while it is in reserve', () => {
    const { harness, spare } = start();
    harness.fail(spare);
    harness.clock.advance(5001);
    expect(spare.health.breaker).toBe('half-open');
    expect([harness.slots, harness.trials]).toEqual([['a', 'b'], []]);
  });

  it('is of no concern to registries: resets and removals pass it by, and its id is refused', () => {
    const { harness } = start();
    harness.reset('web', [web('a')]);
    expect([...harness.fleet.service('web')!.members.keys()].sort()).toEqual(['a', ID]);
    expect(harness.fleet.remove('web', ID)).toBe(false);
    expect(harness.fleet.upsert(web(ID))).toBeUndefined();
    harness.reset('web', [web(ID, { host: '10.6.6.6' })]);
    expect(harness.fleet.find('web', ID)?.instance.host).toBe('10.9.9.9');
    expect(harness.log.slice(0, 4)).toEqual(['removed b', `refused ${ID}`, 'removed a', `refused ${ID}`]);
    expect(harness.slots).toEqual([ID]);
  });

  it('follows the configuration, and keeps its state where its address stays', () => {
    const { harness, spare } = start();
    const other = { host: '2001:db8::7', port: 443 };
    harness.fleet.configure('web', { ...POLICY, fallback: [...FALLBACK, other] });
    expect(harness.fleet.find('web', ID)).toBe(spare);
    expect(harness.fleet.find('web', 'fallback:[2001:db8::7]:443')?.health.probe).toBe('unknown');
    harness.fleet.configure('web', { ...POLICY, fallback: [other] });
    expect(harness.fleet.find('web', ID)).toBeUndefined();
    harness.reset('web', []);
    harness.fleet.unconfigure('web');
    expect(harness.fleet.service('web')).toBeUndefined();
  });
});

describe('the mode of a service', () => {
  const mode = (part: Partial<AvailabilityPolicy>): ServicePolicy => ({
    ...POLICY,
    availability: { ...POLICY.availability, ...part },
  });

  it('can be changed under way: every instance is judged anew', () => {
    const harness = new FleetHarness();
    const [a, b] = harness.serving('a', 'b', 'c') as [Member, Member];
    harness.fleet.setProbe(a, 'failing', 'test');
    harness.fleet.upsert(web('b', { state: 'down' }));
    expect(harness.slots).toEqual(['c']);
    harness.fleet.configure('web', mode({ mode: 'trust-registry' }));
    expect(harness.slots).toEqual(['a', 'c']);
    expect(harness.view?.available).toBe(2);
    harness.fleet.configure('web', mode({ mode: 'trust-probes' }));
    expect(harness.slots).toEqual(['b', 'c']);
    harness.fleet.setProbe(b, 'failing', 'test');
    expect(harness.slots).toEqual(['c']);
    harness.fleet.configure('web', POLICY);
    expect(harness.slots).toEqual(['c']);
  });

  it('lets new instances in at once where the registry is trusted', () => {
    const harness = new FleetHarness({ defaultPolicy: mode({ mode: 'trust-registry' }) });
    harness.fleet.upsert(web('a'));
    harness.fleet.upsert(web('b', { state: 'down' }));
    expect(harness.slots).toEqual(['a']);
  });

  it('panics below the minimum, whatever the share', () => {
    const harness = new FleetHarness({ defaultPolicy: mode({ panicThreshold: 0.1, minHealthy: 2 }) });
    const [a, b] = harness.serving('a', 'b', 'c') as [Member, Member];
    harness.fleet.setProbe(a, 'failing', 'test');
    expect(harness.slots).toEqual(['b', 'c']);
    harness.fleet.setProbe(b, 'failing', 'test');
    expect(harness.slots).toEqual(['a', 'b', 'c']);
    expect(harness.log).toContain('panic web on');
  });
});

describe('whatever happens to instances and to what stands in for them', () => {
  const modes = ['strict', 'trust-registry', 'trust-probes'] as const;
  const policy = fc.record({
    mode: fc.constantFrom(...modes),
    panicMode: fc.constantFrom('route' as const, 'reject' as const),
    minHealthy: fc.nat(3),
    maxEjectedShare: fc.constantFrom(0.5, 1),
  });
  const ids = ['a', 'b', 'c', ID];
  const step = fc.oneof(
    fc.record({
      do: fc.constant('probe' as const),
      id: fc.constantFrom(...ids),
      state: fc.constantFrom<ProbeState>('passing', 'passing', 'degraded', 'failing', 'unknown'),
    }),
    fc.record({
      do: fc.constantFrom('drain' as const, 'undrain' as const, 'fail' as const),
      id: fc.constantFrom(...ids),
    }),
    fc.record({ do: fc.constant('state' as const), id: fc.constantFrom('a', 'b', 'c'), up: fc.boolean() }),
    fc.record({ do: fc.constant('wait' as const) }),
    fc.record({ do: fc.constant('policy' as const), policy, fallback: fc.boolean() }),
    fc.record({ do: fc.constant('remove' as const), id: fc.constantFrom('a', 'b', 'c') }),
  );
  type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

  function take({ fleet, clock }: FleetHarness, each: Step, fail: (member: Member) => void): void {
    if (each.do === 'wait') clock.advance(6000);
    else if (each.do === 'remove') fleet.remove('web', each.id);
    else if (each.do === 'drain' || each.do === 'undrain') fleet[each.do]('web', each.id);
    else if (each.do === 'state') fleet.upsert(web(each.id, { state: each.up ? 'up' : 'down' }));
    else if (each.do === 'policy') {
      const availabilityPolicy = { ...POLICY.availability, ...each.policy };
      fleet.configure('web', { ...POLICY, availability: availabilityPolicy, fallback: each.fallback ? FALLBACK : [] });
    } else {
      const member = fleet.find('web', each.id);
      if (!member) return;
      if (each.do === 'probe') fleet.setProbe(member, each.state, 'test');
      else fail(member);
    }
  }

  it('the view is what the truth table says of each, and the two are never mixed', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { harness } = start();
        for (const each of steps) {
          take(harness, each, (member) => {
            harness.fail(member);
          });
          harness.fleet.flush();
          const service = harness.fleet.service('web')!;
          const members = [...service.members.values()];
          const standingOf = (member: Member): Standing => member.health as Standing;
          const { mode } = service.policy.availability;
          const off = { mode, panic: 'off', fallback: false } as const;
          const has = (member: Member, regime: Parameters<typeof availability>[1]): boolean =>
            availability(standingOf(member), regime).traffic === 'full';
          const among = (holds: (member: Member) => boolean): number => members.filter(holds).length;
          const passes = (member: Member): boolean => ['passing', 'degraded'].includes(standingOf(member).probe);
          const isAccountable = (member: Member): boolean => {
            const { registered, drained, passedOnce, fallback } = standingOf(member);
            const wanted = registered !== 'down' || (mode === 'trust-probes' && passes(member));
            return wanted && !drained && passedOnce && !fallback;
          };
          const counts = {
            available: among((member) => has(member, off)),
            accountable: among(isAccountable),
            doubted: among((member) => isAccountable(member) && mode !== 'trust-registry' && !passes(member)),
            spare: among((member) => standingOf(member).fallback && has(member, { ...off, fallback: true })),
          };
          const regime = regimeOf(counts, service.policy.availability);
          expect(service.regime).toEqual(regime);
          const slots = members.filter((member) => has(member, regime)).map(({ slot }) => slot);
          expect([...service.view.slots]).toEqual(slots.sort((one, other) => one - other));
          const kinds = new Set(
            [...service.view.slots].map((slot) => standingOf(harness.fleet.memberBySlot(slot)!).fallback),
          );
          expect(kinds.size).toBeLessThanOrEqual(1);
          expect(service.view.fallback).toBe(kinds.has(true));
        }
      }),
      { numRuns: 150 },
    );
  });
});
