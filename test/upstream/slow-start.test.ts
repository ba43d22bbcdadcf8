import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ServicePolicy, SlowStartPolicy } from '../../src/core/policy.ts';
import type { Member } from '../../src/upstream/directory.ts';
import { rampShare } from '../../src/upstream/slow-start.ts';
import { FleetHarness, web } from './fleet-harness.ts';
import { POLICY } from '../policy.ts';

const RAMP: SlowStartPolicy = { durationMs: 10_000, curve: 'linear', minShare: 0.1 };
const slow: ServicePolicy = { ...POLICY, slowStart: RAMP };

describe('the share of an instance that starts slowly', () => {
  const policies = fc.record({
    durationMs: fc.integer({ min: 0, max: 3_600_000 }),
    curve: fc.constantFrom('linear' as const, 'exponential' as const),
    minShare: fc.double({ min: 0.01, max: 1, noNaN: true }),
  });

  it('begins at minShare, never falls, and is all of it from the end on', () => {
    fc.assert(
      fc.property(policies, fc.array(fc.nat(4_000_000), { maxLength: 20 }), (policy, times) => {
        if (policy.durationMs > 0) expect(rampShare(policy, 0)).toBeCloseTo(policy.minShare, 12);
        let before = policy.minShare - 1e-12;
        for (const elapsedMs of times.sort((one, other) => one - other)) {
          const share = rampShare(policy, elapsedMs);
          expect(share).toBeGreaterThanOrEqual(before);
          expect(share).toBeLessThanOrEqual(1);
          before = share;
        }
        expect(rampShare(policy, policy.durationMs)).toBe(1);
      }),
    );
  });

  it.each([
    ['linear', 0.55],
    ['exponential', Math.sqrt(0.1)],
  ] as const)('is half way up a %s ramp what the page says', (curve, share) => {
    expect(rampShare({ ...RAMP, curve }, 5000)).toBeCloseTo(share, 12);
  });

  it('is not disturbed by a clock that gives the same time twice', () => {
    expect(rampShare(RAMP, -0.001)).toBe(0.1);
  });
});

describe('a fleet with slow start', () => {
  const start = (): { harness: FleetHarness; a: Member; b: Member } => {
    const harness = new FleetHarness({ defaultPolicy: slow });
    const [a, b] = harness.serving('a', 'b') as [Member, Member];
    harness.clock.advance(11_000);
    harness.fleet.flush();
    return { harness, a, b };
  };
  const weightOf = (harness: FleetHarness, member: Member): number => harness.figures.weight[member.slot] ?? -1;

  it('raises the weight of a new instance in steps, each with a view that is not uniform, and then rests', () => {
    const { harness, a } = start();
    expect(harness.view).toMatchObject({ uniform: true, slots: { length: 2 } });
    expect(harness.clock.pending).toBe(0);
    const [c] = harness.serving('c') as [Member];
    expect(weightOf(harness, c)).toBeCloseTo(0.1, 9);
    const first = harness.view?.revision ?? 0;
    expect(harness.view?.uniform).toBe(false);
    harness.clock.advance(5000);
    harness.fleet.flush();
    expect(weightOf(harness, c)).toBeCloseTo(0.55, 9);
    expect(weightOf(harness, a)).toBe(1);
    expect(harness.fleet.explain(c)?.weightFactors.slowStart).toBeCloseTo(0.55, 9);
    harness.clock.advance(5000);
    expect(harness.view).toMatchObject({ uniform: true });
    expect(weightOf(harness, c)).toBe(1);
    expect(harness.clock.pending).toBe(0);
    expect((harness.view?.revision ?? 0) - first).toBeLessThanOrEqual(100);
  });

  it('publishes a view per step, ten a second', async () => {
    const { harness } = start();
    harness.serving('c');
    const before = harness.view?.revision ?? 0;
    await harness.clock.advanceAsync(1000, 10);
    expect((harness.view?.revision ?? 0) - before).toBe(10);
  });

  it.each<[string, (harness: FleetHarness, member: Member) => void, (harness: FleetHarness, member: Member) => void]>([
    [
      'its probes',
      ({ fleet }, member) => fleet.setProbe(member, 'failing', 'test'),
      ({ fleet }, member) => fleet.setProbe(member, 'passing', 'test'),
    ],
    [
      'an ejection',
      ({ fleet }, member) => fleet.setEjected(member, true, 'test'),
      ({ fleet }, member) => fleet.setEjected(member, false, 'test'),
    ],
    [
      'its registry',
      ({ fleet }) => fleet.upsert(web('a', { state: 'down' })),
      ({ fleet }) => fleet.upsert(web('a', { state: 'up' })),
    ],
    ['a drain', ({ fleet }) => fleet.drain('web', 'a'), ({ fleet }) => fleet.undrain('web', 'a')],
    [
      'its breaker',
      (harness, member) => {
        harness.fail(member);
      },
      ({ clock }, member) => {
        clock.advance(5001);
        member.admit()?.settle('success');
      },
    ],
  ])('starts an instance slowly again that was kept out by %s', (_name, out, back) => {
    const { harness, a } = start();
    out(harness, a);
    expect(harness.slots).toEqual(['b']);
    back(harness, a);
    expect(harness.slots).toEqual(['a', 'b']);
    expect(weightOf(harness, a)).toBeCloseTo(0.1, 9);
    harness.clock.advance(10_100);
    expect(weightOf(harness, a)).toBe(1);
  });

  it('multiplies all that is said of the weight', () => {
    const { harness } = start();
    const c = harness.fleet.upsert(web('c', { weight: 8, state: 'degraded' })) as Member;
    harness.fleet.setProbe(c, 'passing', 'test');
    harness.clock.advance(5000);
    expect(weightOf(harness, c)).toBeCloseTo(8 * 0.5 * 0.55, 9);
  });

  it('sends an instance that begins its small share, with every balancer', () => {
    for (const balancer of ['p2c', 'round-robin', 'random'] as const) {
      const { harness } = start();
      harness.fleet.setDefaultPolicy({ ...slow, balancer });
      const [c] = harness.serving('c') as [Member];
      const service = harness.fleet.service('web')!;
      let picked = 0;
      for (let pick = 0; pick < 5000; pick++) {
        if (service.balancer.pick(service.view, new Int32Array(0), 0) === c.slot) picked++;
      }
      expect(picked / 5000, balancer).toBeGreaterThan(0.02);
      expect(picked / 5000, balancer).toBeLessThan(0.09);
    }
  });

  it('forgets who leaves, and who is given all of it by a new policy', () => {
    const { harness, b } = start();
    const [c] = harness.serving('c') as [Member];
    harness.fleet.remove('web', 'c');
    harness.fleet.setEjected(b, true, 'test');
    harness.fleet.setEjected(b, false, 'test');
    harness.fleet.setDefaultPolicy(POLICY);
    harness.clock.advance(100);
    expect(weightOf(harness, b)).toBe(1);
    expect(harness.view?.uniform).toBe(true);
    expect(harness.clock.pending).toBe(0);
    expect(harness.fleet.explain(c)).toBeUndefined();
  });

  it('needs a single timer, and does a bounded part of a great many at a time', () => {
    const count = 25_000;
    const harness = new FleetHarness({ capacity: count, defaultPolicy: slow });
    const members = Array.from({ length: count }, (_, at) => {
      const member = harness.fleet.upsert(web(`i${at}`, { host: `10.0.${at >> 8}.${at & 255}` })) as Member;
      harness.fleet.setProbe(member, 'passing', 'test');
      return member;
    });
    harness.fleet.flush();
    expect(harness.clock.pending).toBe(1);
    harness.clock.advance(100);
    const moved = members.filter((member) => weightOf(harness, member) > 0.1).length;
    expect(moved).toBeGreaterThan(4500);
    expect(moved).toBeLessThanOrEqual(5000);
    harness.clock.advance(500);
    expect(members.every((member) => weightOf(harness, member) > 0.1)).toBe(true);
    harness.clock.advance(10_600);
    expect(members.every((member) => weightOf(harness, member) === 1)).toBe(true);
    harness.fleet.close();
    expect(harness.clock.pending).toBe(0);
  });
});
