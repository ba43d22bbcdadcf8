import { describe, expect, it } from 'vitest';
import { worstCaseDetectionMs } from '../../src/core/check.ts';
import { ManualClock } from '../../src/core/clock.ts';
import type { ProbeState } from '../../src/core/health.ts';
import { seededRandom } from '../../src/core/random.ts';
import { Prober, type ProberOptions } from '../../src/health/prober.ts';
import { httpCheck, PASS, REFUSED, SimulatedProbes, target, type Behaviour } from './fixtures.ts';

const CHECK = httpCheck();
const TARGETS = 20_000;

function setUp(behaviour: Behaviour, options: Partial<ProberOptions> = {}) {
  const clock = new ManualClock();
  const probes = new SimulatedProbes(clock, behaviour);
  const states = new Map<number, ProbeState>();
  const changedAtMs = new Map<number, number>();
  const lagsMs: number[] = [];
  const prober = new Prober({
    clock,
    random: seededRandom(11),
    createProbe: probes.create,
    onVerdict: (key, state) => {
      states.set(key, state);
      changedAtMs.set(key, clock.now());
    },
    onResult: ({ lagMs }) => lagsMs.push(lagMs),
    ...options,
  });
  const trackAll = (): void => {
    for (let key = 0; key < TARGETS; key++)
      prober.track(target(key, { host: `10.0.${key >> 8}.${key & 255}`, checks: [CHECK] }));
  };
  const count = (state: ProbeState): number => [...states.values()].filter((other) => other === state).length;
  return { clock, probes, states, changedAtMs, lagsMs, prober, trackAll, count };
}

const answering: Behaviour = () => ({ afterMs: 3, answer: PASS });
const startsPer = (starts: readonly { atMs: number }[], bucketMs: number, fromMs: number, toMs: number): number[] => {
  const buckets = new Array<number>((toMs - fromMs) / bucketMs).fill(0);
  for (const { atMs } of starts) if (atMs >= fromMs && atMs < toMs) buckets[Math.floor((atMs - fromMs) / bucketMs)]!++;
  return buckets;
};
const percentile = (values: readonly number[], share: number): number =>
  [...values].sort((a, b) => a - b)[Math.ceil(values.length * share) - 1]!;

describe(`a prober of ${TARGETS} instances`, () => {
  it('asks all of them soon after they arrive together, at a bounded rate, and then evenly in phase', () => {
    const { clock, probes, lagsMs, trackAll, count } = setUp(answering);
    trackAll();
    clock.advance(4100);
    expect(count('passing')).toBe(TARGETS);
    const firsts = [...new Map([...probes.starts].reverse().map((start) => [start.instanceId, start])).values()];
    expect(Math.max(...startsPer(firsts, 100, 100, 4000))).toBeLessThanOrEqual(600);
    clock.advance(30_900);
    const perTenth = startsPer(probes.starts, 100, 15_000, 35_000);
    // 4,000 a second, so 400 per tenth: an even spread stays near that, a convoy would show as a peak.
    expect(Math.min(...perTenth)).toBeGreaterThan(300);
    expect(Math.max(...perTenth)).toBeLessThan(500);
    expect(percentile(lagsMs, 0.99)).toBeLessThanOrEqual(10);
    expect(percentile(lagsMs, 1)).toBeLessThanOrEqual(50);
  });

  it('finds all of a failed half within the documented time by the fast interval, and judges nobody else', () => {
    const { clock, probes, states, changedAtMs, trackAll, count } = setUp(answering);
    trackAll();
    clock.advance(20_000);
    const dead = (id: string): boolean => Number(id.slice(4)) % 2 === 0;
    probes.behaviour = (to) => (dead(to.id) ? { afterMs: 1, answer: REFUSED } : { afterMs: 3, answer: PASS });
    const diedAtMs = clock.now();
    clock.advance(30_000);
    expect(count('failing')).toBe(TARGETS / 2);
    for (const [key, state] of states) {
      expect(state).toBe(key % 2 === 0 ? 'failing' : 'passing');
      // Refused at once, so that the timeouts in the formula fall away, and the fast gap takes their place.
      if (key % 2 === 0) expect(changedAtMs.get(key)! - diedAtMs).toBeLessThanOrEqual(6000 + 2 * 1000 + 100);
    }
    // Settled again: the dead are asked as rarely as the living.
    const perSecond = startsPer(probes.starts, 1000, 40_000, 50_000);
    expect(Math.max(...perSecond)).toBeLessThan(4500);
  });

  it('ejects a black-holed half within the documented time while the others are probed on time', () => {
    const lateMs: number[] = [];
    const { clock, probes, prober, states, changedAtMs, trackAll, count } = setUp(answering, {
      onResult: ({ key, lagMs, outcome }) => {
        if (key % 2 === 1 && outcome === 'pass') lateMs.push(lagMs);
      },
    });
    trackAll();
    clock.advance(20_000);
    lateMs.length = 0;
    probes.behaviour = (to) => (Number(to.id.slice(4)) % 2 === 0 ? undefined : { afterMs: 3, answer: PASS });
    const diedAtMs = clock.now();
    clock.advance(40_000);
    expect(count('failing')).toBe(TARGETS / 2);
    for (const [key, atMs] of changedAtMs) {
      if (key % 2 === 0) expect(atMs - diedAtMs).toBeLessThanOrEqual(worstCaseDetectionMs(CHECK) + 150);
    }
    expect([...states].every(([key, state]) => (key % 2 === 0) === (state === 'failing'))).toBe(true);
    expect(percentile(lateMs, 0.99)).toBeLessThanOrEqual(50);
    expect(probes.mostRunning).toBeLessThanOrEqual(16_384);
    expect(prober.stats.discarded).toBe(0);
  });

  it('keeps probing the living on time where the black hole needs more places than there are', () => {
    const lateMs: number[] = [];
    const { clock, probes, trackAll, states } = setUp(answering, {
      limits: { concurrency: 1000 },
      onResult: ({ key, lagMs, outcome }) => {
        if (key % 2 === 1 && outcome === 'pass') lateMs.push(lagMs);
      },
    });
    trackAll();
    clock.advance(20_000);
    probes.behaviour = (to) => (Number(to.id.slice(4)) % 2 === 0 ? undefined : { afterMs: 3, answer: PASS });
    clock.advance(60_000);
    lateMs.length = 0;
    clock.advance(20_000);
    expect(probes.mostRunning).toBeLessThanOrEqual(1000);
    expect([...states].every(([key, state]) => key % 2 === 0 || state === 'passing')).toBe(true);
    expect(percentile(lateMs, 0.99)).toBeLessThanOrEqual(50);
  });

  it('falls back into its even phase after everything has failed and come back at once', () => {
    const { clock, probes, trackAll, count } = setUp(answering);
    trackAll();
    clock.advance(20_000);
    probes.behaviour = () => ({ afterMs: 1, answer: REFUSED });
    clock.advance(15_000);
    expect(count('failing')).toBe(TARGETS);
    probes.behaviour = answering;
    clock.advance(25_000);
    expect(count('passing')).toBe(TARGETS);
    const perTenth = startsPer(probes.starts, 100, 50_000, 60_000);
    expect(Math.max(...perTenth)).toBeLessThan(500);
    expect(Math.min(...perTenth)).toBeGreaterThan(300);
  });
});
