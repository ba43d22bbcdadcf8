import { join } from 'node:path';
import type { Clock } from '../../core/clock.ts';
import { explainDiskError } from '../disk-fault.ts';
import { AppendLog, encodeRecords } from './append-log.ts';
import type { Disk } from './disk.ts';
import { LOG_FORMAT, type LogRecord } from './record.ts';
import { type ReplayReport, replay } from './replay.ts';
import { type RegistryLog, reasonOf } from './report.ts';

export interface JournalOptions {
  readonly directory: string;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly log: RegistryLog;
  /** Records that make the whole table as it is at the call. */
  readonly snapshot: () => readonly LogRecord[];
  /** Rejects when this gateway must not write any more. Asked before a write, once in `OWNER_CHECK_MS`. */
  readonly verifyOwner: () => Promise<void>;
  /** The log is rewritten when it is longer than this and than twice its length after the last rewrite. */
  readonly compactAboveBytes: number;
}

export interface JournalFigures {
  readonly bytes: number;
  readonly appends: number;
  readonly appendFailures: number;
  readonly compactions: number;
  readonly compactionFailures: number;
}

/**
 * Where registrations are made durable. Everything belongs to one caller, which applies what it appended before it calls
 * again: the table of `snapshot` is then exactly what the log says.
 */
export interface RegistrationLog {
  readonly figures: JournalFigures;
  /** Resolves when the records survive a loss of power. After a rejection none of them counts, and the next call tries afresh. */
  append(records: readonly LogRecord[]): Promise<void>;
  /** Starts to rewrite the log if it has grown enough. Appending goes on meanwhile. */
  compactIfDue(): void;
  /** Resolves when the file is closed. A rewrite that is going on is given up. */
  close(): Promise<void>;
}

interface Compaction {
  readonly done: Promise<void>;
  /** What was appended meanwhile. */
  readonly tail: Buffer[];
  tailBytes: number;
  stale: boolean;
}

const FILE_NAME = 'registry.log';
/** What is appended while the log is rewritten is kept in memory; more than this, and the rewrite is given up. */
const MAX_TAIL_BYTES = 33_554_432;
const COMPACTION_RETRY_MS = 60_000;
const REPLACEMENT_RETRY_MS = 1000;
/** For so long an answer of `verifyOwner` holds: it is a read of the disk, and would be one of three for every write. */
export const OWNER_CHECK_MS = 250;

/**
 * The log of registrations: one file to which records are appended and synced, rewritten from memory when most of it
 * is history. The log is its own snapshot, and replacing it is one rename: there is no pair of files that could
 * disagree.
 */
export class Journal implements RegistrationLog {
  readonly #options: JournalOptions;
  readonly #path: string;
  #log: AppendLog;
  /** Length after the last rewrite. */
  #baseLength = 0;
  /** The directory may not know yet, durably, which file the log is. */
  #directoryDirty = true;
  #verifyAfterMs = Number.NEGATIVE_INFINITY;
  #replaceAfterMs = Number.NEGATIVE_INFINITY;
  #compactAfterMs = Number.NEGATIVE_INFINITY;
  #compactSoon: boolean;
  #closing = false;
  #compaction: Compaction | undefined;
  #lane: Promise<unknown> = Promise.resolve();
  readonly #figures = { appends: 0, appendFailures: 0, compactions: 0, compactionFailures: 0 };

  private constructor(options: JournalOptions, log: AppendLog, compactSoon: boolean) {
    this.#options = options;
    this.#path = join(options.directory, FILE_NAME);
    this.#log = log;
    this.#compactSoon = compactSoon;
  }

  /** Replays the log and opens it for appending. Rejects where its format is of a later version. */
  static async open(
    options: JournalOptions,
    onRecord: (record: LogRecord) => void,
  ): Promise<{ readonly journal: Journal; readonly report: ReplayReport }> {
    const { disk, directory, log } = options;
    const path = join(directory, FILE_NAME);
    const report = await replay(disk, path, onRecord, log);
    for (const leftover of ['next', 'replacement']) await disk.remove(`${path}.${leftover}`);
    const preserved = report.damagedBytes > 0 && (await preserve(options, path));
    const file = await disk.open(path, 'keep');
    const journal = new Journal(options, new AppendLog(file, report.goodLength, report.tornBytes > 0), preserved);
    return { journal, report };
  }

  get figures(): JournalFigures {
    return { bytes: this.#log.length, ...this.#figures };
  }

  append(records: readonly LogRecord[]): Promise<void> {
    return this.#exclusive(async () => {
      try {
        await this.#append(records);
        this.#figures.appends++;
      } catch (error) {
        this.#figures.appendFailures++;
        throw explainDiskError(error, { setting: 'dataDir', directory: this.#options.directory, verb: 'written to' });
      }
    });
  }

  compactIfDue(): void {
    const { clock, compactAboveBytes, snapshot } = this.#options;
    const grown = this.#log.length > Math.max(compactAboveBytes, 2 * this.#baseLength);
    if (!(grown || this.#compactSoon) || this.#compaction || clock.now() < this.#compactAfterMs) return;
    const start = Promise.withResolvers<undefined>();
    const compaction: Compaction = { stale: false, tail: [], tailBytes: 0, done: start.promise };
    this.#compaction = compaction;
    void this.#compact(snapshot(), compaction).finally(() => {
      this.#compaction = undefined;
      start.resolve(undefined);
    });
  }

  async close(): Promise<void> {
    this.#closing = true;
    if (this.#compaction) this.#compaction.stale = true;
    await this.#compaction?.done;
    await this.#exclusive(() => this.#log.close());
  }

  async #verifyOwner(): Promise<void> {
    const { clock, verifyOwner } = this.#options;
    const nowMs = clock.now();
    if (nowMs < this.#verifyAfterMs) return;
    await verifyOwner();
    this.#verifyAfterMs = nowMs + OWNER_CHECK_MS;
  }

  async #append(records: readonly LogRecord[]): Promise<void> {
    await this.#verifyOwner();
    if (!this.#log.trusted) await this.#replace();
    const log = this.#log;
    const bytes = encodeRecords(log.length === 0 ? [{ kind: 'format', format: LOG_FORMAT }, ...records] : records);
    try {
      await log.append(bytes, () => this.#syncDirectory());
    } catch (error) {
      if (log.trusted) await this.#takeBack(log);
      throw error;
    }
    const compaction = this.#compaction;
    if (!compaction) return;
    compaction.tail.push(bytes);
    compaction.tailBytes += bytes.length;
    if (compaction.tailBytes > MAX_TAIL_BYTES) compaction.stale = true;
  }

  /** At once rather than before the next append: a crash in between would bring back what the caller was told had failed. */
  async #takeBack(log: AppendLog): Promise<void> {
    try {
      await log.cut();
    } catch (error) {
      this.#options.log('warn', 'a failed write could not be taken back yet', {
        path: this.#path,
        reason: reasonOf(error),
      });
    }
  }

  /** A new file for one that cannot be trusted, with everything that was ever acknowledged. */
  async #replace(): Promise<void> {
    const { clock, disk, snapshot, log } = this.#options;
    if (clock.now() < this.#replaceAfterMs) throw new Error('the log has to be replaced after an error of the disk');
    this.#replaceAfterMs = clock.now() + REPLACEMENT_RETRY_MS;
    if (this.#compaction) this.#compaction.stale = true;
    const path = `${this.#path}.replacement`;
    try {
      await this.#install(path, await AppendLog.create(disk, path, snapshot(), () => false));
    } catch (error) {
      await this.#removeUnfinished(path);
      throw error;
    }
    log('info', 'the log was replaced after an error of the disk', { path: this.#path, bytes: this.#log.length });
  }

  async #compact(records: readonly LogRecord[], compaction: Compaction): Promise<void> {
    const { disk, clock, log } = this.#options;
    const path = `${this.#path}.next`;
    try {
      const next = await AppendLog.create(disk, path, records, () => compaction.stale);
      await this.#exclusive(async () => {
        await this.#finishCompaction(path, next, compaction);
      });
      this.#compactSoon = false;
      this.#figures.compactions++;
    } catch (error) {
      await this.#removeUnfinished(path);
      if (this.#closing) return;
      this.#figures.compactionFailures++;
      this.#compactAfterMs = clock.now() + COMPACTION_RETRY_MS;
      log('warn', 'the log was not rewritten; it grows until the next try', { path, reason: reasonOf(error) });
    }
  }

  async #finishCompaction(path: string, next: AppendLog, compaction: Compaction): Promise<void> {
    try {
      if (compaction.stale) throw new Error('it is not wanted any more');
      await this.#options.verifyOwner();
      if (compaction.tail.length > 0) await next.append(Buffer.concat(compaction.tail), () => Promise.resolve());
    } catch (error) {
      await next.close();
      throw error;
    }
    await this.#install(path, next);
  }

  /** Makes a complete and synced file the log. */
  async #install(path: string, next: AppendLog): Promise<void> {
    try {
      await this.#options.disk.rename(path, this.#path);
    } catch (error) {
      // It may have happened all the same, and then what is appended to the present file would be lost.
      this.#log.distrust();
      await next.close();
      throw error;
    }
    const former = this.#log;
    this.#log = next;
    this.#baseLength = next.length;
    this.#directoryDirty = true;
    await former.close().catch((error: unknown) => {
      this.#options.log('warn', 'the former log was not closed cleanly', { reason: reasonOf(error) });
    });
    await this.#syncDirectory();
  }

  /** It may be large, and the disk full. */
  async #removeUnfinished(path: string): Promise<void> {
    try {
      await this.#options.disk.remove(path);
    } catch (error) {
      this.#options.log('warn', 'an unfinished log stays until the next start', { path, reason: reasonOf(error) });
    }
  }

  async #syncDirectory(): Promise<void> {
    if (!this.#directoryDirty) return;
    await this.#options.disk.syncDirectory(this.#options.directory);
    this.#directoryDirty = false;
  }

  #exclusive<T>(task: () => Promise<T>): Promise<T> {
    const run = this.#lane.then(task);
    this.#lane = run.catch(() => undefined);
    return run;
  }
}

/** Keeps what could not be read for whoever wants to look at it. One copy: the newest damage replaces an older one. */
async function preserve({ disk, log }: JournalOptions, path: string): Promise<boolean> {
  const copy = `${path}.damaged`;
  try {
    await disk.copy(path, copy);
    log('warn', 'kept a copy of the damaged log', { path: copy });
    return true;
  } catch (error) {
    // On a full disk the registrations that are left matter more than the copy.
    log('warn', 'could not keep a copy of the damaged log', { path: copy, reason: reasonOf(error) });
    return false;
  }
}
