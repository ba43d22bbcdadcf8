import { describe, expect, it } from 'vitest';
import type { Check } from '../../src/core/check.ts';
import { ManualClock } from '../../src/core/clock.ts';
import type { ProbeState } from '../../src/core/health.ts';
import { seededRandom } from '../../src/core/random.ts';
import type { ProbeSample, VerdictEvidence } from '../../src/health/evidence.ts';
import type { Report } from '../../src/health/probe.ts';
import { Prober, type ProberOptions } from '../../src/health/prober.ts';
import { httpCheck, PASS, REFUSED, SimulatedProbes, target, tcpCheck, TIMING, type Behaviour } from './fixtures.ts';

interface Verdict extends VerdictEvidence {
  readonly key: number;
  readonly state: ProbeState;
  readonly atMs: number;
}

function setUp(behaviour: Behaviour, options: Partial<ProberOptions> = {}) {
  const clock = new ManualClock();
  const probes = new SimulatedProbes(clock, behaviour);
  const verdicts: Verdict[] = [];
  const samples: ProbeSample[] = [];
  const successMs = new Map<number, number>();
  const prober = new Prober({
    clock,
    random: seededRandom(1),
    createProbe: probes.create,
    onVerdict: (key, state, evidence) => verdicts.push({ key, state, atMs: clock.now(), ...evidence }),
    onResult: (sample) => samples.push(sample),
    trafficSuccessMs: (key) => successMs.get(key),
    ...options,
  });
  const trafficSucceeds = (key: number): void => void successMs.set(key, clock.now());
  return { clock, probes, verdicts, samples, prober, trafficSucceeds };
}

const answering: Behaviour = () => ({ afterMs: 5, answer: PASS });
const refusing: Behaviour = () => ({ afterMs: 1, answer: REFUSED });
const gaps = (starts: readonly { atMs: number }[]): number[] =>
  starts.slice(1).map((start, index) => start.atMs - starts[index]!.atMs);

describe('Prober', () => {
  it('asks a new instance at once and believes its first success', () => {
    const { clock, prober, verdicts } = setUp(answering);
    prober.track(target(1));
    expect(prober.stateOf(1)).toBe('unknown');
    clock.advance(30);
    expect(verdicts).toEqual([
      { key: 1, state: 'passing', atMs: 15, from: 'unknown', check: 'tcp', text: 'tcp: fine' },
    ]);
  });

  it('looks at once where it is asked to, and goes on at the fast interval only where what it finds speaks against the verdict', () => {
    let alive = true;
    const { clock, prober, probes, verdicts, trafficSucceeds } = setUp(() => ({
      afterMs: 1,
      answer: alive ? PASS : REFUSED,
    }));
    prober.track(target(1));
    clock.advance(20_000);
    const before = probes.starts.length;
    prober.look(1);
    clock.advance(1000);
    expect(probes.starts.length).toBe(before + 1);
    clock.advance(9000);
    expect(probes.starts.length).toBeLessThanOrEqual(before + 3);

    alive = false;
    trafficSucceeds(1);
    const diedMs = clock.now();
    prober.look(1);
    clock.advance(2100);
    expect(verdicts.at(-1)).toMatchObject({ key: 1, state: 'failing' });
    expect(verdicts.at(-1)!.atMs - diedMs).toBeLessThanOrEqual(2100);
    prober.look(2);
  });

  it('spreads the looks at thousands of instances', () => {
    const { clock, prober, probes } = setUp(answering, { limits: { firstProbesPerSecond: 1000 } });
    for (let key = 0; key < 3000; key++) prober.track(target(key));
    clock.advance(4000);
    const before = probes.starts.length;
    for (let key = 0; key < 3000; key++) prober.look(key);
    clock.advance(200);
    expect(probes.starts.length - before).toBeLessThan(1000);
  });

  it('keeps a new instance that does not answer down, and calls it failing after the threshold', () => {
    const { clock, prober, verdicts } = setUp(refusing);
    prober.track(target(1));
    clock.advance(1500);
    expect(prober.stateOf(1)).toBe('unknown');
    clock.advance(1500);
    expect(verdicts.map(({ state, text }) => [state, text])).toEqual([
      ['failing', 'tcp: connection refused (3 in a row)'],
    ]);
  });

  it('probes in the interval with jitter while all is well, and never further apart than the jitter says', () => {
    const { clock, prober, probes } = setUp(answering);
    prober.track(target(1));
    clock.advance(500_000);
    const steady = gaps(probes.starts.slice(1));
    expect(Math.max(...steady)).toBeLessThanOrEqual(5000 * 1.2 + 10);
    expect(Math.min(...steady)).toBeGreaterThanOrEqual(5000 * 0.8 - 10);
    expect(Math.max(...steady) - Math.min(...steady)).toBeGreaterThan(1000);
    expect(probes.starts.length).toBeGreaterThan(98);
    expect(probes.starts.length).toBeLessThan(104);
  });

  it('hurries while results disagree with the verdict, in both directions, and calms down afterwards', () => {
    const { clock, prober, probes, verdicts } = setUp(answering);
    prober.track(target(1));
    clock.advance(20_000);
    probes.behaviour = refusing;
    clock.advance(60_000);
    const down = verdicts[1]!;
    expect(down.state).toBe('failing');
    const beforeDown = probes.starts.filter(({ atMs }) => atMs > 20_000 && atMs <= down.atMs);
    expect(beforeDown).toHaveLength(3);
    expect(Math.max(...gaps(beforeDown))).toBeLessThanOrEqual(1010);
    const whileDown = probes.starts.filter(({ atMs }) => atMs > down.atMs + 5000);
    expect(Math.min(...gaps(whileDown))).toBeGreaterThan(3900);
    probes.behaviour = answering;
    clock.advance(10_000);
    const up = verdicts[2]!;
    expect(up.state).toBe('passing');
    const beforeUp = probes.starts.filter(({ atMs }) => atMs > 80_000 && atMs <= up.atMs);
    expect(beforeUp).toHaveLength(2);
    expect(gaps(beforeUp)[0]).toBeLessThanOrEqual(1010);
  });

  it('gives up on an instance that hangs at the deadline, and says what it waited for', () => {
    const { clock, prober, probes, verdicts, samples } = setUp(() => undefined);
    prober.track(target(1));
    clock.advance(10_000);
    expect(verdicts[0]).toMatchObject({ state: 'failing', text: 'tcp: no answer within 2s (3 in a row)' });
    expect(samples[0]).toMatchObject({ outcome: 'timeout', type: 'tcp', service: 'web' });
    expect(samples[0]!.durationMs).toBeGreaterThanOrEqual(2000);
    expect(samples[0]!.durationMs).toBeLessThanOrEqual(2010);
    expect(probes.mostRunning).toBe(1);
  });

  it('tells verdicts only when they change', () => {
    let count = 0;
    const { clock, prober, verdicts } = setUp(() => ({ afterMs: 1, answer: count++ % 3 === 2 ? REFUSED : PASS }));
    prober.track(target(1));
    clock.advance(200_000);
    expect(verdicts.map(({ state }) => state)).toEqual(['passing']);
  });

  it('calls an instance with several checks passing only when all are, and names the failing one', () => {
    let httpWorks = true;
    const { clock, prober, verdicts } = setUp((_to, check) => ({
      afterMs: 1,
      answer: check.name === 'http' && !httpWorks ? { result: 'fail', text: 'status 503' } : PASS,
    }));
    prober.track(target(1, { checks: [tcpCheck({ intervalMs: 1000 }), httpCheck({ intervalMs: 4000 })] }));
    clock.advance(10_000);
    expect(verdicts.map(({ state }) => state)).toEqual(['passing']);
    httpWorks = false;
    clock.advance(10_000);
    expect(verdicts[1]).toMatchObject({
      state: 'failing',
      from: 'passing',
      check: 'http',
      text: 'http: status 503 (3 in a row)',
    });
    const explained = prober.explain(1)!;
    expect(explained.state).toBe('failing');
    expect(explained.checks.map(({ name, state }) => [name, state])).toEqual([
      ['tcp', 'passing'],
      ['http', 'failing'],
    ]);
  });

  it('stays unknown until the last of several checks has answered', () => {
    const { clock, prober, verdicts } = setUp((_to, check) =>
      check.name === 'http' ? { afterMs: 700, answer: PASS } : { afterMs: 1, answer: PASS },
    );
    prober.track(target(1, { checks: [tcpCheck(), httpCheck()] }));
    clock.advance(600);
    expect(verdicts).toEqual([]);
    clock.advance(200);
    expect(verdicts.map(({ state, check }) => [state, check])).toEqual([['passing', 'http']]);
  });

  it('passes a degraded answer on as a state of its own', () => {
    const { clock, prober, verdicts } = setUp(() => ({ afterMs: 1, answer: { result: 'degraded', text: 'warning' } }));
    prober.track(target(1));
    clock.advance(100);
    expect(verdicts.map(({ state }) => state)).toEqual(['degraded']);
  });

  it('counts an instance without checks as passing', () => {
    const { prober, verdicts, clock } = setUp(answering);
    prober.track(target(1, { checks: [] }));
    expect(verdicts).toMatchObject([{ state: 'passing', check: undefined, text: 'nothing to check' }]);
    expect(clock.pending).toBe(0);
  });

  it('keeps for explain what each check last said, when, how often in a row and when it is next', () => {
    const { clock, prober } = setUp(answering);
    prober.track(target(1));
    clock.advance(60_000);
    const [check] = prober.explain(1)!.checks;
    expect(check).toMatchObject({
      name: 'tcp',
      type: 'tcp',
      state: 'passing',
      activity: 'waiting',
      healthyThreshold: 2,
      unhealthyThreshold: 3,
    });
    expect(check!.last).toMatchObject({ result: 'pass', text: 'fine', durationMs: 5 });
    expect(check!.last!.atWallMs).toBeGreaterThan(1_700_000_053_000);
    expect(check!.consecutiveSuccesses).toBeGreaterThan(10);
    expect(check!.consecutiveFailures).toBe(0);
    expect(check!.nextInMs).toBeGreaterThan(0);
    expect(check!.nextInMs).toBeLessThanOrEqual(6000);
    expect(prober.explain(2)).toBeUndefined();
  });

  it('is untouched by a stepped wall clock', () => {
    const { clock, prober, probes, verdicts } = setUp(answering);
    prober.track(target(1));
    clock.advance(10_000);
    clock.stepWall(3_600_000);
    clock.advance(10_000);
    clock.stepWall(-7_200_000);
    clock.advance(10_000);
    expect(verdicts).toHaveLength(1);
    expect(Math.max(...gaps(probes.starts))).toBeLessThanOrEqual(6010);
  });

  it('survives a probe that throws, and reports that as a failure', () => {
    const { clock, prober, verdicts } = setUp(() => {
      throw new RangeError('port out of range');
    });
    prober.track(target(1));
    clock.advance(10_000);
    expect(verdicts[0]).toMatchObject({ state: 'failing', text: 'tcp: cannot probe: port out of range (3 in a row)' });
  });

  it('handles answers given before start returns', () => {
    const { clock, prober, verdicts, probes } = setUp(() => ({ afterMs: 0, answer: PASS }));
    for (let key = 0; key < 500; key++) prober.track(target(key));
    clock.advance(30_000);
    expect(verdicts).toHaveLength(500);
    expect(probes.runningNow).toBe(0);
    expect(prober.stats).toMatchObject({ running: 0, queued: 0 });
  });

  describe('untrack and stop', () => {
    it('ends a run under way, frees its probe and calls nothing back', () => {
      const { clock, prober, probes, verdicts } = setUp(() => undefined);
      prober.track(target(1));
      clock.advance(100);
      expect(probes.runningNow).toBe(1);
      prober.untrack(1);
      expect([probes.runningNow, probes.closed, prober.stats.running]).toEqual([0, 1, 0]);
      clock.advance(60_000);
      expect(clock.pending).toBe(0);
      expect(verdicts).toEqual([]);
      expect(prober.stateOf(1)).toBeUndefined();
    });

    it('lets a verdict callback untrack the very instance', () => {
      const { clock, prober, probes } = setUp(answering, { onVerdict: (key) => prober.untrack(key) });
      prober.track(target(1));
      clock.advance(60_000);
      expect(probes.starts).toHaveLength(1);
      expect([prober.stats.targets, prober.stats.running, clock.pending]).toEqual([0, 0, 0]);
    });

    it('stops everything, begins nothing on the way, and holds no timer afterwards', () => {
      const { clock, prober, probes } = setUp(() => undefined, { limits: { concurrency: 10 } });
      for (let key = 0; key < 200; key++) prober.track(target(key));
      clock.advance(100);
      expect(probes.starts).toHaveLength(10);
      prober.stop();
      expect(probes.starts).toHaveLength(10);
      expect([probes.runningNow, prober.stats.targets, clock.pending]).toEqual([0, 0, 0]);
      prober.track(target(1));
      clock.advance(60_000);
      expect(probes.starts).toHaveLength(10);
    });

    it('never takes what a probe of a gone instance says late for the instance that has its place now', () => {
      const reports = new Map<string, Report>();
      const { clock, prober, verdicts } = setUp(answering, {
        createProbe: ({ id }, _check, report) => {
          reports.set(id, report);
          return { start: () => undefined, abort: () => 'no answer', close: () => undefined };
        },
      });
      prober.track(target(1));
      clock.advance(100);
      prober.untrack(1);
      prober.track(target(2));
      reports.get('web-1')!(PASS);
      clock.advance(100);
      reports.get('web-1')!(PASS);
      expect(verdicts).toEqual([]);
      expect(prober.explain(2)!.checks[0]).toMatchObject({ activity: 'running', last: undefined });
      reports.get('web-2')!(PASS);
      expect(verdicts).toMatchObject([{ key: 2, state: 'passing' }]);
      expect(prober.stats).toMatchObject({ targets: 1, running: 0 });
    });

    it('lets whoever hears of a result untrack the very instance, and gives its place to another', () => {
      const { clock, prober, probes, verdicts } = setUp(answering, {
        onResult: ({ key }) => {
          if (key !== 1) return;
          prober.untrack(1);
          prober.track(target(2, { checks: [httpCheck()] }));
        },
      });
      prober.track(target(1));
      clock.advance(60_000);
      expect(probes.starts.filter(({ instanceId }) => instanceId === 'web-1')).toHaveLength(1);
      expect(verdicts).toMatchObject([{ key: 2, state: 'passing', text: 'http: fine' }]);
      prober.untrack(2);
      expect([prober.stats.running, clock.pending]).toEqual([0, 0]);
    });

    it('leaves nothing behind after many instances have come and gone', () => {
      const { clock, prober, probes } = setUp(answering);
      for (let round = 0; round < 50; round++) {
        for (let key = 0; key < 100; key++) prober.track(target(key));
        clock.advance(13);
        for (let key = 0; key < 100; key++) prober.untrack(key);
      }
      clock.advance(1000);
      expect(probes.runningNow).toBe(0);
      expect(prober.stats).toMatchObject({ targets: 0, running: 0, queued: 0 });
      expect(clock.pending).toBe(0);
    });
  });

  describe('update', () => {
    it('keeps the history of an unchanged check, and takes over new timing', () => {
      const { clock, prober, probes, verdicts } = setUp(answering);
      prober.track(target(1));
      clock.advance(20_000);
      const before = prober.explain(1)!.checks[0]!;
      prober.update(target(1, { checks: [tcpCheck({ intervalMs: 1000, unhealthyThreshold: 5 })] }));
      const after = prober.explain(1)!.checks[0]!;
      expect(after.consecutiveSuccesses).toBe(before.consecutiveSuccesses);
      expect(after.unhealthyThreshold).toBe(5);
      const startsBefore = probes.starts.length;
      clock.advance(10_000);
      expect(probes.starts.length - startsBefore).toBeGreaterThanOrEqual(9);
      expect(verdicts).toHaveLength(1);
      expect(probes.created).toBe(1);
    });

    it('does not take an instance that is up out for a new question before it has failed it', () => {
      const { clock, prober, probes, verdicts } = setUp(answering);
      prober.track(target(1, { checks: [httpCheck()] }));
      clock.advance(20_000);
      prober.update(target(1, { checks: [httpCheck({ path: '/other' })] }));
      expect(prober.stateOf(1)).toBe('passing');
      expect([probes.created, probes.closed]).toEqual([1, 1]);
      probes.behaviour = refusing;
      clock.advance(900);
      expect(prober.stateOf(1)).toBe('passing');
      clock.advance(5000);
      expect(verdicts.map(({ state }) => state)).toEqual(['passing', 'failing']);
    });

    it('asks a failing instance a new question as if it were new: one success brings it up', () => {
      const { clock, prober, probes, verdicts } = setUp(refusing);
      prober.track(target(1, { checks: [httpCheck()] }));
      clock.advance(20_000);
      probes.behaviour = answering;
      prober.update(target(1, { checks: [httpCheck({ path: '/right' })] }));
      clock.advance(100);
      expect(verdicts.map(({ state }) => state)).toEqual(['failing', 'unknown', 'passing']);
    });

    it('starts from nothing where the address has changed', () => {
      const { clock, prober, verdicts } = setUp(answering);
      prober.track(target(1));
      clock.advance(20_000);
      prober.update(target(1, { port: 9090 }));
      expect(prober.stateOf(1)).toBe('unknown');
      clock.advance(100);
      expect(verdicts.map(({ state, text }) => [state, text])).toEqual([
        ['passing', 'tcp: fine'],
        ['unknown', 'it is another instance now'],
        ['passing', 'tcp: fine'],
      ]);
    });

    it('forgets a check that is gone, with its verdict', () => {
      const { clock, prober, verdicts } = setUp((_to, check) => ({
        afterMs: 1,
        answer: check.name === 'http' ? REFUSED : PASS,
      }));
      prober.track(target(1, { checks: [tcpCheck(), httpCheck()] }));
      clock.advance(20_000);
      expect(prober.stateOf(1)).toBe('failing');
      prober.update(target(1, { checks: [tcpCheck()] }));
      expect(verdicts.at(-1)).toMatchObject({ state: 'passing', text: 'its checks have changed' });
    });
  });

  describe('ttl checks', () => {
    const ttl = {
      ...TIMING,
      type: 'ttl' as const,
      name: 'beat',
      port: undefined,
      timeoutMs: 15_000,
      healthyThreshold: 1,
      unhealthyThreshold: 1,
    };

    it('starts down and follows what the instance reports', () => {
      const { clock, prober, verdicts, probes } = setUp(answering);
      prober.track(target(1, { checks: [ttl] }));
      expect(prober.accept(1, 'beat', 'pass', 'all fine')).toBe(true);
      expect(prober.accept(1, 'beat', 'degraded', 'disk\n\u001b[31mfull')).toBe(true);
      expect(prober.accept(1, 'beat', 'fail', '')).toBe(true);
      expect(verdicts.map(({ state, text }) => [state, text])).toEqual([
        ['passing', 'beat: reported pass: all fine'],
        ['degraded', 'beat: reported degraded: disk [31mfull'],
        ['failing', 'beat: reported fail'],
      ]);
      clock.advance(60_000);
      expect(probes.created).toBe(0);
    });

    it('takes silence for a failure, once per period', () => {
      const { clock, prober, verdicts } = setUp(answering);
      prober.track(target(1, { checks: [ttl] }));
      prober.accept(1, 'beat', 'pass', '');
      clock.advance(14_900);
      prober.accept(1, 'beat', 'pass', '');
      clock.advance(14_900);
      expect(prober.stateOf(1)).toBe('passing');
      clock.advance(200);
      expect(verdicts.at(-1)).toMatchObject({ state: 'failing', text: 'beat: no report for 15s' });
      clock.advance(30_000);
      expect(prober.explain(1)!.checks[0]!.consecutiveFailures).toBe(3);
    });

    it('gives an instance known from before one whole period', () => {
      const { clock, prober, verdicts } = setUp(answering);
      prober.track(target(1, { checks: [ttl], restored: true }));
      expect(verdicts).toMatchObject([{ state: 'passing', text: 'known from before' }]);
      clock.advance(14_990);
      expect(prober.stateOf(1)).toBe('passing');
      clock.advance(20);
      expect(prober.stateOf(1)).toBe('failing');
    });

    it('does not hear silence where no reports reach it, and then gives everybody one whole period', () => {
      const { clock, prober } = setUp(answering);
      prober.track(target(1, { checks: [ttl], restored: true }));
      prober.track(target(2, { checks: [ttl] }));
      prober.accept(2, 'beat', 'fail', '');
      clock.advance(10_000);
      prober.hearing = false;
      clock.advance(100_000);
      expect([prober.stateOf(1), prober.stateOf(2)]).toEqual(['passing', 'failing']);
      prober.hearing = true;
      clock.advance(14_900);
      expect(prober.stateOf(1)).toBe('passing');
      clock.advance(200);
      expect(prober.stateOf(1)).toBe('failing');
    });

    it('refuses reports for unknown instances, unknown checks and checks that the gateway asks itself', () => {
      const { prober } = setUp(answering);
      prober.track(target(1));
      expect(prober.accept(2, 'beat', 'pass', '')).toBe(false);
      expect(prober.accept(1, 'beat', 'pass', '')).toBe(false);
      expect(prober.accept(1, 'tcp', 'pass', '')).toBe(false);
    });

    it('bounds what it keeps of a report', () => {
      const { prober } = setUp(answering);
      prober.track(target(1, { checks: [ttl] }));
      prober.accept(1, 'beat', 'pass', 'x'.repeat(100_000));
      expect(prober.explain(1)!.checks[0]!.last!.text.length).toBeLessThan(250);
    });
  });

  describe('traffic as evidence', () => {
    it('puts tcp probes off, at most one in a row', () => {
      const { clock, prober, probes, trafficSucceeds } = setUp(answering);
      prober.track(target(1));
      prober.track(target(2));
      for (let step = 0; step < 1000; step++) {
        clock.advance(100);
        trafficSucceeds(1);
      }
      const busy = probes.starts.filter(({ instanceId }) => instanceId === 'web-1');
      const idle = probes.starts.filter(({ instanceId }) => instanceId === 'web-2');
      expect(busy.length).toBeLessThan(idle.length * 0.8);
      expect(Math.max(...gaps(busy))).toBeLessThanOrEqual(2 * 6000 + 10);
    });

    it('does not delay the detection of an instance that stops', () => {
      for (let seed = 0; seed < 30; seed++) {
        const { clock, prober, probes, verdicts, trafficSucceeds } = setUp(answering, { random: seededRandom(seed) });
        prober.track(target(seed));
        const diesAtMs = 10_000 + seed * 731;
        while (clock.now() < diesAtMs) {
          clock.advance(100);
          trafficSucceeds(seed);
        }
        probes.behaviour = () => undefined;
        const deadAtMs = clock.now();
        clock.advance(30_000);
        expect(verdicts.at(-1)!.state).toBe('failing');
        expect(verdicts.at(-1)!.atMs - deadAtMs).toBeLessThanOrEqual(6000 + 2 * 2000 + 2000 + 40);
      }
    });

    it('reads the columns of whoever keeps them, and can be switched off', () => {
      const count = (options: Partial<ProberOptions>, part: Partial<Check> = {}): number => {
        const { clock, prober, probes } = setUp(answering, options);
        prober.track(target(1, { checks: [{ ...tcpCheck(), ...part } as Check] }));
        clock.advance(100_000);
        return probes.starts.length;
      };
      const without = count({});
      const clockNow = { nowMs: 0 };
      const { clock, prober, probes } = setUp(answering, { trafficSuccessMs: () => clockNow.nowMs });
      prober.track(target(1));
      for (let step = 0; step < 1000; step++) {
        clock.advance(100);
        clockNow.nowMs = clock.now();
      }
      expect(probes.starts.length).toBeLessThan(without * 0.8);
      expect(count({ trafficSuccessMs: () => 1e12 }, { trafficAsEvidence: false })).toBe(without);
    });

    it('stands in for a check that asks for more where the operator says so', () => {
      const { clock, prober, probes, trafficSucceeds } = setUp(answering);
      prober.track(target(1, { checks: [{ ...httpCheck(), trafficAsEvidence: true }] }));
      for (let step = 0; step < 1000; step++) {
        clock.advance(100);
        trafficSucceeds(1);
      }
      expect(probes.starts.length).toBeLessThan(16);
    });

    it('never stands in by itself for a check that asks for more than a connection, nor for another port', () => {
      const { clock, prober, probes, trafficSucceeds } = setUp(answering);
      prober.track(target(1, { checks: [httpCheck()] }));
      prober.track(target(2, { checks: [tcpCheck({ port: 9999 })] }));
      for (let step = 0; step < 1000; step++) {
        clock.advance(100);
        trafficSucceeds(1);
        trafficSucceeds(2);
      }
      for (const id of ['web-1', 'web-2']) {
        expect(probes.starts.filter(({ instanceId }) => instanceId === id).length).toBeGreaterThanOrEqual(19);
      }
    });
  });
});
