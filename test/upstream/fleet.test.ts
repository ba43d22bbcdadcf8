import { BreakerGate } from '../../src/breaker/gate.ts';
import { describe, expect, it } from 'vitest';
import type { ServicePolicy } from '../../src/core/policy.ts';
import type { Member } from '../../src/upstream/directory.ts';
import { FleetHarness, web } from './fleet-harness.ts';
import { POLICY } from '../policy.ts';

const reject: ServicePolicy = { ...POLICY, availability: { ...POLICY.availability, panicMode: 'reject' } };

describe('a service', () => {
  it('is known from when it is configured, and has nobody', () => {
    const { fleet, view, log } = new FleetHarness();
    expect(fleet.service('web')).toBeUndefined();
    expect(view).toBeUndefined();
    fleet.configure('web', POLICY);
    fleet.flush();
    expect(fleet.service('web')?.view).toMatchObject({ registered: 0, available: 0, empty: 'none-registered' });
    expect(log).toEqual(['service web']);
  });

  it('stays known when its last instance has gone, and is unknown once it is dropped', () => {
    const harness = new FleetHarness();
    harness.serving('a');
    harness.fleet.remove('web', 'a');
    expect(harness.view).toMatchObject({ registered: 0, empty: 'none-registered' });
    harness.fleet.dropService('web');
    expect(harness.fleet.service('web')).toBeUndefined();
    expect(harness.log).toEqual(['removed a', 'freed a', 'no service web']);
  });

  it('leaves an empty view to whoever still holds it when it is dropped', () => {
    const harness = new FleetHarness();
    harness.serving('a', 'b');
    const service = harness.fleet.service('web')!;
    harness.fleet.dropService('web');
    harness.fleet.flush();
    expect(service.view).toMatchObject({ empty: 'none-registered', registered: 0 });
  });

  it('keeps all state of its instances when its policy changes', () => {
    const harness = new FleetHarness();
    const [a] = harness.serving('a', 'b') as [Member, Member];
    harness.fail(a);
    harness.fleet.drain('web', 'b');
    const { view } = harness;
    const balancer = harness.fleet.service('web')?.balancer;
    harness.fleet.configure('web', { ...POLICY, balancer: 'round-robin' });
    expect(harness.view).toEqual({ ...view, revision: view!.revision + 1 });
    expect(a.health.breaker).toBe('open');
    expect(harness.fleet.service('web')?.balancer).not.toBe(balancer);
  });

  it('falls back to the default policy when it is configured no longer, and follows that', () => {
    const { fleet } = new FleetHarness();
    fleet.configure('web', reject);
    fleet.upsert(web('a'));
    fleet.unconfigure('web');
    expect(fleet.service('web')?.policy).toBe(POLICY);
    fleet.setDefaultPolicy(reject);
    expect(fleet.service('web')?.policy).toBe(reject);
    fleet.remove('web', 'a');
    fleet.configure('web', POLICY);
    fleet.unconfigure('web');
    expect(fleet.service('web')).toBeUndefined();
  });

  it('makes room for a new name by the longest known empty one, never by one that is configured or has instances', () => {
    const { fleet, log } = new FleetHarness({ maxServices: 3 });
    fleet.configure('mine', POLICY);
    for (const name of ['one', 'two']) {
      fleet.upsert(web('a', { service: name }));
    }
    expect(fleet.upsert(web('b', { service: 'three' }))).toBeUndefined();
    expect(log.at(-1)).toBe('refused b');
    fleet.remove('one', 'a');
    expect(fleet.upsert(web('b', { service: 'three' }))).toBeDefined();
    expect([...fleet.services.keys()]).toEqual(['mine', 'two', 'three']);
  });

  it('has an index that is free again when the last of its instances has left', () => {
    const harness = new FleetHarness();
    const [a] = harness.serving('a') as [Member];
    harness.begin(a);
    expect(harness.fleet.service('web')?.index).toBe(0);
    harness.fleet.dropService('web');
    harness.fleet.flush();
    expect(harness.fleet.configure('next', POLICY).index).toBe(1);
    harness.end(a);
    expect(harness.fleet.configure('after', POLICY).index).toBe(0);
  });
});

describe('an instance', () => {
  it('has no traffic before its first passing probe', () => {
    const harness = new FleetHarness();
    const a = harness.fleet.upsert(web('a'))!;
    expect(harness.view).toMatchObject({ registered: 1, available: 0, panic: false, empty: 'none-available' });
    harness.fleet.setProbe(a, 'failing', 'refused');
    expect(harness.view).toMatchObject({ panic: false, empty: 'none-available' });
    harness.fleet.setProbe(a, 'passing', '200');
    expect(harness.slots).toEqual(['a']);
    expect(harness.log).toEqual([
      'service web',
      'added a',
      'a probe: unknown > failing (refused)',
      'a probe: failing > passing (200)',
    ]);
  });

  it('is the same one through resets and updates', () => {
    const harness = new FleetHarness();
    const [a] = harness.serving('a', 'b') as [Member, Member];
    harness.reset('web', [web('a'), web('b'), web('c')]);
    expect(harness.fleet.find('web', 'a')).toBe(a);
    expect(harness.slots).toEqual(['a', 'b']);
    expect(harness.fleet.upsert(web('a', { version: '2' }))).toBe(a);
    expect(a.instance.version).toBe('2');
    harness.reset('web', [web('b')]);
    expect(harness.slots).toEqual(['b']);
    expect(harness.log).toEqual(['added c', 'updated a', 'removed a', 'removed c', 'freed a', 'freed c']);
  });

  it.each([{ host: '10.0.0.2' }, { port: 9 }, { secure: true }])('is another one with %j', (part) => {
    const harness = new FleetHarness();
    const [a] = harness.serving('a') as [Member];
    const other = harness.fleet.upsert(web('a', part))!;
    expect(other).not.toBe(a);
    expect(other.slot).not.toBe(a.slot);
    expect(other.health).toMatchObject({ probe: 'unknown' });
    expect(a.leaving).toBe(true);
    expect(harness.slots).toEqual([]);
    expect(harness.log).toEqual(['removed a', 'added a', 'freed a']);
  });

  it('begins with figures of its own in a slot that another one had', () => {
    const harness = new FleetHarness();
    const [a] = harness.serving('a') as [Member];
    for (const column of [harness.figures.attempts, harness.figures.latencyMs]) column[a.slot] = 7;
    harness.fleet.upsert(web('a', { weight: 3 }));
    harness.fleet.remove('web', 'a');
    harness.fleet.flush();
    const b = harness.fleet.upsert(web('b'))!;
    const { attempts, latencyMs, weight } = harness.figures;
    expect([b.slot, attempts[b.slot], latencyMs[b.slot], weight[b.slot]]).toEqual([a.slot, 0, 0, 1]);
  });

  it('gives the balancer its weight, with a new view', () => {
    const harness = new FleetHarness();
    const [a] = harness.serving('a', 'b') as [Member, Member];
    expect(harness.view?.uniform).toBe(true);
    const { revision } = harness.view!;
    harness.fleet.upsert(web('a', { weight: 7 }));
    expect(harness.figures.weight[a.slot]).toBe(7);
    expect(harness.view).toMatchObject({ uniform: false, revision: revision + 1 });
  });

  it('has less weight while its registry or a probe calls it degraded, and all of it afterwards', () => {
    const harness = new FleetHarness();
    const [a] = harness.serving('a', 'b') as [Member, Member];
    expect(harness.view?.uniform).toBe(true);
    const { revision = 0 } = harness.view ?? {};
    harness.fleet.setProbe(a, 'degraded', '429 Too Many Requests');
    expect(harness.view).toMatchObject({ uniform: false, revision: revision + 1, available: 2 });
    expect([...harness.slots].map((id) => harness.figures.weight[harness.fleet.find('web', id)?.slot ?? -1])).toEqual([
      0.5, 1,
    ]);
    harness.fleet.upsert(web('a', { state: 'degraded', weight: 4 }));
    expect(harness.figures.weight[a.slot]).toBe(2);
    expect(harness.fleet.explain(a)).toMatchObject({ weight: 2, weightFactors: { registered: 4, degraded: 0.5 } });
    harness.fleet.setProbe(a, 'passing', '200');
    expect(harness.figures.weight[a.slot]).toBe(2);
    harness.fleet.upsert(web('a'));
    expect(harness.figures.weight[a.slot]).toBe(1);
    expect(harness.view?.uniform).toBe(true);
  });

  it('gets that share of the traffic from every balancer', () => {
    for (const balancer of ['p2c', 'round-robin', 'random'] as const) {
      const harness = new FleetHarness({ defaultPolicy: { ...POLICY, balancer } });
      const [a] = harness.serving('a', 'b') as [Member, Member];
      harness.fleet.setProbe(a, 'degraded', 'test');
      harness.fleet.flush();
      const service = harness.fleet.service('web')!;
      let picked = 0;
      for (let pick = 0; pick < 3000; pick++) {
        if (service.balancer.pick(service.view, new Int32Array(0), 0) === a.slot) picked++;
      }
      expect(picked / 3000, balancer).toBeGreaterThan(0.28);
      expect(picked / 3000, balancer).toBeLessThan(0.39);
    }
  });

  it('is weighed anew when the policy changes what degraded means', () => {
    const harness = new FleetHarness();
    const [a] = harness.serving('a', 'b') as [Member, Member];
    harness.fleet.setProbe(a, 'degraded', 'test');
    const { revision = 0 } = harness.view ?? {};
    harness.fleet.configure('web', { ...POLICY, availability: { ...POLICY.availability, degradedWeight: 0.1 } });
    expect(harness.figures.weight[a.slot]).toBe(0.1);
    expect(harness.view?.revision).toBe(revision + 1);
  });

  it('obeys the registry that says down, and its reason is told', () => {
    const harness = new FleetHarness();
    harness.serving('a', 'b');
    harness.fleet.upsert(web('a', { state: 'down', stateReason: 'out of service' }));
    expect(harness.slots).toEqual(['b']);
    expect(harness.log).toEqual(['a registered: up > down (out of service)', 'updated a']);
  });

  it('is drained and undrained by an operator, and says so once', () => {
    const harness = new FleetHarness();
    harness.serving('a', 'b');
    expect(harness.fleet.drain('web', 'a')).toBe(true);
    expect(harness.fleet.drain('web', 'a')).toBe(true);
    expect(harness.slots).toEqual(['b']);
    expect(harness.view?.panic).toBe(false);
    expect(harness.fleet.undrain('web', 'a')).toBe(true);
    expect(harness.slots).toEqual(['a', 'b']);
    expect(harness.fleet.drain('web', 'x')).toBe(false);
    expect(harness.fleet.drain('x', 'a')).toBe(false);
    expect(harness.log).toEqual([
      'a drain: in rotation > drained (operator)',
      'a drain: drained > in rotation (operator)',
    ]);
  });

  it('is left alone by verdicts that come after its removal', () => {
    const harness = new FleetHarness();
    const [a] = harness.serving('a') as [Member];
    harness.begin(a);
    harness.fleet.remove('web', 'a');
    harness.fleet.setProbe(a, 'failing', 'late');
    expect(harness.fleet.setEjected(a, true, 'late')).toBe(false);
    harness.end(a);
    harness.fleet.flush();
    const [b] = harness.serving('b') as [Member];
    expect(b.slot).toBe(a.slot);
    harness.fleet.setProbe(a, 'failing', 'later');
    expect(harness.slots).toEqual(['b']);
  });
});

describe('a removed instance', () => {
  it('takes nothing new, and keeps its slot until its last request has ended', () => {
    const harness = new FleetHarness({ capacity: 2 });
    const [a] = harness.serving('a', 'b') as [Member, Member];
    harness.begin(a);
    harness.begin(a);
    harness.fleet.remove('web', 'a');
    expect(a.admit()).toBeUndefined();
    harness.fleet.flush();
    expect(harness.fleet.service('web')?.leaving).toEqual(new Set([a]));
    expect(harness.fleet.upsert(web('c'))).toBeUndefined();
    harness.end(a);
    expect(harness.fleet.memberBySlot(a.slot)).toBe(a);
    harness.end(a);
    expect(harness.fleet.memberBySlot(a.slot)).toBeUndefined();
    expect(harness.fleet.upsert(web('c'))?.slot).toBe(a.slot);
    expect(harness.log).toEqual(['removed a', 'refused c', 'freed a', 'added c']);
  });

  it('keeps its slot while a view may still list it', () => {
    const harness = new FleetHarness();
    const [a] = harness.serving('a') as [Member];
    harness.fleet.remove('web', 'a');
    expect(harness.fleet.upsert(web('b'))?.slot).not.toBe(a.slot);
    expect(harness.log).not.toContain('freed a');
    harness.fleet.flush();
    expect(harness.log).toContain('freed a');
  });

  it('makes room at once where there is none otherwise', () => {
    const harness = new FleetHarness({ capacity: 2 });
    harness.serving('a', 'b');
    harness.reset('web', [web('c'), web('d')]);
    expect([...harness.fleet.service('web')!.members.keys()]).toEqual(['c', 'd']);
  });

  it('is freed by the sweep if nobody reports the end of its last request', () => {
    const harness = new FleetHarness();
    const [a] = harness.serving('a') as [Member];
    harness.begin(a);
    harness.fleet.remove('web', 'a');
    harness.fleet.flush();
    harness.clock.advance(5000);
    expect(harness.log).not.toContain('freed a');
    harness.figures.inflight[a.slot]!--;
    harness.clock.advance(1000);
    expect(harness.log).toContain('freed a');
    expect(harness.clock.pending).toBe(0);
  });

  it('comes back as a new one while the old one still has requests', () => {
    const harness = new FleetHarness();
    const [a] = harness.serving('a') as [Member];
    harness.begin(a);
    harness.fleet.remove('web', 'a');
    const again = harness.fleet.upsert(web('a'))!;
    expect(again).not.toBe(a);
    expect(harness.figures.inflight[again.slot]).toBe(0);
    harness.end(a);
    harness.fleet.flush();
    expect(harness.fleet.find('web', 'a')).toBe(again);
  });

  it('leaves no breaker and no timer', () => {
    const harness = new FleetHarness();
    const [a] = harness.serving('a', 'b') as [Member, Member];
    const permit = a.admit()!;
    harness.fail(a);
    expect(harness.clock.pending).toBe(1);
    harness.fleet.remove('web', 'a');
    expect(a.breaker).toBeUndefined();
    expect(harness.clock.pending).toBe(0);
    permit.settle('success');
    harness.fleet.flush();
    expect(harness.fleet.members[a.slot]).toBeUndefined();
  });
});

describe('breakers', () => {
  it('take back the trial of a thread that is no more, and of no other', () => {
    const harness = new FleetHarness();
    const [a, b] = harness.serving('a', 'b', 'c', 'd') as [Member, Member, Member, Member];
    for (const member of [a, b]) harness.fail(member);
    harness.clock.advance(5000);
    const { breakers } = harness.figures;
    const [alive, dead] = [1, 2].map(
      (holder) => new BreakerGate(breakers, harness.clock, holder, harness.fleet.breakerReports),
    );
    const lost = dead!.admit(a.slot, a.service.policy.breaker);
    const kept = alive!.admit(b.slot, b.service.policy.breaker);
    expect([lost?.trial, kept?.trial]).toEqual([true, true]);
    harness.fleet.trialsLost(2);
    expect([breakers.trialReady(a.slot), breakers.trialReady(b.slot)]).toEqual([true, false]);
    lost?.settle('success');
    expect(a.health.breaker).toBe('half-open');
    alive!.admit(a.slot, a.service.policy.breaker)?.settle('success');
    kept?.settle('success');
    expect([a.health.breaker, b.health.breaker]).toEqual(['closed', 'closed']);
  });

  it('are created by the first failure', () => {
    const harness = new FleetHarness();
    const [a, b] = harness.serving('a', 'b') as [Member, Member];
    a.admit()?.settle('timeout');
    expect(a.breaker).toBeDefined();
    b.admit()?.settle('success');
    expect(b.breaker).toBeUndefined();
  });

  it('take a member out, offer its trial once, and let it in again', () => {
    const harness = new FleetHarness();
    const [a] = harness.serving('a', 'b') as [Member, Member];
    const service = harness.fleet.service('web')!;
    harness.fail(a);
    expect(harness.slots).toEqual(['b']);
    expect(harness.trials).toEqual([]);
    expect(service.takeTrial()).toBe(-1);
    harness.clock.advance(5000);
    expect(harness.trials).toEqual(['a']);
    expect(harness.slots).toEqual(['b']);
    expect(service.takeTrial()).toBe(a.slot);
    expect(service.takeTrial()).toBe(a.slot);
    const trial = a.admit();
    expect(trial?.trial).toBe(true);
    expect(service.takeTrial()).toBe(-1);
    trial?.settle('success');
    expect(harness.slots).toEqual(['a', 'b']);
    expect(harness.trials).toEqual([]);
    expect(harness.log).toEqual([
      'a breaker: closed > open (5 failures in a row, the last: timeout)',
      'a breaker: open > half-open (was open for 5s)',
      'a breaker: half-open > closed (the trial succeeded)',
    ]);
  });

  it('offer a cancelled trial again', () => {
    const harness = new FleetHarness();
    const [a] = harness.serving('a', 'b') as [Member, Member];
    const service = harness.fleet.service('web')!;
    harness.fail(a);
    harness.clock.advance(5000);
    harness.fleet.flush();
    const trial = a.admit();
    expect(service.takeTrial()).toBe(-1);
    trial?.settle('cancelled');
    harness.fleet.flush();
    expect(service.takeTrial()).toBe(a.slot);
  });

  it('offer a trial that has not ended within all timeouts of the service again', () => {
    const harness = new FleetHarness();
    const [a] = harness.serving('a', 'b') as [Member, Member];
    harness.fail(a);
    harness.clock.advance(5000);
    a.admit();
    harness.clock.advance(91_000);
    harness.fleet.flush();
    expect(harness.fleet.service('web')?.takeTrial()).toBe(a.slot);
  });

  it('say that every one of them is open', () => {
    const harness = new FleetHarness();
    const [a] = harness.serving('a') as [Member];
    harness.fail(a);
    expect(harness.view).toMatchObject({ empty: 'all-breakers-open', panic: false });
    harness.clock.advance(5000);
    expect(harness.view).toMatchObject({ empty: 'all-breakers-open' });
    expect(harness.trials).toEqual(['a']);
    // Now it is the probe that keeps the instance out.
    harness.fleet.setProbe(a, 'failing', 'refused');
    harness.fleet.configure('web', reject);
    expect(harness.view).toMatchObject({ empty: 'none-available' });
  });

  it('can be switched off, which lets in whoever they kept out', () => {
    const harness = new FleetHarness();
    const [a] = harness.serving('a', 'b') as [Member, Member];
    harness.fail(a);
    harness.fleet.configure('web', { ...POLICY, breaker: { ...POLICY.breaker, enabled: false } });
    expect(harness.slots).toEqual(['a', 'b']);
    expect(harness.log.at(-1)).toBe('a breaker: open > closed (breakers are switched off)');
    expect(harness.clock.pending).toBe(0);
    harness.fail(a, 50);
    expect(harness.slots).toEqual(['a', 'b']);
    expect(a.breaker).toBeUndefined();
  });
});

describe('the ejection cap', () => {
  it.each([
    [1, 1],
    [2, 1],
    [3, 1],
    [4, 2],
    [5, 2],
  ])('lets of %i instances at most %i out', (count, most) => {
    const harness = new FleetHarness();
    const members = harness.serving(...Array.from('abcde').slice(0, count));
    for (const member of members) harness.fail(member, 9);
    expect(members.filter((member) => member.health.breaker === 'open').length).toBe(most);
    expect(harness.slots.length).toBe(count - most);
    const inside = members.filter((member) => member.health.breaker === 'closed');
    expect(inside.some((member) => harness.fleet.service('web')!.mayEject(member))).toBe(false);
    expect(harness.fleet.service('web')!.ejectionsRefused).toBe((count - most) * 5);
  });

  it('is shared by breakers and ejections', () => {
    const harness = new FleetHarness();
    const [a, b, c, d] = harness.serving('a', 'b', 'c', 'd') as [Member, Member, Member, Member];
    expect(harness.fleet.setEjected(a, true, 'hangs')).toBe(true);
    harness.fail(b);
    expect(harness.fleet.setEjected(c, true, 'hangs')).toBe(false);
    harness.fail(d);
    expect(harness.slots).toEqual(['c', 'd']);
    // Out already: costs nothing.
    expect(harness.fleet.setEjected(b, true, 'hangs too')).toBe(true);
    expect(harness.fleet.setEjected(a, false, 'answers')).toBe(true);
    harness.fail(d, 1);
    expect(harness.slots).toEqual(['a', 'c']);
    expect(harness.log.filter((line) => line.includes('ejection'))).toEqual([
      'a ejection: in rotation > ejected (hangs)',
      'b ejection: in rotation > ejected (hangs too)',
      'a ejection: ejected > in rotation (answers)',
    ]);
  });
});

describe('the ejection cap among instances that their probes find dead as well', () => {
  it('does not count them: of three, a dead and a hung one may be out at once', () => {
    const harness = new FleetHarness();
    const [dead, hung] = harness.serving('a', 'b', 'c') as [Member, Member, Member];
    expect(dead.guard()?.trip('refused', true)).toBe(true);
    expect(hung.guard()?.trip('hangs')).toBe(false);
    harness.fleet.setProbe(dead, 'failing', 'refused');
    expect(hung.guard()?.trip('hangs')).toBe(true);
    expect(harness.slots).toEqual(['c']);
  });

  it('forbids no ejection with which the probes agree, as long as somebody is available', () => {
    const harness = new FleetHarness();
    const [a, b, c, d] = harness.serving('a', 'b', 'c', 'd') as [Member, Member, Member, Member];
    for (const member of [a, b, c]) harness.fleet.setProbe(member, 'failing', 'x');
    expect(harness.slots).toEqual(['a', 'b', 'c', 'd']);
    for (const member of [a, b, c]) harness.fail(member);
    expect(harness.slots).toEqual(['d']);
    harness.fail(d);
    expect(harness.slots).toEqual(['d']);
  });

  it('keeps half of all in where nobody is available: requests that run into them find out who is back', () => {
    const harness = new FleetHarness();
    const members = harness.serving('a', 'b', 'c', 'd');
    for (const member of members) harness.fleet.setProbe(member, 'failing', 'refused');
    for (const member of members) harness.fail(member, 9);
    expect(harness.slots).toEqual(['c', 'd']);
  });

  it('never lets the last one out that is available', () => {
    const harness = new FleetHarness();
    const members = harness.serving('a', 'b', 'c', 'd');
    for (const member of members) {
      harness.fail(member, 9);
      harness.fleet.setProbe(member, 'failing', 'refused');
    }
    expect(harness.slots).toEqual(['d']);
  });
});

describe('panic', () => {
  it('is the same whatever breakers say of those whom probes find dead, and lets in their trials', () => {
    const harness = new FleetHarness();
    const [a, b] = harness.serving('a', 'b', 'c') as [Member, Member, Member];
    for (const member of [a, b]) harness.fail(member);
    for (const member of [a, b]) harness.fleet.setProbe(member, 'failing', 'x');
    expect(harness.slots).toEqual(['b', 'c']);
    harness.fail(b);
    expect(harness.slots).toEqual(['c']);
    harness.clock.advance(5000);
    expect(harness.trials).toEqual(['a', 'b']);
    for (const member of [a, b]) member.admit()?.settle('timeout');
    expect(harness.slots).toEqual(['c']);
    expect(harness.log.filter((line) => line.startsWith('panic'))).toEqual(['panic web on']);
  });

  it('readmits those that worked once when less than half are available, loudly', () => {
    const harness = new FleetHarness();
    const [a, b, c, d] = harness.serving('a', 'b', 'c', 'd') as [Member, Member, Member, Member];
    harness.fleet.upsert(web('n'));
    harness.fleet.setProbe(a, 'failing', 'x');
    harness.fleet.setProbe(b, 'failing', 'x');
    expect(harness.slots).toEqual(['c', 'd']);
    harness.fleet.setProbe(c, 'failing', 'x');
    expect(harness.slots).toEqual(['a', 'b', 'c', 'd']);
    expect(harness.view).toMatchObject({ panic: true, available: 1 });
    harness.fleet.setProbe(d, 'failing', 'x');
    expect(harness.slots).toEqual(['a', 'b', 'c', 'd']);
    harness.fleet.setProbe(a, 'passing', 'x');
    harness.fleet.setProbe(b, 'passing', 'x');
    expect(harness.slots).toEqual(['a', 'b']);
    expect(harness.log.filter((line) => line.startsWith('panic'))).toEqual(['panic web on', 'panic web off']);
  });

  it('sends nothing to instances that have never passed a probe', () => {
    const harness = new FleetHarness();
    const a = harness.fleet.upsert(web('a'))!;
    harness.fleet.upsert(web('b'));
    harness.fleet.setProbe(a, 'failing', 'refused');
    expect(harness.view).toMatchObject({ panic: false, empty: 'none-available' });
    expect(harness.slots).toEqual([]);
  });

  it('is not caused by a scale-out, a drain, or a registry that takes instances out', () => {
    const harness = new FleetHarness();
    const [a] = harness.serving('a', 'b', 'c', 'd') as [Member];
    harness.fleet.setProbe(a, 'failing', 'x');
    for (const id of 'efghijkl') harness.fleet.upsert(web(id));
    expect(harness.slots).toEqual(['b', 'c', 'd']);
    harness.fleet.drain('web', 'b');
    harness.fleet.upsert(web('c', { state: 'down' }));
    expect(harness.slots).toEqual(['d']);
    expect(harness.log.filter((line) => line.startsWith('panic'))).toEqual([]);
  });

  it('rejects everything but trials where the policy says so', () => {
    const harness = new FleetHarness();
    const [a, b, , d] = harness.serving('a', 'b', 'c', 'd') as [Member, Member, Member, Member];
    harness.fleet.configure('web', reject);
    harness.fail(d);
    harness.clock.advance(5000);
    for (const member of [a, b]) harness.fleet.setProbe(member, 'failing', 'x');
    expect(harness.slots).toEqual([]);
    expect(harness.trials).toEqual(['d']);
    expect(harness.view).toMatchObject({ panic: true, available: 1, empty: 'none-available' });
    d.admit()?.settle('success');
    expect(harness.slots).toEqual(['c', 'd']);
  });

  it('still heeds breakers', () => {
    const harness = new FleetHarness();
    const [a, b] = harness.serving('a', 'b') as [Member, Member];
    harness.fail(a);
    harness.fleet.setProbe(b, 'failing', 'x');
    expect(harness.slots).toEqual(['b']);
    expect(harness.view).toMatchObject({ panic: true, available: 0 });
    harness.fleet.setEjected(b, true, 'hangs');
    expect(harness.slots).toEqual(['b']);
  });
});

describe('publishing', () => {
  it('comes at the end of the turn, once for all changes', async () => {
    const harness = new FleetHarness();
    const [a, b] = harness.serving('a', 'b', 'c') as [Member, Member];
    const { view } = harness.fleet.service('web')!;
    let published = 0;
    harness.fleet.listen({ viewChanged: (_service, previous) => expect([previous, ++published]).toEqual([view, 1]) });
    harness.fleet.setProbe(a, 'failing', 'x');
    harness.fleet.drain('web', 'c');
    expect(harness.fleet.service('web')?.view).toBe(view);
    await Promise.resolve();
    expect(published).toBe(1);
    expect([...harness.fleet.service('web')!.view.slots]).toEqual([b.slot]);
    expect([...view.slots]).toEqual([0, 1, 2]);
  });

  it('tells nothing to those who have stopped listening', () => {
    const harness = new FleetHarness();
    const heard: string[] = [];
    const stop = harness.fleet.listen({ added: ({ instance }) => heard.push(instance.id) });
    harness.fleet.upsert(web('a'));
    stop();
    harness.fleet.upsert(web('b'));
    expect(heard).toEqual(['a']);
  });

  it('makes the views of a very large service no more often than it can afford, and never late', async () => {
    const harness = new FleetHarness({ capacity: 100_000 });
    harness.reset(
      'web',
      Array.from({ length: 100_000 }, (_, at) => web('x', { id: `i${at}`, port: 1 + (at % 60_000) })),
    );
    harness.fleet.flush();
    const members = harness.fleet.members as readonly Member[];
    const revision = (): number => harness.fleet.service('web')!.view.revision;
    const before = revision();
    for (let at = 0; at < 20; at++) {
      harness.fleet.setProbe(members[at]!, 'passing', 'x');
      await Promise.resolve();
      harness.clock.advance(1);
    }
    expect(revision() - before).toBe(4);
    harness.clock.advance(5);
    expect(harness.fleet.service('web')!.view.slots.length).toBe(20);
    expect(harness.clock.pending).toBe(0);
    harness.clock.advance(100);
    harness.fleet.setProbe(members[77]!, 'passing', 'x');
    await Promise.resolve();
    expect(harness.fleet.service('web')!.view.slots.length).toBe(21);
  });

  it('goes on for other services when a listener throws', () => {
    const harness = new FleetHarness();
    harness.fleet.configure('first', POLICY);
    harness.fleet.configure('second', POLICY);
    const stop = harness.fleet.listen({
      viewChanged: ({ name }) => {
        if (name === 'first') throw new Error('a bug');
      },
    });
    expect(() => harness.fleet.flush()).toThrow('a bug');
    stop();
    harness.clock.advance(1);
    expect(harness.fleet.service('second')?.view.revision).toBe(1);
  });

  it('ends with the fleet, and leaves no timer', async () => {
    const harness = new FleetHarness();
    const [a, b] = harness.serving('a', 'b') as [Member, Member];
    harness.fail(a);
    harness.begin(b);
    harness.fleet.remove('web', 'b');
    harness.fleet.flush();
    const { revision } = harness.fleet.service('web')!.view;
    harness.fleet.setProbe(a, 'failing', 'x');
    harness.fleet.close();
    expect(harness.clock.pending).toBe(0);
    await Promise.resolve();
    expect(harness.fleet.service('web')?.view.revision).toBe(revision);
  });
});

describe('explain', () => {
  it('names every gate with its state and since when, and the one that decided', () => {
    const harness = new FleetHarness();
    const [a] = harness.serving('a', 'b', 'c', 'd') as [Member];
    const bornMs = harness.clock.wall();
    harness.clock.advance(1000);
    harness.fail(a);
    harness.clock.advance(1000);
    harness.fleet.drain('web', 'a');
    harness.begin(a);
    harness.clock.advance(1000);
    const since = (gate: string, state: string, passes: boolean, sinceMs: number) => {
      return { gate, state, passes, sinceMs, note: undefined };
    };
    expect(harness.fleet.explain(a)).toEqual({
      id: 'a',
      address: '10.0.0.1:8097',
      slot: 0,
      weight: 1,
      weightFactors: { registered: 1, degraded: 1, slowStart: 1 },
      leaving: false,
      fallback: false,
      traffic: 'none',
      why: 'drained',
      inflight: 1,
      ejectedForMs: undefined,
      breaker: { successes: 0, failures: 5, consecutiveFailures: 5, openForMs: 3000 },
      gates: [
        since('registered', 'up', true, bornMs),
        since('drain', 'drained', false, bornMs + 2000),
        since('ejection', 'in rotation', true, bornMs),
        since('breaker', 'open', false, bornMs + 1000),
        since('probe', 'passing', true, bornMs),
      ],
    });
  });

  it('says of an instance that has never passed a probe what it waits for', () => {
    const harness = new FleetHarness();
    const a = harness.fleet.upsert(web('a', { state: 'degraded', stateReason: 'disk' }))!;
    const report = harness.fleet.explain(a)!;
    expect(report).toMatchObject({ traffic: 'none', why: 'never-passed', breaker: undefined });
    expect(report.gates[0]).toMatchObject({ state: 'degraded', passes: true, note: 'disk' });
    expect(report.gates[4]).toMatchObject({ state: 'unknown', passes: false, note: 'no probe has succeeded yet' });
  });

  it('says of a removed instance that it is leaving, and nothing of a freed one', () => {
    const harness = new FleetHarness();
    const [a] = harness.serving('a') as [Member];
    harness.begin(a);
    harness.fleet.remove('web', 'a');
    expect(harness.fleet.explain(a)).toMatchObject({ traffic: 'none', why: 'leaving', inflight: 1 });
    harness.fleet.flush();
    harness.end(a);
    expect(harness.fleet.explain(a)).toBeUndefined();
  });
});
