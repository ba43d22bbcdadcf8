import { type Gate, GATES, type Standing, unpack } from './availability.ts';

/** What the control side knows of each slot, as columns: reserved at once, touched as slots come into use. */
export class StandingColumns {
  /** `pack`ed standing. */
  readonly codes: Uint16Array;
  /** Wall-clock milliseconds of the last change of each gate, slot after slot. */
  readonly #sinceMs: Float64Array;

  constructor(capacity: number) {
    this.codes = new Uint16Array(capacity);
    this.#sinceMs = new Float64Array(capacity * GATES.length);
  }

  /** A new owner of the slot: everything is as of now. */
  begin(slot: number, code: number, wallMs: number): void {
    this.codes[slot] = code;
    this.#sinceMs.fill(wallMs, slot * GATES.length, (slot + 1) * GATES.length);
  }

  change(slot: number, code: number, gate: Gate, wallMs: number): void {
    this.codes[slot] = code;
    this.#sinceMs[slot * GATES.length + GATES.indexOf(gate)] = wallMs;
  }

  standing(slot: number): Standing {
    return unpack(this.codes[slot] ?? 0);
  }

  /** Wall-clock milliseconds. */
  since(slot: number, gate: Gate): number {
    return this.#sinceMs[slot * GATES.length + GATES.indexOf(gate)] ?? 0;
  }
}
