import type { Check } from '../core/check.ts';
import type { ProbeState } from '../core/health.ts';
import type { ProbeTarget } from './probe.ts';
import { roomFor, widened } from './turns.ts';

/** What a prober needs to know of an instance. */
export interface TargetSpec {
  /** From 0 on, and small, because tables are indexed by it; unique within the prober, and back in every callback. */
  readonly key: number;
  /** Kept as it is: no other object per instance. */
  readonly instance: ProbeTarget;
  /** None = nothing to ask: passing. */
  readonly checks: readonly Check[];
  /** Known from before a restart: its `ttl` checks count as passing, and have one whole period to report. */
  readonly restored?: boolean;
}

const STATES: readonly ProbeState[] = ['unknown', 'passing', 'degraded', 'failing'];
const UNKNOWN = STATES.indexOf('unknown');

/** The instances tracked, by key, as a struct of arrays. */
export class Targets {
  readonly #instances: (ProbeTarget | undefined)[] = [];
  /** Indexes of `STATES`. */
  #states = new Uint8Array(0);
  #firstRows = new Int32Array(0);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  *keys(): Generator<number> {
    for (let key = 0; key < this.#instances.length; key++) if (this.#instances[key] !== undefined) yield key;
  }

  /** Undefined where the key is not tracked. */
  get(key: number): ProbeTarget | undefined {
    return this.#instances[key];
  }

  stateOf(key: number): ProbeState | undefined {
    return this.#instances[key] === undefined ? undefined : STATES[this.#states[key] as number];
  }

  /** The first of its rows in the table of checks; 0 where it has none. */
  firstRow(key: number): number {
    return this.#firstRows[key] ?? 0;
  }

  set(key: number, instance: ProbeTarget): void {
    if (key >= this.#states.length) {
      this.#states = widened(this.#states, new Uint8Array(roomFor(key)));
      this.#firstRows = widened(this.#firstRows, new Int32Array(roomFor(key)));
    }
    // Arrays with holes are tables of hashes.
    while (this.#instances.length <= key) this.#instances.push(undefined);
    if (this.#instances[key] === undefined) this.#count++;
    this.#instances[key] = instance;
  }

  setState(key: number, state: ProbeState): void {
    this.#states[key] = STATES.indexOf(state);
  }

  setFirstRow(key: number, row: number): void {
    this.#firstRows[key] = row;
  }

  delete(key: number): void {
    if (this.#instances[key] === undefined) return;
    this.#count--;
    this.#instances[key] = undefined;
    this.#states[key] = UNKNOWN;
    this.#firstRows[key] = 0;
  }
}
