import type { BreakerState } from '../core/health.ts';
import type { Outcome } from '../core/outcome.ts';
import type { AttemptCounts } from './columns.ts';

/** The right to make one attempt. Exactly one call of `settle`, whatever happens. */
export interface Permit {
  /** Whether this attempt is the single trial of a half-open breaker. */
  readonly trial: boolean;
  /** `cancelled` counts as neither success nor failure; a cancelled trial gives the trial back. */
  settle(outcome: Outcome): void;
}

/** The breaker of one instance, where it is decided: on the control thread. Attempts are admitted by a `BreakerGate`. */
export interface Breaker {
  readonly state: BreakerState;
  /** `clock.now()` at which an open breaker becomes half-open; undefined unless open. */
  readonly openUntilMs: number | undefined;
  /** Successes and failures in the current window, for `explain`. */
  readonly counts: AttemptCounts;
  /** An attempt that `circuit` admitted has failed and is counted. See `BreakerReports`. */
  failed(circuit: number, outcome: Outcome): void;
  trialTaken(circuit: number): void;
  trialEnded(circuit: number, outcome: Outcome): void;
  /** Whoever had the trial is no more: the next attempt is the trial. */
  trialLost(): void;
  /**
   * Opens it on somebody else's evidence, as if it had counted failures itself. True where it is out of the rotation
   * now; false where the ejection cap forbids it. `unreachable`: the evidence is that it takes no connections.
   */
  trip(cause: string, unreachable?: boolean): boolean;
  /**
   * Somebody who set out at `beganMs` has reached the instance. Where it is open because nobody could, the trial is due
   * at once; true then. Whatever else has opened it, being reachable says nothing against that.
   */
  reached(cause: string, beganMs: number): boolean;
  /** What was wrong with the instance is over, as far as others can tell: where it is open, the trial is due at once. */
  due(cause: string): void;
  /** Frees timers. A permit still out may settle afterwards, without effect. */
  close(): void;
}
