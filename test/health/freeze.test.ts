import { describe, expect, it } from 'vitest';
import type { ProbeState } from '../../src/core/health.ts';
import { seededRandom } from '../../src/core/random.ts';
import type { ProbeAnswer } from '../../src/health/probe.ts';
import { Prober, type ProberOptions } from '../../src/health/prober.ts';
import type { FreezeEvent } from '../../src/health/self-watch.ts';
import type { ProbeOutcome } from '../../src/health/evidence.ts';
import {
  httpCheck,
  PASS,
  REFUSED,
  SimulatedProbes,
  StallingClock,
  target,
  tcpCheck,
  TIMING,
  type Behaviour,
} from './fixtures.ts';

const NO_DESCRIPTORS: ProbeAnswer = { result: 'unable', text: 'no file descriptors left', everywhere: true };
const NO_PORT: ProbeAnswer = { result: 'unable', text: 'no local address or port', everywhere: false };

function setUp(behaviour: Behaviour, options: Partial<ProberOptions> = {}) {
  const clock = new StallingClock();
  const probes = new SimulatedProbes(clock, behaviour);
  const verdicts: [number, ProbeState][] = [];
  const freezes: FreezeEvent[] = [];
  const outcomes: ProbeOutcome[] = [];
  const prober = new Prober({
    clock,
    random: seededRandom(5),
    createProbe: probes.create,
    onVerdict: (key, state) => verdicts.push([key, state]),
    onFreeze: (event) => freezes.push(event),
    onResult: ({ outcome }) => outcomes.push(outcome),
    ...options,
  });
  return { clock, probes, verdicts, freezes, outcomes, prober };
}

const answering: Behaviour = () => ({ afterMs: 5, answer: PASS });

describe('a prober that doubts itself', () => {
  it('does not eject instances because its own event loop stalls, again and again', () => {
    // Answers take 5 ms, deadlines 100 ms; each stall of 400 ms makes every probe under way run past its deadline unread.
    const { clock, prober, verdicts, freezes } = setUp(answering);
    const check = httpCheck({ intervalMs: 500, timeoutMs: 100, fastIntervalMs: 200, unhealthyThreshold: 1 });
    for (let key = 0; key < 200; key++) prober.track(target(key, { checks: [check] }));
    clock.advance(2000);
    expect(verdicts).toHaveLength(200);
    for (let round = 0; round < 20; round++) {
      clock.advance(150);
      clock.stall(400);
    }
    clock.advance(5000);
    expect(verdicts).toHaveLength(200);
    expect(freezes[0]).toMatchObject({ frozen: true, reason: 'event-loop-lag' });
    expect(freezes.at(-1)).toMatchObject({ frozen: false });
    expect(prober.stats.frozen).toBe(false);
  });

  it('lets an answer in that arrived beside its deadline while the loop was late', () => {
    const { clock, prober, outcomes } = setUp(() => ({ afterMs: 60, answer: PASS }));
    prober.track(target(1, { checks: [httpCheck({ timeoutMs: 100 })] }));
    clock.advance(20);
    // 90 ms late is below the freeze threshold, and yet past both the answer and the deadline.
    clock.stall(180);
    clock.advance(20);
    expect(outcomes).toEqual(['pass']);
  });

  it('discards failures of probes that were under way during a stall, says so, and asks again soon', () => {
    const { clock, prober, probes, verdicts, freezes, outcomes } = setUp(answering);
    prober.track(target(1, { checks: [tcpCheck({ unhealthyThreshold: 1 })] }));
    clock.advance(1000);
    expect(verdicts).toEqual([[1, 'passing']]);
    probes.behaviour = () => ({ afterMs: 300, answer: REFUSED });
    const before = outcomes.length;
    while (probes.runningNow === 0) clock.advance(10);
    clock.stall(500);
    clock.advance(10);
    expect(outcomes.slice(before)).toEqual(['discarded']);
    expect(prober.explain(1)!.checks[0]).toMatchObject({
      state: 'passing',
      discarded: 'connection refused',
      consecutiveFailures: 0,
    });
    expect(freezes).toHaveLength(1);
    probes.behaviour = answering;
    clock.advance(1100);
    expect(outcomes.slice(before)).toEqual(['discarded', 'pass']);
    expect(prober.explain(1)!.checks[0]!.discarded).toBeUndefined();
    clock.advance(2000);
    expect(freezes[1]).toMatchObject({ frozen: false, discarded: 1 });
    expect(prober.stats.discarded).toBe(1);
  });

  it('still believes successes, and failures of probes begun after the stall', () => {
    const { clock, prober, probes, verdicts } = setUp(() => ({ afterMs: 1, answer: REFUSED }));
    prober.track(target(1));
    clock.advance(10_000);
    expect(verdicts).toEqual([[1, 'failing']]);
    probes.behaviour = answering;
    for (let round = 0; round < 40; round++) {
      clock.advance(50);
      clock.stall(150);
    }
    expect(verdicts.at(-1)).toEqual([1, 'passing']);
    probes.behaviour = () => ({ afterMs: 1, answer: REFUSED });
    clock.advance(20_000);
    expect(verdicts.at(-1)).toEqual([1, 'failing']);
  });

  it('blames no instance for descriptors that ran out, however long, and recovers by itself', () => {
    let open = 0;
    const LIMIT = 40;
    const { clock, prober, probes, verdicts, freezes } = setUp(answering, { limits: { concurrency: 1000 } });
    for (let key = 0; key < 300; key++) prober.track(target(key, { host: `10.0.0.${key}` }));
    clock.advance(20_000);
    expect(verdicts).toHaveLength(300);
    probes.behaviour = () =>
      probes.runningNow > LIMIT ? { afterMs: 0, answer: NO_DESCRIPTORS } : { afterMs: 2000 - 5, answer: PASS };
    clock.advance(60_000);
    open = probes.mostRunning;
    expect(open).toBeGreaterThan(LIMIT);
    expect(verdicts).toHaveLength(300);
    expect(freezes[0]).toMatchObject({ frozen: true, reason: 'out-of-resources', detail: 'no file descriptors left' });
    probes.behaviour = answering;
    clock.advance(30_000);
    expect(freezes.at(-1)).toMatchObject({ frozen: false });
    expect(verdicts).toHaveLength(300);
  });

  it('freezes the verdicts on others too while descriptors are out', () => {
    const { clock, prober, probes, verdicts } = setUp(answering);
    for (let key = 0; key < 20; key++)
      prober.track(target(key, { checks: [tcpCheck({ unhealthyThreshold: 1, intervalMs: 2000 })] }));
    clock.advance(5000);
    probes.behaviour = (to) => ({ afterMs: 1, answer: to.id === 'web-7' ? NO_DESCRIPTORS : REFUSED });
    const fine = verdicts.length;
    while (prober.stats.discarded === 0) clock.advance(10);
    const ejectedBefore = verdicts.length;
    clock.advance(500);
    expect(verdicts.length).toBe(ejectedBefore);
    expect(ejectedBefore).toBeGreaterThanOrEqual(fine);
  });

  it('freezes when several hosts cannot be reached for lack of local ports, and not for one', () => {
    const { clock, prober, probes, verdicts, freezes } = setUp(answering);
    for (let key = 0; key < 5; key++) prober.track(target(key, { host: `10.0.0.${key}` }));
    clock.advance(10_000);
    probes.behaviour = (to) =>
      to.host === '10.0.0.1' ? { afterMs: 0, answer: NO_PORT } : { afterMs: 1, answer: PASS };
    clock.advance(15_000);
    expect(freezes).toEqual([]);
    expect(verdicts).toHaveLength(5);
    probes.behaviour = () => ({ afterMs: 0, answer: NO_PORT });
    clock.advance(10_000);
    expect(freezes[0]).toMatchObject({ frozen: true, reason: 'out-of-resources', detail: 'no local address or port' });
    expect(verdicts).toHaveLength(5);
  });

  it('takes the lack of a local address for a failure where the instance has never answered, or for very long', () => {
    const { clock, prober, probes, verdicts, freezes } = setUp(() => ({ afterMs: 0, answer: NO_PORT }));
    for (let key = 0; key < 5; key++) prober.track(target(key, { host: `fd00::${key}` }));
    clock.advance(10_000);
    expect(verdicts.map(([, state]) => state)).toEqual(new Array(5).fill('failing'));
    expect(freezes).toEqual([]);
    probes.behaviour = answering;
    clock.advance(20_000);
    prober.untrack(1);
    probes.behaviour = (to) => (to.host === 'fd00::0' ? { afterMs: 0, answer: NO_PORT } : { afterMs: 1, answer: PASS });
    clock.advance(20_000);
    expect(prober.stateOf(0)).toBe('passing');
    clock.advance(40_000);
    expect(prober.stateOf(0)).toBe('failing');
  });

  it('tells each reason of a freeze once, and its end once', () => {
    const { clock, prober, probes, freezes } = setUp(() => undefined);
    for (let key = 0; key < 5; key++) prober.track(target(key, { checks: [tcpCheck()] }));
    clock.advance(500);
    clock.stall(300);
    clock.stall(300);
    probes.behaviour = () => ({ afterMs: 0, answer: NO_DESCRIPTORS });
    prober.track(target(9));
    clock.advance(100);
    clock.stall(300);
    expect(freezes.map((event) => event.frozen && event.reason)).toEqual(['event-loop-lag', 'out-of-resources']);
    expect(prober.stats).toMatchObject({ frozen: true, freezes: 1 });
    probes.behaviour = answering;
    clock.advance(10_000);
    expect(freezes.map(({ frozen }) => frozen)).toEqual([true, true, false]);
    expect(prober.stats).toMatchObject({ frozen: false, freezes: 1 });
  });

  it('does not take reports for missing that lie unread because of its own stall', () => {
    const { clock, prober, verdicts } = setUp(answering);
    const ttl = {
      ...TIMING,
      type: 'ttl' as const,
      name: 'beat',
      port: undefined,
      timeoutMs: 3000,
      unhealthyThreshold: 1,
    };
    prober.track(target(1, { checks: [ttl] }));
    prober.accept(1, 'beat', 'pass', '');
    clock.stall(3200);
    prober.accept(1, 'beat', 'pass', '');
    clock.advance(2900);
    expect(verdicts).toEqual([[1, 'passing']]);
    clock.stall(3200);
    clock.advance(1100);
    expect(verdicts.at(-1)).toEqual([1, 'failing']);
  });
});
