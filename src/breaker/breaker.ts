import type { BreakerState } from '../core/health.ts';
import type { Outcome } from '../core/outcome.ts';

/** The right to make one attempt. Exactly one call of `settle`, whatever happens. */
export interface Permit {
  /** Whether this attempt is the single trial of a half-open breaker. */
  readonly trial: boolean;
  /** `cancelled` counts as neither success nor failure; a cancelled trial gives the trial back. */
  settle(outcome: Outcome): void;
}

/** The breaker of one instance. */
export interface Breaker {
  readonly state: BreakerState;
  /** `clock.now()` at which an open breaker becomes half-open; undefined unless open. */
  readonly openUntilMs: number | undefined;
  /** Half-open, and its one trial has yet to be taken: the next `admit` gives it. */
  readonly trialReady: boolean;
  /** Successes and failures in the current window, for `explain`. */
  readonly counts: { readonly successes: number; readonly failures: number; readonly consecutiveFailures: number };
  /** undefined: open, or half-open with its one trial under way. */
  admit(): Permit | undefined;
  /**
   * Opens it on somebody else's evidence, as if it had counted failures itself. True where it is out of the rotation
   * now; false where the ejection cap forbids it.
   */
  trip(cause: string): boolean;
  /** Frees timers. A permit still out may settle afterwards, without effect. */
  close(): void;
}
