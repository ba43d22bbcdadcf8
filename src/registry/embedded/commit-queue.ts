import { type Clock, sleep } from '../../core/clock.ts';
import { Pace } from '../../core/pace.ts';
import { errorCode } from './disk.ts';
import type { LogRecord } from './record.ts';
import { type RegistryLog, reasonOf } from './report.ts';
import type { Staging } from './staging.ts';

/** Nothing was changed, and trying again later may work. */
export interface Unavailable {
  readonly kind: 'unavailable';
  /** A sentence for the client. */
  readonly why: string;
}

/** What an operation wants: an answer at once, or a change that counts when its record is on disk. */
export type Planned<T> =
  | { readonly answer: T }
  /** Without a record it waits for the records of others in its batch. `apply` must not fail. */
  | { readonly record: LogRecord | undefined; readonly apply: () => T };

export interface CommitQueueOptions {
  /** Resolves when the records are durable. */
  readonly append: (records: readonly LogRecord[]) => Promise<void>;
  /** A view of the table to plan a batch on. */
  readonly stage: () => Staging;
  /** A batch has been applied: the table is what the log says. */
  readonly onIdle: () => void;
  readonly clock: Clock;
  readonly log: RegistryLog;
  /** Operations that may wait. */
  readonly limit: number;
  /** A disk that takes longer is treated as one that fails. */
  readonly timeoutMs: number;
  /**
   * In a storm of changes one commit comes in so many milliseconds, and takes all that waits: it costs the processor as
   * much as twenty requests, whatever it holds. 0 = each comes as soon as the one before is done.
   */
  readonly everyMs: number;
}

interface Waiting {
  /** Plans, and answers at once or returns what to do once the batch is durable. */
  readonly plan: (
    staging: Staging,
  ) => { readonly record: LogRecord | undefined; readonly apply: () => void } | undefined;
  readonly fail: (failure: Unavailable) => void;
}

const BATCH = 500;
/** Commits that come at once before they are paced. */
const BURST = 8;

/**
 * Changes, one batch at a time: planned on the table as it is, written and synced together, applied, answered. Whatever
 * comes while a batch is being synced forms the next one, so that a slow disk makes batches larger, not queues longer.
 */
export class CommitQueue {
  readonly #options: CommitQueueOptions;
  readonly #pace: Pace;
  readonly #closing = new AbortController();
  #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;
  #hung = false;
  #failing = false;

  constructor(options: CommitQueueOptions) {
    this.#options = options;
    this.#pace = new Pace(options.clock, { burst: BURST, everyMs: options.everyMs });
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** False from a write that failed or hangs until the next one that succeeds. */
  get healthy(): boolean {
    return !this.#failing && !this.#hung;
  }

  /** Never rejects, but for a bug in `plan` or `apply`. */
  submit<T>(plan: (staging: Staging) => Planned<T>): Promise<T | Unavailable> {
    if (this.#closing.signal.aborted) return Promise.resolve(unavailable('the registry is closing'));
    if (this.#hung) return Promise.resolve(unavailable('the disk does not answer'));
    if (this.#waiting.length >= this.#options.limit) {
      return Promise.resolve(unavailable('too many changes are waiting for the disk'));
    }
    return new Promise<T | Unavailable>((resolve, reject) => {
      this.#waiting.push({
        fail: resolve,
        plan: (staging) => {
          try {
            const planned = plan(staging);
            if ('answer' in planned) {
              resolve(planned.answer);
              return undefined;
            }
            return { record: planned.record, apply: settling(planned.apply, resolve, reject) };
          } catch (error) {
            reject(asError(error));
            return undefined;
          }
        },
      });
      this.#running ??= this.#run();
    });
  }

  /** Refuses what waits, and resolves when the batch being written is done. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#failWaiting(unavailable('the registry is closing'));
    await this.#running;
  }

  async #run(): Promise<void> {
    // One turn later, so that what arrives in the same turn shares the first batch.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const { waitMs } = this.#pace;
      if (waitMs > 0) await sleep(this.#options.clock, waitMs, this.#closing.signal);
      await this.#commit(this.#waiting.splice(0, BATCH));
    }
    this.#running = undefined;
  }

  async #commit(batch: readonly Waiting[]): Promise<void> {
    const staging = this.#options.stage();
    const steps = batch.map(({ plan, fail }) => ({ step: plan(staging), fail }));
    const records = steps.flatMap(({ step }) => (step?.record ? [step.record] : []));
    const failBatch = (failure: Unavailable): void => {
      for (const { fail } of steps) fail(failure);
    };
    if (records.length > 0) {
      this.#pace.turn();
      if (!(await this.#write(records, failBatch))) return;
    }
    for (const { step } of steps) step?.apply();
    this.#options.onIdle();
  }

  async #write(records: readonly LogRecord[], failBatch: (failure: Unavailable) => void): Promise<boolean> {
    const { append, clock, log, timeoutMs } = this.#options;
    const cancel = clock.after(timeoutMs, () => {
      this.#hung = true;
      log('error', 'the disk does not answer; registrations are refused until it does', { timeoutMs });
      // What was written may still become durable: then it is applied, though nobody waits for it any more.
      failBatch(unavailable('the disk does not answer'));
      this.#failWaiting(unavailable('the disk does not answer'));
    });
    try {
      await append(records);
      if (this.#failing || this.#hung) log('info', 'registrations are written to disk again', {});
      this.#failing = false;
      return true;
    } catch (error) {
      const code = errorCode(error);
      // Once per outage: every attempt of every client would say the same.
      if (!this.#failing)
        log('error', 'registrations cannot be written to disk and are refused', {
          code: code ?? '',
          reason: reasonOf(error),
        });
      this.#failing = true;
      failBatch(unavailable(`it could not be written to disk${code === undefined ? '' : ` (${code})`}`));
      return false;
    } finally {
      cancel();
      this.#hung = false;
    }
  }

  #failWaiting(failure: Unavailable): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { fail } of waiting) fail(failure);
  }
}

function settling<T>(apply: () => T, resolve: (value: T) => void, reject: (error: Error) => void): () => void {
  return () => {
    try {
      resolve(apply());
    } catch (error) {
      reject(asError(error));
    }
  };
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

function unavailable(why: string): Unavailable {
  return { kind: 'unavailable', why };
}
