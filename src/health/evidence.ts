import type { CheckKind } from '../core/check.ts';
import type { ProbeState } from '../core/health.ts';
import type { ProbeResult } from './threshold.ts';

/** What a probe came to, as a metric label. `discarded`: negative, and not believed, or the gateway was unable to ask. */
export type ProbeOutcome = 'pass' | 'degraded' | 'fail' | 'timeout' | 'discarded';

/** One probe, for metrics. */
export interface ProbeSample {
  readonly key: number;
  readonly service: string;
  readonly type: CheckKind['type'];
  readonly outcome: ProbeOutcome;
  readonly durationMs: number;
  /** From its turn to its start: the prober's own delay. */
  readonly lagMs: number;
}

/** Why a verdict changed. */
export interface VerdictEvidence {
  readonly from: ProbeState;
  /** The check that decided; undefined where there is none to ask. */
  readonly check: string | undefined;
  /** One line for people, such as `http: status 503, expected 200-399 (3 in a row)`. */
  readonly text: string;
}

/** All that is known about one check, for `explain`. */
export interface CheckEvidence {
  readonly name: string;
  readonly type: CheckKind['type'];
  readonly state: ProbeState;
  /** The latest result that counted. */
  readonly last:
    | { readonly result: ProbeResult; readonly text: string; readonly atWallMs: number; readonly durationMs: number }
    | undefined;
  /** Results in a row that were answers (`pass` or `degraded`), or failures. One of both is 0. */
  readonly consecutiveSuccesses: number;
  readonly consecutiveFailures: number;
  readonly healthyThreshold: number;
  readonly unhealthyThreshold: number;
  /** For `ttl`: until silence counts as a failure. */
  readonly nextInMs: number | undefined;
  readonly activity: 'waiting' | 'queued' | 'running';
  /** The latest result that did not count, since the last that did. */
  readonly discarded: string | undefined;
}

export interface TargetEvidence {
  readonly state: ProbeState;
  readonly checks: readonly CheckEvidence[];
}
