import type { Clock } from '../core/clock.ts';
import type { BreakerState } from '../core/health.ts';
import type { Outcome } from '../core/outcome.ts';
import type { BreakerPolicy } from '../core/policy.ts';
import { formatDuration } from '../core/units.ts';
import type { Breaker } from './breaker.ts';
import { type AttemptCounts, type BreakerColumns, CLOSED, HALF_OPEN, OPEN } from './columns.ts';
import { Call, Circuit } from './opossum.ts';

export interface BreakerOptions {
  /** Read at every decision: behind a getter it follows a reload. */
  readonly policy: BreakerPolicy;
  readonly clock: Clock;
  /** Where the threads count, and learn of the state. */
  readonly columns: BreakerColumns;
  readonly slot: number;
  /** A trial that has not settled for so long is given up, and the next attempt is the trial. */
  readonly trialLimitMs: number;
  /** Whether the ejection cap leaves room for this breaker to open. Asked only while it is closed. */
  mayOpen(): boolean;
  /** After the state has changed; within the report where that was the cause. */
  onTransition(from: BreakerState, to: BreakerState, cause: string): void;
  /** Half-open as before, and the trial may be taken again. */
  onTrialReturned(cause: string): void;
}

/** The breaker of one instance: opossum's circuit, our clock, our rules. docs/circuit-breaking.md tells them. */
export function createBreaker(options: BreakerOptions): Breaker {
  return new InstanceBreaker(options);
}

const STATE_OF: Readonly<Record<BreakerState, number>> = { closed: CLOSED, open: OPEN, 'half-open': HALF_OPEN };

class InstanceBreaker implements Breaker {
  readonly #options: BreakerOptions;
  #circuit: Circuit;
  /** Why the closed circuit is about to open; undefined where it is a trial that failed. */
  #opening: string | undefined;
  /** While somebody else than the counts opens it. */
  #tripping: string | undefined;
  /** All that speaks against it is that it took no connections. */
  #unreachable = false;
  #openedAtMs = 0;
  /** The trial under way. */
  #trial: Call | undefined;
  /** Of the report under way. */
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
  }

  get state(): BreakerState {
    return this.#circuit.closed ? 'closed' : this.#circuit.halfOpen ? 'half-open' : 'open';
  }

  get openUntilMs(): number | undefined {
    return this.#openUntilMs;
  }

  get counts(): AttemptCounts {
    const { columns, slot, clock, policy } = this.#options;
    return columns.counts(slot, clock.now(), policy.windowMs);
  }

  trip(cause: string, unreachable = false): boolean {
    if (this.#shut) return false;
    if (!this.#circuit.closed) return true;
    this.#tripping = cause;
    this.#circuit.open();
    this.#tripping = undefined;
    this.#unreachable = unreachable;
    return !this.#circuit.closed;
  }

  reached(cause: string, beganMs: number): boolean {
    if (this.#shut || this.state !== 'open' || !this.#unreachable || beganMs < this.#openedAtMs) return false;
    this.#halfOpen(cause);
    return true;
  }

  due(cause: string): void {
    if (!this.#shut && this.state === 'open') this.#halfOpen(cause);
  }

  // Closed, opossum lets everyone through, and of a success it only counts: its promises would be the dearest part of a
  // request. So the threads count, and opossum is told of a call when that has failed.
  failed(circuit: number, outcome: Outcome): void {
    if (!this.#isCurrent(circuit) || !this.#circuit.closed) return;
    this.#outcome = outcome;
    const call = new Call();
    this.#circuit.begin(call);
    call.fail();
  }

  trialTaken(circuit: number): void {
    if (!this.#isCurrent(circuit) || !this.#circuit.halfOpen || this.#trial) return;
    this.#limitTrial();
    this.#trial = new Call();
    this.#circuit.begin(this.#trial);
  }

  trialEnded(circuit: number, outcome: Outcome): void {
    const trial = this.#trial;
    if (!this.#isCurrent(circuit) || !trial) return;
    if (outcome === 'cancelled') {
      this.#returnTrial('the trial was cancelled');
      return;
    }
    this.#trial = undefined;
    this.#outcome = outcome;
    if (outcome === 'success') trial.succeed();
    else trial.fail();
  }

  trialLost(): void {
    if (!this.#shut && this.#circuit.halfOpen) this.#returnTrial('the thread that made the trial is gone');
  }

  /** Reports on a circuit before the last change are of the time before. */
  #isCurrent(circuit: number): boolean {
    return !this.#shut && this.#options.columns.circuit(this.#options.slot) === circuit;
  }

  close(): void {
    this.#shut = true;
    this.#stopTimer();
    this.#circuit.shutdown();
  }

  #newCircuit(start: 'closed' | 'half-open'): Circuit {
    const circuit = new Circuit(start, () => this.#mayOpen());
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
    const { failures, successes, consecutiveFailures: inARow } = this.counts;
    if (inARow >= consecutiveFailures) return `${inARow} failures in a row, the last: ${this.#outcome}`;
    const attempts = failures + successes;
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
    this.#unreachable &&= cause === undefined && this.#outcome === 'connect-failed';
    this.#openedAtMs = now;
    this.#openUntilMs = now + this.#openMs;
    this.#cancelTimer = clock.after(this.#openMs, () => this.#halfOpen(`was open for ${formatDuration(this.#openMs)}`));
    if (cause === undefined) this.#report('half-open', 'open', `the trial failed: ${this.#outcome}`);
    else this.#report('closed', 'open', cause);
  }

  #halfOpen(cause: string): void {
    this.#openUntilMs = undefined;
    this.#replaceCircuit();
    this.#report('open', 'half-open', cause);
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
    const { columns, slot } = this.#options;
    this.#stopTimer();
    this.#trial = undefined;
    // Clears opossum's own timer. Attempts that the old circuit has admitted are stragglers from here on.
    this.#circuit.shutdown();
    this.#circuit = this.#newCircuit('half-open');
    columns.forget(slot);
    columns.change(slot, HALF_OPEN);
  }

  #stopTimer(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  #report(from: BreakerState, to: BreakerState, cause: string): void {
    if (to !== 'half-open') this.#options.columns.change(this.#options.slot, STATE_OF[to]);
    this.#options.onTransition(from, to, cause);
  }
}
