import type { Check } from '../core/check.ts';
import type { ProbeState } from '../core/health.ts';
import type { ProbeTarget } from './probe.ts';

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

/** The instances tracked, by key, as a struct of arrays. */
export class Targets {
  readonly #instances: (ProbeTarget | undefined)[] = [];
  readonly #states: ProbeState[] = [];
  readonly #firstRows: number[] = [];
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
    return this.#instances[key] === undefined ? undefined : this.#states[key];
  }

  /** The first of its rows in the table of checks; 0 where it has none. */
  firstRow(key: number): number {
    return this.#firstRows[key] ?? 0;
  }

  set(key: number, instance: ProbeTarget): void {
    // Arrays with holes are tables of hashes.
    while (this.#instances.length <= key) {
      this.#instances.push(undefined);
      this.#states.push('unknown');
      this.#firstRows.push(0);
    }
    if (this.#instances[key] === undefined) this.#count++;
    this.#instances[key] = instance;
  }

  setState(key: number, state: ProbeState): void {
    this.#states[key] = state;
  }

  setFirstRow(key: number, row: number): void {
    this.#firstRows[key] = row;
  }

  delete(key: number): void {
    if (this.#instances[key] === undefined) return;
    this.#count--;
    this.#instances[key] = undefined;
    this.#states[key] = 'unknown';
    this.#firstRows[key] = 0;
  }
}
