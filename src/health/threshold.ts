import type { CheckTiming } from '../core/check.ts';
import type { ProbeState } from '../core/health.ts';

/** What one probe said. `degraded`: it works, and asks for less. */
export type ProbeResult = 'pass' | 'degraded' | 'fail';

export type Thresholds = Pick<CheckTiming, 'healthyThreshold' | 'unhealthyThreshold'>;

/**
 * Where one check stands: its state, and how many of the latest results in a row were of each sort. Immutable.
 * `passes` and `notPassed` are never both above 0, nor are `alive` and `fails`.
 */
export interface Standing {
  readonly state: ProbeState;
  /** Results that were `pass`. */
  readonly passes: number;
  /** Results that were `pass` or `degraded`. */
  readonly alive: number;
  /** Results that were `fail`. */
  readonly fails: number;
  /** Results that were `fail` or `degraded`. */
  readonly notPassed: number;
}

/** Never probed: down until the first success. */
export const UNPROBED: Standing = { state: 'unknown', passes: 0, alive: 0, fails: 0, notPassed: 0 };

/** Counts stop here: they are for people, who do not need to know whether it was a thousand or two. */
const MAX_COUNT = 1000;

/**
 * The standings of long runs of the same result, by length, shared by everyone: most instances stand there most of the
 * time, and 100,000 standings that live for one interval each are what the garbage collector likes least.
 */
const PASSING_RUNS: Standing[] = [];
const FAILING_RUNS: Standing[] = [];

/** The standing after one more result. The verdict flipped exactly where `state` differs. */
export function observe(before: Standing, result: ProbeResult, thresholds: Thresholds): Standing {
  const next = {
    state: before.state,
    passes: result === 'pass' ? counted(before.passes) : 0,
    alive: result === 'fail' ? 0 : counted(before.alive),
    fails: result === 'fail' ? counted(before.fails) : 0,
    notPassed: result === 'pass' ? 0 : counted(before.notPassed),
  };
  next.state = stateAfter(next, result, thresholds);
  if (next.state === 'passing' && next.passes === next.alive && next.passes > 0)
    return (PASSING_RUNS[next.passes] ??= next);
  if (next.state === 'failing' && next.fails === next.notPassed && next.fails > 0)
    return (FAILING_RUNS[next.fails] ??= next);
  return next;
}

/** Whether the latest results agree with the state, so that there is no hurry to probe again. */
export function isSettled(standing: Standing): boolean {
  switch (standing.state) {
    case 'unknown':
      return false;
    case 'passing':
      return standing.notPassed === 0;
    case 'degraded':
      return standing.passes === 0 && standing.fails === 0;
    case 'failing':
      return standing.alive === 0;
  }
}

function stateAfter(now: Standing, result: ProbeResult, thresholds: Thresholds): ProbeState {
  const { healthyThreshold, unhealthyThreshold } = thresholds;
  if (now.fails >= unhealthyThreshold) return 'failing';
  switch (now.state) {
    case 'unknown':
      if (result === 'fail') return 'unknown';
      return result === 'pass' ? 'passing' : 'degraded';
    case 'passing':
      return result !== 'pass' && now.notPassed >= unhealthyThreshold ? 'degraded' : 'passing';
    case 'degraded':
      return now.passes >= healthyThreshold ? 'passing' : 'degraded';
    case 'failing':
      if (now.alive < healthyThreshold) return 'failing';
      return now.passes >= healthyThreshold ? 'passing' : 'degraded';
  }
}

function counted(count: number): number {
  return count < MAX_COUNT ? count + 1 : MAX_COUNT;
}
