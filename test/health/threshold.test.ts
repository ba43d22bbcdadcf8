import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ProbeState } from '../../src/core/health.ts';
import { isSettled, observe, UNPROBED, type ProbeResult, type Standing } from '../../src/health/threshold.ts';

const DEFAULTS = { healthyThreshold: 2, unhealthyThreshold: 3 };
const LETTERS: Record<string, ProbeResult> = { P: 'pass', D: 'degraded', F: 'fail' };

function states(letters: string, thresholds = DEFAULTS): ProbeState[] {
  let standing = UNPROBED;
  return Array.from(letters, (letter) => (standing = observe(standing, LETTERS[letter]!, thresholds)).state);
}

const short = (letters: string, thresholds = DEFAULTS): string =>
  states(letters, thresholds)
    .map((state) => state.charAt(0))
    .join('');

describe('threshold', () => {
  it.each([
    ['passes at its first success', 'P', 'p'],
    ['is degraded at its first warning', 'D', 'd'],
    ['stays unknown, hence down, until enough failures make it failing', 'FFF', 'uuf'],
    ['becomes passing by one success after a few failures while unknown', 'FFP', 'uup'],
    ['survives fewer failures in a row than the threshold', 'PFFPFFP', 'ppppppp'],
    ['fails at the threshold and not before', 'PFFF', 'pppf'],
    ['needs the healthy threshold to come back', 'PFFFPP', 'pppffp'],
    ['starts counting successes again after one failure', 'PFFFPFPP', 'pppffffp'],
    ['turns degraded when warnings persist', 'PDDD', 'pppd'],
    ['counts failures and warnings together towards degraded', 'PFFD', 'pppd'],
    ['turns from degraded to failing on failures alone', 'DFFF', 'dddf'],
    ['recovers from degraded with successes', 'DPP', 'ddp'],
    ['comes back as degraded where the successes are mixed with warnings', 'FFFDP', 'uuffd'],
    ['comes back from that to passing after enough pure successes', 'FFFDPP', 'uuffdp'],
  ])('%s', (_name, results, expected) => {
    expect(short(results)).toBe(expected);
  });

  it('flips at once with thresholds of one', () => {
    expect(short('PFPDPF', { healthyThreshold: 1, unhealthyThreshold: 1 })).toBe('pfpdpf');
  });

  const history = fc.array(fc.constantFrom<ProbeResult>('pass', 'degraded', 'fail'), { maxLength: 60 });
  const thresholds = fc.record({
    healthyThreshold: fc.integer({ min: 1, max: 5 }),
    unhealthyThreshold: fc.integer({ min: 1, max: 5 }),
  });

  /** How many results at the end satisfy the condition. */
  const tail = (results: readonly ProbeResult[], holds: (result: ProbeResult) => boolean): number =>
    results.length - 1 - results.findLastIndex((result) => !holds(result));

  function walk(
    results: readonly ProbeResult[],
    limits: typeof DEFAULTS,
    visit: (before: Standing, after: Standing, seen: ProbeResult[]) => void,
  ): void {
    let standing = UNPROBED;
    for (const [index, result] of results.entries()) {
      const after = observe(standing, result, limits);
      visit(standing, after, results.slice(0, index + 1));
      standing = after;
    }
  }

  it('keeps exact counts of the latest results in a row', () => {
    fc.assert(
      fc.property(history, thresholds, (results, limits) => {
        walk(results, limits, (_before, after, seen) => {
          expect(after.passes).toBe(tail(seen, (result) => result === 'pass'));
          expect(after.fails).toBe(tail(seen, (result) => result === 'fail'));
          expect(after.alive).toBe(tail(seen, (result) => result !== 'fail'));
          expect(after.notPassed).toBe(tail(seen, (result) => result !== 'pass'));
        });
      }),
    );
  });

  it('is failing exactly from the unhealthy threshold of failures on until the healthy threshold of answers', () => {
    fc.assert(
      fc.property(history, thresholds, (results, limits) => {
        walk(results, limits, (before, after, seen) => {
          const fails = tail(seen, (result) => result === 'fail');
          const alive = tail(seen, (result) => result !== 'fail');
          if (fails >= limits.unhealthyThreshold) expect(after.state).toBe('failing');
          else if (before.state === 'failing') expect(after.state === 'failing').toBe(alive < limits.healthyThreshold);
          else expect(after.state).not.toBe('failing');
        });
      }),
    );
  });

  it('never returns to unknown, and leaves it at the first answer', () => {
    fc.assert(
      fc.property(history, thresholds, (results, limits) => {
        walk(results, limits, (before, after) => {
          if (before.state !== 'unknown') expect(after.state).not.toBe('unknown');
          if (before.state === 'unknown' && after.alive > 0) expect(['passing', 'degraded']).toContain(after.state);
        });
      }),
    );
  });

  it('passes only on a pass, degrades never on one pass too few, and fails only on a failure', () => {
    fc.assert(
      fc.property(history, thresholds, (results, limits) => {
        walk(results, limits, (before, after) => {
          if (before.state === after.state) return;
          if (after.state === 'passing')
            expect(after.passes).toBeGreaterThanOrEqual(before.state === 'unknown' ? 1 : limits.healthyThreshold);
          if (after.state === 'failing') expect(after.fails).toBe(limits.unhealthyThreshold);
          if (after.state === 'degraded' && before.state === 'passing')
            expect(after.notPassed).toBe(limits.unhealthyThreshold);
        });
      }),
    );
  });

  it('settles on any result that keeps coming, within the greater threshold, and stays there', () => {
    const verdict: Record<ProbeResult, ProbeState> = { pass: 'passing', degraded: 'degraded', fail: 'failing' };
    fc.assert(
      fc.property(
        history,
        thresholds,
        fc.constantFrom<ProbeResult>('pass', 'degraded', 'fail'),
        (results, limits, steady) => {
          let standing = UNPROBED;
          for (const result of results) standing = observe(standing, result, limits);
          for (let more = 0; more < Math.max(limits.healthyThreshold, limits.unhealthyThreshold); more++) {
            standing = observe(standing, steady, limits);
          }
          expect(standing.state).toBe(verdict[steady]);
          expect(isSettled(standing)).toBe(true);
          expect(observe(standing, steady, limits).state).toBe(verdict[steady]);
        },
      ),
    );
  });

  it('is unsettled exactly while the latest result speaks against the state', () => {
    const verdict: Record<ProbeResult, ProbeState> = { pass: 'passing', degraded: 'degraded', fail: 'failing' };
    fc.assert(
      fc.property(history, thresholds, (results, limits) => {
        walk(results, limits, (_before, after, seen) => {
          expect(isSettled(after)).toBe(after.state === verdict[seen.at(-1)!]);
        });
      }),
    );
  });

  it('stops counting at a thousand', () => {
    const almost: Standing = { state: 'passing', passes: 1000, alive: 1000, fails: 0, notPassed: 0 };
    expect(observe(almost, 'pass', DEFAULTS)).toEqual(almost);
    const down: Standing = { state: 'failing', passes: 0, alive: 0, fails: 1000, notPassed: 1000 };
    expect(observe(down, 'fail', DEFAULTS)).toEqual(down);
  });
});
