import type { Clock } from '../core/clock.ts';
import type { Outcome } from '../core/outcome.ts';
import type { BreakerPolicy } from '../core/policy.ts';
import type { Permit } from './breaker.ts';
import { BreakerColumns, CLOSED, HALF_OPEN } from './columns.ts';

/**
 * What a thread tells the one that decides, of the breaker at `slot`. `circuit` is what the attempt was admitted by: a
 * report on a circuit that has changed since is of no interest.
 */
export interface BreakerReports {
  /** An ordinary attempt has failed, and is counted. */
  failed(slot: number, circuit: number, outcome: Outcome): void;
  trialTaken(slot: number, circuit: number): void;
  trialEnded(slot: number, circuit: number, outcome: Outcome): void;
}

/**
 * Admits attempts, on the thread that makes them, by what all threads share. Successes are counted here and nobody is
 * told; failures and trials are few, and go to the breaker.
 */
export class BreakerGate {
  readonly #columns: BreakerColumns;
  readonly #clock: Clock;
  readonly #holder: number;
  readonly #reports: BreakerReports;

  /** `holder`: a number for this thread that is not 0 and that no other thread has. */
  constructor(columns: BreakerColumns, clock: Clock, holder: number, reports: BreakerReports) {
    this.#columns = columns;
    this.#clock = clock;
    this.#holder = holder;
    this.#reports = reports;
  }

  /** undefined: no longer registered, open, or half-open with its one trial under way. */
  admit(slot: number, { enabled, windowMs }: Pick<BreakerPolicy, 'enabled' | 'windowMs'>): Permit | undefined {
    if (!enabled) return this.#columns.isShut(slot) ? undefined : UNGUARDED;
    const circuit = this.#columns.circuit(slot);
    const state = BreakerColumns.stateOf(circuit);
    if (state === CLOSED) return new GatePermit(this, slot, circuit, windowMs, false);
    if (state !== HALF_OPEN || !this.#columns.takeTrial(slot, this.#holder, circuit)) return undefined;
    this.#reports.trialTaken(slot, circuit);
    return new GatePermit(this, slot, circuit, windowMs, true);
  }

  /** Called by each permit once. */
  settle(permit: GatePermit, outcome: Outcome): void {
    const { slot, circuit, windowMs, trial } = permit;
    const columns = this.#columns;
    // A straggler tells of the time before the state changed.
    if (columns.circuit(slot) !== circuit) return;
    if (outcome === 'success') columns.succeeded(slot, this.#clock.now(), windowMs);
    else if (outcome !== 'cancelled') columns.failed(slot, this.#clock.now(), windowMs);
    if (trial) this.#reports.trialEnded(slot, circuit, outcome);
    else if (outcome !== 'success' && outcome !== 'cancelled') this.#reports.failed(slot, circuit, outcome);
  }
}

class GatePermit implements Permit {
  readonly trial: boolean;
  readonly slot: number;
  readonly circuit: number;
  readonly windowMs: number;
  readonly #gate: BreakerGate;
  #settled = false;

  constructor(gate: BreakerGate, slot: number, circuit: number, windowMs: number, trial: boolean) {
    this.#gate = gate;
    this.slot = slot;
    this.circuit = circuit;
    this.windowMs = windowMs;
    this.trial = trial;
  }

  /** A second call would count a second attempt: it does nothing. */
  settle(outcome: Outcome): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#gate.settle(this, outcome);
  }
}

/** For services whose breakers are switched off. */
const UNGUARDED: Permit = Object.freeze({ trial: false, settle: () => undefined });
