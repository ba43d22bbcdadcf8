import type { Check } from '../core/check.ts';
import type { ProbeState } from '../core/health.ts';
import type { CheckEvidence } from './evidence.ts';
import type { ProbeResult, Standing } from './threshold.ts';
import { roomFor, widened } from './turns.ts';

/** No check. Rows are counted from 1. */
const NONE = 0;

/**
 * What is known of every check of every instance, as a struct of arrays: there may be 100,000 of them, and an object
 * with boxed numbers for each would hold four times as much. A row belongs to one check until it is given back.
 */
export class CheckTable {
  /** By row, as everything here: the instance that it is a check of. */
  keys = new Int32Array(0);
  /** When its latest run began, or its latest report came. */
  startedMs = new Float64Array(0);
  /** 1: its turn is on the grid of its phase. */
  onGrid = new Uint8Array(0);
  /** 1: its last turn was answered by traffic, so that the next one is a real probe. */
  skipped = new Uint8Array(0);
  /** Runs in a row for which the gateway lacked something on the way to this address. */
  unable = new Uint8Array(0);
  /** The latest result that did not count, since the last that did. Few have one. */
  readonly discarded = new Map<number, string>();
  readonly #checks: (Check | undefined)[] = [undefined];
  readonly #standings: (Standing | undefined)[] = [undefined];
  /** The latest result that counted, as an index of `RESULTS`; when it came on the wall's clock, and what it took. */
  #results = new Uint8Array(0);
  readonly #texts: string[] = [''];
  #wallMs = new Float64Array(0);
  #tookMs = new Float64Array(0);
  /** Of 2^32: exactly what `phaseOf` makes. */
  #phases = new Uint32Array(0);
  /** The next check of the same instance. */
  #siblings = new Int32Array(0);
  readonly #free: number[] = [];
  /** Kept in the timeline of each instance: where thousands say the same one after the other, one string for all. */
  #latestSummary = '';

  /** A row for a check of an instance, of which nothing has been heard yet. */
  take(key: number, check: Check, standing: Standing, phase: number, nowMs: number): number {
    const row = this.#free.pop() ?? this.#checks.length;
    if (row >= this.keys.length) this.#grow(row);
    this.keys[row] = key;
    this.#phases[row] = phase * WHOLE;
    this.startedMs[row] = nowMs;
    this.onGrid[row] = this.skipped[row] = this.unable[row] = 0;
    this.#checks[row] = check;
    this.#standings[row] = standing;
    this.#results[row] = NO_RESULT;
    this.#texts[row] = 'not probed yet';
    this.#siblings[row] = NONE;
    return row;
  }

  give(row: number): void {
    this.#checks[row] = undefined;
    this.#standings[row] = undefined;
    this.#texts[row] = '';
    this.discarded.delete(row);
    this.#free.push(row);
  }

  /** Where in the interval it has its turns: see `phaseOf`. */
  phaseOf(row: number): number {
    return (this.#phases[row] as number) / WHOLE;
  }

  checkOf(row: number): Check {
    return inUse(this.#checks[row]);
  }

  setCheck(row: number, check: Check): void {
    this.#checks[row] = check;
  }

  standingOf(row: number): Standing {
    return inUse(this.#standings[row]);
  }

  /** A result that counts. */
  note(row: number, standing: Standing, result: ProbeResult, text: string, atWallMs: number, durationMs: number): void {
    this.#standings[row] = standing;
    this.#results[row] = RESULTS.indexOf(result);
    this.#texts[row] = text;
    this.#wallMs[row] = atWallMs;
    this.#tookMs[row] = durationMs;
    this.discarded.delete(row);
  }

  /** The latest result in one line: `http: status 503, expected 200-399 (3 in a row)`. */
  summary(row: number): string {
    const { fails, passes, notPassed } = this.standingOf(row);
    const inRow = fails > 0 ? fails : passes > 0 ? passes : notPassed;
    const text = `${this.checkOf(row).name}: ${this.#texts[row]}${inRow > 1 ? ` (${inRow} in a row)` : ''}`;
    if (text !== this.#latestSummary) this.#latestSummary = text;
    return this.#latestSummary;
  }

  /** `nextInMs`: until its turn, where it waits for that. */
  evidence(row: number, activity: CheckEvidence['activity'], nextInMs: number): CheckEvidence {
    const check = this.checkOf(row);
    const standing = this.standingOf(row);
    const result = RESULTS[this.#results[row] as number];
    const [text = '', atWallMs = 0, durationMs = 0] = [this.#texts[row], this.#wallMs[row], this.#tookMs[row]];
    return {
      name: check.name,
      type: check.type,
      state: standing.state,
      last: result === undefined ? undefined : { result, text, atWallMs, durationMs },
      consecutiveSuccesses: standing.alive,
      consecutiveFailures: standing.fails,
      healthyThreshold: check.healthyThreshold,
      unhealthyThreshold: check.unhealthyThreshold,
      nextInMs: activity === 'waiting' ? nextInMs : undefined,
      activity,
      discarded: this.discarded.get(row),
    };
  }

  /** Makes these the checks of one instance, in this order. Returns the first, by which they are found again. */
  chain(rows: readonly number[]): number {
    rows.forEach((row, at) => {
      this.#siblings[row] = rows[at + 1] ?? NONE;
    });
    return rows[0] ?? NONE;
  }

  chained(first: number): number[] {
    const rows: number[] = [];
    for (let row = first; row !== NONE; row = this.#siblings[row] as number) rows.push(row);
    return rows;
  }

  /** The instance as a whole: as bad as the worst of its checks, where never having answered is worse than a warning. */
  combined(first: number): ProbeState {
    let worst = 0;
    for (let row = first; row !== NONE; row = this.#siblings[row] as number)
      worst = Math.max(worst, SEVERITY[this.standingOf(row).state]);
    return BY_SEVERITY[worst] ?? 'unknown';
  }

  #grow(row: number): void {
    const rows = roomFor(row);
    this.keys = widened(this.keys, new Int32Array(rows));
    this.#phases = widened(this.#phases, new Uint32Array(rows));
    this.#results = widened(this.#results, new Uint8Array(rows));
    this.startedMs = widened(this.startedMs, new Float64Array(rows));
    this.onGrid = widened(this.onGrid, new Uint8Array(rows));
    this.skipped = widened(this.skipped, new Uint8Array(rows));
    this.unable = widened(this.unable, new Uint8Array(rows));
    this.#wallMs = widened(this.#wallMs, new Float64Array(rows));
    this.#tookMs = widened(this.#tookMs, new Float64Array(rows));
    this.#siblings = widened(this.#siblings, new Int32Array(rows));
  }
}

const WHOLE = 2 ** 32;
const NO_RESULT = 0;
const RESULTS: readonly (ProbeResult | undefined)[] = [undefined, 'pass', 'degraded', 'fail'];
const BY_SEVERITY: readonly ProbeState[] = ['passing', 'degraded', 'unknown', 'failing'];
const SEVERITY: Readonly<Record<ProbeState, number>> = { passing: 0, degraded: 1, unknown: 2, failing: 3 };

function inUse<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('a row of the table of checks is used after it was given back');
  return value;
}
