import { describe, expect, test } from 'vitest';
import type { ExplainReport } from '../../src/admin/reports.ts';
import { AdminFixture } from './fixture.ts';
import { POLICY } from '../policy.ts';

async function explained(it: AdminFixture, path = '/api/services/web/explain'): Promise<ExplainReport> {
  const response = await it.get(path);
  expect(response.status).toBe(200);
  return (await response.json()) as ExplainReport;
}

async function conclusion(it: AdminFixture, path?: string): Promise<string> {
  return (await explained(it, path)).conclusion;
}

function textOf(report: ExplainReport, id: string, gate: string): string {
  const found = report.instances.find((instance) => instance.id === id)?.gates.find((one) => one.gate === gate);
  return `${found?.verdict ?? '?'}: ${found?.text ?? '?'}`;
}

describe('the conclusion', () => {
  test('says who takes traffic', async () => {
    const it = new AdminFixture();
    it.add('i-1');
    expect(await conclusion(it)).toBe('web: 1 of 1 instance takes traffic');
    it.add('i-2');
    expect(await conclusion(it)).toBe('web: 2 of 2 instances take traffic');
  });

  test('says who does not, why, and for how long', async () => {
    const it = new AdminFixture();
    it.add('i-1');
    it.add('i-2');
    it.fail(it.add('i-3'), 'connection refused');
    it.clock.advance(12_300);
    expect(await conclusion(it)).toBe(
      'web: 2 of 3 instances take traffic; i-3 does not: probe failing, connection refused, since 12 s',
    );
  });

  test('says what requests get when nobody takes traffic', async () => {
    const it = new AdminFixture();
    it.fleet.upsert({ ...it.add('i-1').instance, state: 'down', stateReason: 'maintenance until 5' });
    it.fleet.flush();
    expect(await conclusion(it)).toBe(
      'web: none of 1 instance takes traffic; i-1 does not: the registry says down: maintenance until 5, since 0 ms; requests get 503 (UH)',
    );
    it.fleet.remove('web', 'i-1');
    it.fleet.flush();
    expect(await conclusion(it)).toBe('web: no instance is registered; requests get 503 (UH)');
  });

  test('tells a breaker from a probe', async () => {
    const it = new AdminFixture();
    const member = it.add('i-1');
    it.break(member);
    expect(await conclusion(it)).toMatch(
      /^web: none of 1 instance takes traffic; i-1 does not: breaker open: .+, next trial in 5 s, since 0 ms; requests get 503 \(UO\)$/,
    );
    await it.clock.advanceAsync(6000, 100);
    it.fleet.flush();
    expect(await conclusion(it)).toContain('i-1 takes only trials: breaker half-open: one trial at a time');
  });

  test('is loud about panic', async () => {
    const it = new AdminFixture();
    it.add('i-1');
    it.fail(it.add('i-2'), 'connection refused');
    it.fail(it.add('i-3'), 'connection refused');
    const report = await explained(it);
    expect(report.conclusion).toBe(
      'web: 3 of 3 instances take traffic; PANIC: only 1 available, so probe verdicts are ignored',
    );
    expect(textOf(report, 'i-2', 'probe')).toBe('overruled: failing, connection refused');
    expect(await conclusion(it, '/api/services/web/explain?instance=i-2')).toBe(
      'web/i-2 takes 33 % of the traffic by weight, only because panic ignores probe verdicts',
    );
  });

  test('names three and counts the rest', async () => {
    const it = new AdminFixture();
    for (let id = 1; id <= 9; id++) it.add(`i-${id}`);
    for (let id = 1; id <= 5; id++) it.fleet.drain('web', `i-${id}`);
    it.fleet.flush();
    const text = await conclusion(it);
    expect(text.match(/does not/g)).toHaveLength(3);
    expect(text).toContain('; and 2 more');
  });
});

describe('gate by gate', () => {
  test('a fallback instance says whether it is needed', async () => {
    const it = new AdminFixture();
    const id = 'fallback:10.9.9.9:80';
    it.fleet.configure('web', { ...POLICY, fallback: [{ host: '10.9.9.9', port: 80 }] });
    const a = it.add('i-1');
    it.fleet.setProbe(it.fleet.find('web', id)!, 'passing', 'test');
    it.fleet.flush();
    const spare = await explained(it);
    expect(textOf(spare, id, 'fallback')).toBe('stop: in reserve: others are available');
    expect(textOf(spare, id, 'registered')).toBe('pass: configured as fallback');
    expect(spare).toMatchObject({ fallback: false, mode: 'strict' });
    expect(spare.conclusion).toBe(
      `web: 1 of 2 instances takes traffic; ${id} does not: in reserve: others are available`,
    );
    it.fleet.setProbe(a, 'failing', 'test');
    it.fleet.flush();
    const used = await explained(it);
    expect(textOf(used, id, 'fallback')).toBe('pass: in use: nobody else is available');
    expect(used.conclusion).toContain('; FALLBACK: only fallback instances are sent to; i-1 does not: probe failing');
  });

  test('a gate whose word does not hold in this mode says so', async () => {
    const it = new AdminFixture();
    const a = it.add('a');
    it.add('b', { state: 'down', stateReason: 'asked to rest' });
    it.fleet.setDefaultPolicy({ ...POLICY, availability: { ...POLICY.availability, mode: 'trust-probes' } });
    it.fleet.flush();
    expect(textOf(await explained(it), 'b', 'registered')).toBe(
      'overruled: down: asked to rest; its probes pass, and the mode is trust-probes',
    );
    it.fleet.setDefaultPolicy({ ...POLICY, availability: { ...POLICY.availability, mode: 'trust-registry' } });
    it.fail(a, 'connect ECONNREFUSED');
    const report = await explained(it);
    expect(textOf(report, 'a', 'probe')).toBe('overruled: failing, connect ECONNREFUSED; the mode is trust-registry');
    expect(report.instances.find(({ id }) => id === 'a')?.traffic).toBe('full');
    expect(textOf(report, 'b', 'registered')).toBe('stop: down: asked to rest');
  });

  test('the balancer says what a weight is made of that is not the registered one', async () => {
    const it = new AdminFixture();
    it.fleet.setDefaultPolicy({
      ...POLICY,
      slowStart: { durationMs: 10_000, curve: 'linear', minShare: 0.1 },
    });
    const member = it.add('i-1', { weight: 4 });
    it.fleet.setProbe(member, 'degraded', 'test');
    it.clock.advance(5000);
    const report = await explained(it, '/api/services/web/explain?instance=i-1');
    const { evidence } = report.instances[0]!.gates.at(-1)!;
    expect(evidence.at(-1)).toBe('weight 1.1 = 4 registered x 0.5 degraded x 0.55 slow start');
  });

  test('an instance in full traffic passes them all, with evidence', async () => {
    const it = new AdminFixture();
    const member = it.add('i-1');
    it.add('i-2');
    it.figures.take(member.slot);
    member.admit()?.settle('success');
    it.figures.inflight[member.slot] = 2;
    it.figures.latencyMs[member.slot] = 8.25;
    it.clock.advance(90_000);
    const report = await explained(it, '/api/services/web/explain?instance=i-1');
    const [only] = report.instances;
    expect(only!.gates.map(({ gate, verdict, text }) => [gate, verdict, text])).toEqual([
      ['registered', 'pass', 'up'],
      ['drain', 'pass', 'not drained'],
      ['ejection', 'pass', 'not ejected'],
      ['breaker', 'pass', 'closed'],
      ['probe', 'pass', 'passing'],
      ['balancer', 'pass', 'p2c: 50 % of the traffic by weight'],
    ]);
    expect(only!.gates[0]!.evidence).toEqual(['local: up, since 2 h']);
    expect(only!.gates[0]!.forMs).toBe(90_000);
    expect(only!.gates[3]!.evidence).toEqual([
      expect.stringMatching(/^\d success(es)? and 0 failures in the window, 0 failures in a row$/),
    ]);
    expect(only!.gates[5]!.evidence).toEqual(['2 in flight, 8.3 ms to the response head', '1 attempt, 0 failed']);
    expect(only!.reason).toBeUndefined();
  });

  test('an instance at its limit is passed over, by whichever limit is lower', async () => {
    const it = new AdminFixture();
    const { slot } = it.add('i-1');
    it.figures.limit[slot] = 12.7;
    it.figures.inflight[slot] = 11;
    it.fleet.configure('web', { ...POLICY, adaptiveLimit: true });
    const path = '/api/services/web/explain?instance=i-1';
    expect(textOf(await explained(it, path), 'i-1', 'balancer')).toBe('pass: p2c: 100 % of the traffic by weight');
    it.figures.inflight[slot] = 12;
    const full = await explained(it, path);
    expect(textOf(full, 'i-1', 'balancer')).toBe('stop: passed over: at its limit of requests in flight');
    expect(full.instances[0]!.gates.at(-1)!.evidence[0]).toBe('12 in flight of at most 12 as found');
    it.fleet.configure('web', { ...POLICY, maxInflightPerInstance: 20 });
    const roomy = await explained(it, path);
    expect(roomy.instances[0]!.gates.at(-1)!.evidence[0]).toBe('12 in flight of at most 20');
  });

  test('several reasons are all told, and the first of them is the reason', async () => {
    const it = new AdminFixture();
    it.add('i-1');
    it.add('i-2');
    const member = it.add('i-3');
    it.fail(member, 'connect ECONNREFUSED 10.0.0.1:8002');
    it.fleet.setEjected(member, true, 'hangs: oldest request waits for 2 s');
    it.fleet.drain('web', 'i-3');
    it.fleet.flush();
    it.clock.advance(3000);
    const report = await explained(it, '/api/services/web/explain?instance=i-3');
    expect(textOf(report, 'i-3', 'drain')).toBe('stop: drained by an operator');
    expect(textOf(report, 'i-3', 'ejection')).toBe('stop: ejected: hangs: oldest request waits for 2 s');
    expect(textOf(report, 'i-3', 'probe')).toBe('stop: failing, connect ECONNREFUSED 10.0.0.1:8002');
    expect(textOf(report, 'i-3', 'balancer')).toBe('stop: does not see it');
    expect(report.conclusion).toBe('web/i-3 does not take traffic: drained by an operator, since 3 s');
    expect(report.instances[0]!.gates[4]!.evidence).toEqual([
      'tcp: failing, connect ECONNREFUSED 10.0.0.1:8002, 3 s ago, took 1 ms; 3 failures in a row (out at 3); next in 1 s',
    ]);
    expect(report.instances[0]!.history.map(({ kind, to }) => [kind, to])).toEqual([
      ['probe', 'passing'],
      ['probe', 'failing'],
      ['ejection', 'ejected'],
      ['drain', 'drained'],
    ]);
  });

  test('an instance that never passed a probe says so', async () => {
    const it = new AdminFixture();
    it.fleet.upsert({ ...it.add('i-1').instance, id: 'i-2', port: 1 });
    it.fleet.flush();
    expect(textOf(await explained(it), 'i-2', 'probe')).toBe('stop: unknown (no probe has succeeded yet)');
  });

  test('those out of traffic come first where there are very many', async () => {
    const it = new AdminFixture();
    for (let id = 0; id < 150; id++) it.add(`i-${id}`);
    it.fleet.drain('web', 'i-149');
    it.fleet.flush();
    const report = await explained(it);
    expect([report.instances.length, report.omitted, report.instances[0]!.id]).toEqual([100, 50, 'i-149']);
  });
});

describe('what to explain is found', () => {
  test.each([
    ['web', undefined],
    ['web.localhost', 'web.localhost'],
    ['WEB.localhost:8080', 'web.localhost'],
    ['http://web.localhost:8080/some/path?q=1', 'web.localhost'],
    ['web.localhost/path', 'web.localhost'],
  ])('by %s', async (question, host) => {
    const it = new AdminFixture();
    it.add('i-1');
    const report = await explained(it, `/api/explain?q=${encodeURIComponent(question)}`);
    expect([report.service, report.host, report.instances.length]).toEqual(['web', host, 1]);
  });

  test.each<[string, number, string]>([
    ['', 400, '`q` must be'],
    ['http://', 400, '`q` must be'],
    ['http://user@web.localhost/', 400, '`q` must be'],
    ['wev', 404, 'requests for it get 404 (NR)'],
    ['http://other.example/', 404, 'requests for it get 404 (NR)'],
    ['ghost.localhost', 404, 'no registry knows anything'],
  ])('not by %j', async (question, status, text) => {
    const it = new AdminFixture();
    it.add('i-1');
    const answer = await it.json(`/api/explain?q=${encodeURIComponent(question)}`);
    expect(answer).toMatchObject({ status, detail: expect.stringContaining(text) as string });
  });

  test('an instance that does not exist is told with near ones', async () => {
    const it = new AdminFixture();
    it.add('i-1');
    expect(await it.json('/api/explain?q=web&instance=i-2')).toMatchObject({ status: 404, near: ['i-1'] });
  });
});
