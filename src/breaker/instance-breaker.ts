import type { Clock } from '../core/clock.ts';
import type { BreakerState } from '../core/health.ts';
import type { Outcome } from '../core/outcome.ts';
import type { BreakerPolicy } from '../core/policy.ts';
import { formatDuration } from '../core/units.ts';
import type { Breaker, Permit } from './breaker.ts';
import { Call, Circuit, Tally } from './opossum.ts';
import { AttemptWindow } from './window.ts';

export interface BreakerOptions {
  /** Read at every decision: behind a getter it follows a reload, `windowMs` when the breaker next half-opens. */
  readonly policy: BreakerPolicy;
  readonly clock: Clock;
  /** Written at `slot`: 0 closed, 1 open, 2 half-open. */
  readonly column: Uint8Array;
  readonly slot: number;
  /** A trial that has not settled for so long is given up, and the next attempt is the trial. */
  readonly trialLimitMs: number;
  /** Whether the ejection cap leaves room for this breaker to open. Asked only while it is closed. */
  mayOpen(): boolean;
  /** After the state has changed; within `settle` where that was the cause. */
  onTransition(from: BreakerState, to: BreakerState, cause: string): void;
  /** Half-open as before, and the trial may be taken again. */
  onTrialReturned(cause: string): void;
}

/** The breaker of one instance: opossum's circuit, our clock, our rules. docs/circuit-breaking.md tells them. */
export function createBreaker(options: BreakerOptions): Breaker {
  return new InstanceBreaker(options);
}

const COLUMN_OF: Readonly<Record<BreakerState, number>> = { closed: 0, open: 1, 'half-open': 2 };

class InstanceBreaker implements Breaker {
  readonly #options: BreakerOptions;
  #circuit: Circuit;
  /** Why the closed circuit is about to open; undefined where it is a trial that failed. */
  #opening: string | undefined;
  /** While somebody else than the counts opens it. */
  #tripping: string | undefined;
  /** Of the settlement under way. */
  #outcome: Outcome = 'success';
  /** The last open time; 0 before the first. */
  #openMs = 0;
  #openUntilMs: number | undefined;
  /** When the last trial succeeded; undefined before the first. */
  #recoveredAtMs: number | undefined;
  /** Ends the open time, or gives up a trial: never both at once. */
  #cancelTimer: (() => void) | undefined;
  #shut = false;

  constructor(options: BreakerOptions) {
    this.#options = options;
    this.#circuit = this.#newCircuit('closed');
    options.column[options.slot] = COLUMN_OF.closed;
  }

  get state(): BreakerState {
    return this.#circuit.closed ? 'closed' : this.#circuit.halfOpen ? 'half-open' : 'open';
  }

  get openUntilMs(): number | undefined {
    return this.#openUntilMs;
  }

  get trialReady(): boolean {
    return !this.#shut && this.#circuit.pendingClose;
  }

  get counts(): { successes: number; failures: number; consecutiveFailures: number } {
    const { window, consecutiveFailures } = this.#circuit.tally;
    return { successes: window.successes, failures: window.failures, consecutiveFailures };
  }

  admit(): Permit | undefined {
    const circuit = this.#circuit;
    if (this.#shut || !circuit.admits) return undefined;
    const attempt = new Attempt(this, circuit, circuit.halfOpen);
    if (attempt.trial) {
      this.#limitTrial();
      circuit.begin(attempt);
    }
    return attempt;
  }

  trip(cause: string): boolean {
    if (this.#shut) return false;
    if (!this.#circuit.closed) return true;
    this.#tripping = cause;
    this.#circuit.open();
    this.#tripping = undefined;
    return !this.#circuit.closed;
  }

  /** Called by each attempt once. */
  settle(attempt: Attempt, outcome: Outcome): void {
    const circuit = attempt.circuit;
    // A straggler: the breaker has opened since the attempt began, and it tells of the time before.
    if (this.#shut || circuit !== this.#circuit || circuit.opened) return;
    if (outcome === 'cancelled') {
      if (attempt.trial) this.#returnTrial('the trial was cancelled');
      return;
    }
    this.#outcome = outcome;
    if (attempt.trial) {
      if (outcome === 'success') attempt.succeed();
      else attempt.fail();
      return;
    }
    // Closed, opossum lets everyone through, and of a success it only counts: its promises would be the dearest part of
    // a request. So it is told of successes by its tally, and of a call when that has failed.
    if (outcome === 'success') {
      circuit.tally.increment('successes');
      return;
    }
    circuit.begin(attempt);
    attempt.fail();
  }

  close(): void {
    this.#shut = true;
    this.#stopTimer();
    this.#circuit.shutdown();
  }

  #newCircuit(start: 'closed' | 'half-open'): Circuit {
    const { clock, policy } = this.#options;
    const tally = new Tally(new AttemptWindow(clock, policy.windowMs));
    const circuit = new Circuit(tally, start, () => this.#mayOpen());
    circuit.on('open', () => this.#opened());
    circuit.on('close', () => this.#closed());
    return circuit;
  }

  #mayOpen(): boolean {
    const cause = this.#causeToOpen();
    if (cause === undefined || !this.#options.mayOpen()) return false;
    this.#opening = cause;
    return true;
  }

  #causeToOpen(): string | undefined {
    if (this.#tripping !== undefined) return this.#tripping;
    const { consecutiveFailures, failureRate, minimumAttempts, windowMs } = this.#options.policy;
    const { window, consecutiveFailures: inARow } = this.#circuit.tally;
    if (inARow >= consecutiveFailures) return `${inARow} failures in a row, the last: ${this.#outcome}`;
    const failures = window.failures;
    const attempts = failures + window.successes;
    if (attempts < minimumAttempts || failures < failureRate * attempts) return undefined;
    return `${failures} of ${attempts} attempts failed within ${formatDuration(windowMs)}, the last: ${this.#outcome}`;
  }

  #opened(): void {
    const { policy, clock } = this.#options;
    const cause = this.#opening;
    this.#opening = undefined;
    this.#stopTimer();
    const now = clock.now();
    if (cause === undefined) {
      this.#openMs = Math.min(2 * this.#openMs, Math.max(policy.openMs, policy.maxOpenMs));
    } else if (this.#recoveredAtMs === undefined || now - this.#recoveredAtMs >= this.#openMs) {
      this.#openMs = policy.openMs;
    }
    this.#openUntilMs = now + this.#openMs;
    this.#cancelTimer = clock.after(this.#openMs, () => this.#halfOpen());
    if (cause === undefined) this.#report('half-open', 'open', `the trial failed: ${this.#outcome}`);
    else this.#report('closed', 'open', cause);
  }

  #halfOpen(): void {
    this.#openUntilMs = undefined;
    this.#replaceCircuit();
    this.#report('open', 'half-open', `was open for ${formatDuration(this.#openMs)}`);
  }

  #closed(): void {
    this.#stopTimer();
    this.#recoveredAtMs = this.#options.clock.now();
    this.#report('half-open', 'closed', 'the trial succeeded');
  }

  #limitTrial(): void {
    const { clock, trialLimitMs } = this.#options;
    this.#cancelTimer = clock.after(trialLimitMs, () =>
      this.#returnTrial(`the trial did not end within ${formatDuration(trialLimitMs)}`),
    );
  }

  #returnTrial(cause: string): void {
    this.#replaceCircuit();
    this.#options.onTrialReturned(cause);
  }

  #replaceCircuit(): void {
    this.#stopTimer();
    // Clears opossum's own timer; attempts that still hold the old circuit are stragglers from here on.
    this.#circuit.shutdown();
    this.#circuit = this.#newCircuit('half-open');
  }

  #stopTimer(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  #report(from: BreakerState, to: BreakerState, cause: string): void {
    this.#options.column[this.#options.slot] = COLUMN_OF[to];
    this.#options.onTransition(from, to, cause);
  }
}

class Attempt extends Call implements Permit {
  readonly trial: boolean;
  readonly circuit: Circuit;
  readonly #breaker: InstanceBreaker;
  #settled = false;

  constructor(breaker: InstanceBreaker, circuit: Circuit, trial: boolean) {
    super();
    this.#breaker = breaker;
    this.circuit = circuit;
    this.trial = trial;
  }

  /** A second call would count a second attempt: it does nothing. */
  settle(outcome: Outcome): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#breaker.settle(this, outcome);
  }
}
