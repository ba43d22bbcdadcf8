import type { CheckKind } from '../core/check.ts';
import type { BreakerState } from '../core/health.ts';
import { OUTCOMES, type Outcome } from '../core/outcome.ts';
import { DURATION_BUCKETS, OVERHEAD_BUCKETS, saneMs } from './buckets.ts';
import {
  BREAKER_STATES,
  DEREGISTRATION_REASONS,
  METHODS,
  OUTLIER_KINDS,
  OUTLIER_RESULTS,
  PROBE_RESULTS,
  PROBE_TYPES,
  QUEUE_REJECTIONS,
  RETRY_REASONS,
  type DeregistrationReason,
  type MethodIndex,
  type OutlierResult,
  type ProbeResult,
  type QueueRejection,
  type RetryReason,
} from './closed-sets.ts';

/**
 * Distinct pairs of method and status counted per service and thread. What comes after the table is full counts as
 * status `other`: clients choose methods and instances choose statuses, and neither may make series without end.
 */
export const CODE_SLOTS = 64;

let rowCells = 0;
/** Cells are eight bytes wide. */
const cells = (count: number): number => {
  const at = rowCells;
  rowCells += count;
  return at;
};

/** Where the figures of a service are within its row, in cells. The same in every thread. */
export const ROW = {
  /** `CODE_SLOTS` keys of two bytes each. */
  codeKeys: cells(CODE_SLOTS / 4),
  codeCounts: cells(CODE_SLOTS),
  codeOther: cells(METHODS.length),
  duration: cells(DURATION_BUCKETS.size),
  durationSumMs: cells(1),
  overhead: cells(OVERHEAD_BUCKETS.size),
  overheadSumMs: cells(1),
  attempts: cells(OUTCOMES.length),
  retries: cells(RETRY_REASONS.length),
  budgetExhausted: cells(1),
  queueLength: cells(1),
  queueRejections: cells(QUEUE_REJECTIONS.length),
  breakerTransitions: cells(BREAKER_STATES.length),
  probes: cells(PROBE_TYPES.length * PROBE_RESULTS.length),
  outliers: cells(OUTLIER_KINDS.length * OUTLIER_RESULTS.length),
  registrations: cells(1),
  deregistrations: cells(DEREGISTRATION_REASONS.length),
} as const;
export const ROW_CELLS = rowCells;

/** Statuses need ten bits; a key is never 0, since a status is at least 100. */
const STATUS_BITS = 10;
export const methodOfKey = (key: number): number => key >>> STATUS_BITS;
export const statusOfKey = (key: number): number => key & ((1 << STATUS_BITS) - 1);

/**
 * The counters of one service on one thread: one writer, any number of readers. Nothing here allocates, and nothing
 * here knows of Prometheus.
 */
export class ServiceMeters {
  readonly #cells: Float64Array;
  readonly #keys: Uint16Array;
  readonly #base: number;
  readonly #keyBase: number;

  constructor(all: Float64Array, keys: Uint16Array, service: number) {
    this.#cells = all;
    this.#keys = keys;
    this.#base = service * ROW_CELLS;
    this.#keyBase = (this.#base + ROW.codeKeys) * 4;
  }

  /**
   * One request has ended. `durationMs` is what the client saw, `overheadMs` the part of it that no instance and no
   * client caused. A status outside 100–599 counts as `other`.
   */
  request(method: MethodIndex, status: number, durationMs: number, overheadMs: number): void {
    const all = this.#cells;
    const base = this.#base;
    this.#add(this.#codeCell(method, status));
    const duration = saneMs(durationMs);
    const overhead = saneMs(overheadMs);
    this.#add(ROW.duration + DURATION_BUCKETS.indexOf(duration));
    this.#add(ROW.overhead + OVERHEAD_BUCKETS.indexOf(overhead));
    all[base + ROW.durationSumMs] = (all[base + ROW.durationSumMs] ?? 0) + duration;
    all[base + ROW.overheadSumMs] = (all[base + ROW.overheadSumMs] ?? 0) + overhead;
  }

  attempt(outcome: Outcome): void {
    this.#add(ROW.attempts + OUTCOMES.indexOf(outcome));
  }

  retry(reason: RetryReason): void {
    this.#add(ROW.retries + RETRY_REASONS.indexOf(reason));
  }

  /** A retry was wanted, would have been safe, and the budget forbade it. */
  budgetExhausted(): void {
    this.#add(ROW.budgetExhausted);
  }

  /** A request has begun to wait for a place on an instance (1), or does so no longer (-1). */
  queued(by: 1 | -1): void {
    const at = this.#base + ROW.queueLength;
    this.#cells[at] = (this.#cells[at] ?? 0) + by;
  }

  queueRejected(why: QueueRejection): void {
    this.#add(ROW.queueRejections + QUEUE_REJECTIONS.indexOf(why));
  }

  breakerTransition(to: BreakerState): void {
    this.#add(ROW.breakerTransitions + BREAKER_STATES.indexOf(to));
  }

  outlier(by: (typeof OUTLIER_KINDS)[number], result: OutlierResult): void {
    this.#add(ROW.outliers + OUTLIER_KINDS.indexOf(by) * OUTLIER_RESULTS.length + OUTLIER_RESULTS.indexOf(result));
  }

  probe(type: CheckKind['type'], result: ProbeResult): void {
    this.#add(ROW.probes + PROBE_TYPES.indexOf(type) * PROBE_RESULTS.length + PROBE_RESULTS.indexOf(result));
  }

  registration(): void {
    this.#add(ROW.registrations);
  }

  deregistration(reason: DeregistrationReason): void {
    this.#add(ROW.deregistrations + DEREGISTRATION_REASONS.indexOf(reason));
  }

  #add(cell: number): void {
    const at = this.#base + cell;
    this.#cells[at] = (this.#cells[at] ?? 0) + 1;
  }

  /** The cell that counts this method and status: open addressing, entries are never taken out. */
  #codeCell(method: MethodIndex, status: number): number {
    const statusIsReal = status >= 100 && status <= 599;
    const key = (method << STATUS_BITS) | status;
    let slot = (Math.imul(key, 0x9e37_79b1) >>> 24) & (CODE_SLOTS - 1);
    for (let step = 0; step < CODE_SLOTS && statusIsReal; step++) {
      const found = this.#keys[this.#keyBase + slot];
      if (found === key) return ROW.codeCounts + slot;
      if (found === 0) {
        this.#keys[this.#keyBase + slot] = key;
        return ROW.codeCounts + slot;
      }
      slot = (slot + 1) & (CODE_SLOTS - 1);
    }
    return ROW.codeOther + method;
  }
}

/**
 * The counters of every service on one data-plane thread, a row of fixed size for each service index. The buffer can
 * be handed to the thread that scrapes: it reads without a message. Memory is reserved for all rows at once, and
 * touched only as services come into use.
 */
export class TrafficMeters {
  readonly services: number;
  readonly buffer: SharedArrayBuffer;
  readonly cells: Float64Array;
  readonly keys: Uint16Array;

  /** `buffer` is one made by another `TrafficMeters` for as many services. */
  constructor({ services, buffer }: { readonly services: number; readonly buffer?: SharedArrayBuffer }) {
    this.services = services;
    this.buffer = buffer ?? new SharedArrayBuffer(services * ROW_CELLS * 8);
    this.cells = new Float64Array(this.buffer);
    this.keys = new Uint16Array(this.buffer);
    if (this.cells.length !== services * ROW_CELLS) {
      throw new Error(`the buffer holds ${this.cells.length / ROW_CELLS} rows in place of ${services}`);
    }
  }

  /** Keep the result for as long as the service lasts: each call makes a new object. */
  row(service: number): ServiceMeters {
    if (!(service >= 0 && service < this.services)) throw new RangeError(`no row ${service} among ${this.services}`);
    return new ServiceMeters(this.cells, this.keys, service);
  }

  clear(service: number): void {
    this.cells.fill(0, service * ROW_CELLS, (service + 1) * ROW_CELLS);
  }
}

/** The counters of one service summed over threads. Made once and reused for service after service. */
export class RowSum {
  readonly cells = new Float64Array(ROW_CELLS);
  /** Count by key: `methodOfKey` and `statusOfKey` take it apart. */
  readonly codes = new Map<number, number>();

  load(threads: readonly TrafficMeters[], service: number): void {
    this.cells.fill(0);
    this.codes.clear();
    for (const thread of threads) {
      const base = service * ROW_CELLS;
      for (let cell = ROW.codeOther; cell < ROW_CELLS; cell++) {
        this.cells[cell] = (this.cells[cell] ?? 0) + (thread.cells[base + cell] ?? 0);
      }
      for (let slot = 0; slot < CODE_SLOTS; slot++) {
        const key = thread.keys[(base + ROW.codeKeys) * 4 + slot] ?? 0;
        if (key === 0) continue;
        this.codes.set(key, (this.codes.get(key) ?? 0) + (thread.cells[base + ROW.codeCounts + slot] ?? 0));
      }
    }
  }

  at(cell: number): number {
    return this.cells[cell] ?? 0;
  }
}
