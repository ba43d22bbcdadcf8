import { type Clock, sleep } from '../../core/clock.ts';
import type { Change } from './changes.ts';
import { CommitQueue } from './commit-queue.ts';
import { DataLock } from './data-lock.ts';
import { systemDisk } from './disk.ts';
import { Journal } from './journal.ts';
import type { Lease } from './leases.ts';
import {
  type DeregisterResult,
  type HeartbeatResult,
  type RegisterResult,
  isExpired,
  planDeregister,
  planExpiry,
  planRegister,
  renew,
} from './operations.ts';
import { DEFAULT_LIMITS, type EmbeddedRegistryOptions, type RegistryFigures } from './options.ts';
import type { RegistrationRequest, RegistryLimits } from './plan.ts';
import type { LogRecord, RegistrationKey } from './record.ts';
import type { ReplayReport } from './replay.ts';
import { type RegistryLog, reasonOf } from './report.ts';
import { Staging } from './staging.ts';
import { RegistryState } from './state.ts';
import type { Entry, ServiceEntry } from './table.ts';

const PENDING = 10_000;
const CLOSE_TIMEOUT_MS = 5000;
/** Indexes set aside on disk at a time: lease changes count without being written. */
const INDEX_BLOCK = 1_000_000;

/**
 * The embedded registry: who is registered, on disk before it is acknowledged and in memory after. Heartbeats and the
 * states that follow from them live in memory alone.
 */
export class EmbeddedRegistry {
  readonly #clock: Clock;
  readonly #log: RegistryLog;
  readonly #limits: RegistryLimits;
  readonly #lock: DataLock;
  readonly #state: RegistryState;
  readonly #journal: Journal;
  readonly #report: ReplayReport;
  readonly #commits: CommitQueue;
  readonly #closing = new AbortController();
  #closed: Promise<void> | undefined;
  /** What was set aside on disk. */
  #reservedIndex: number;
  #reserving = false;

  private constructor(options: EmbeddedRegistryOptions, parts: Parts) {
    const { lock, state, journal, report, reservedIndex } = parts;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#lock = lock;
    this.#state = state;
    this.#journal = journal;
    this.#report = report;
    this.#reservedIndex = reservedIndex;
    this.#commits = new CommitQueue({
      append: (records) => journal.append(records),
      stage: () => new Staging(state.table),
      onIdle: () => {
        journal.compactIfDue();
      },
      clock: options.clock,
      log: options.log,
      limit: PENDING,
      timeoutMs: options.commitTimeoutMs ?? 10_000,
    });
  }

  /**
   * Reads back what was registered and takes the directory. Rejects with a message for the operator: the directory
   * cannot be used or is in use, or its log is of a later version. A log that is damaged, or a disk that is full, is no
   * reason to stay down: both are reported, and what can be served is.
   */
  static async open(options: EmbeddedRegistryOptions): Promise<EmbeddedRegistry> {
    const { dataDir: directory, clock, log, disk = systemDisk } = options;
    await disk.createDirectory(directory);
    const lock = await DataLock.acquire(directory, options.owner, log);
    try {
      let registry: EmbeddedRegistry | undefined = undefined as EmbeddedRegistry | undefined;
      let reservedIndex = 0;
      const state = new RegistryState({
        clock,
        log,
        history: options.history ?? 1024,
        waiters: options.waiters ?? 4096,
        keepEmptyMs: options.keepEmptyMs ?? 600_000,
        onExpired: (lease) => {
          if (registry) registry.#expire(lease);
        },
        onIndex: (index) => {
          if (registry) registry.#reserveFor(index);
        },
      });
      const { journal, report } = await Journal.open(
        {
          directory,
          disk,
          clock,
          log,
          snapshot: () => snapshot(state, registry ? registry.#reservedIndex : reservedIndex),
          verifyOwner: () => lock.verify(),
          compactAboveBytes: options.compactAboveBytes ?? 4_194_304,
        },
        (record) => {
          if (record.kind === 'reserve') reservedIndex = Math.max(reservedIndex, record.index);
          else state.restore(record);
        },
      );
      // A reservation may be among what could not be read.
      if (report.corruptRecords > 0) reservedIndex += INDEX_BLOCK;
      state.start(reservedIndex + 1);
      registry = new EmbeddedRegistry(options, { lock, state, journal, report, reservedIndex });
      await registry.#reserve();
      return registry;
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  /** Aborts when the registry closes: whoever watches or waits should end. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /** Counts every change: 1 or more, never going back, not over restarts either. */
  get index(): number {
    return this.#state.index;
  }

  get services(): ReadonlyMap<string, ServiceEntry> {
    return this.#state.table.services;
  }

  get figures(): RegistryFigures {
    const { table, leases, waiters } = this.#state;
    return {
      ...this.#journal.figures,
      instances: table.size,
      services: table.liveServices,
      leases: leases.size,
      waiters: waiters.size,
      pending: this.#commits.waiting,
      diskHealthy: this.#commits.healthy,
      corruptRecords: this.#report.corruptRecords,
      tornBytes: this.#report.tornBytes,
    };
  }

  find(key: RegistrationKey): Readonly<Entry> | undefined {
    return this.#state.table.find(key);
  }

  /** Index of the last change of the service, known or not. */
  indexOf(service: string): number {
    return this.#state.indexOf(service);
  }

  /** Called with every change, within it. Returns a function that ends it. */
  subscribe(listener: (change: Change) => void): () => void {
    return this.#state.feed.subscribe(listener);
  }

  /** Changes after the index, oldest first; undefined where they are not remembered so far back. */
  since(index: number): readonly Change[] | undefined {
    return index > this.index ? undefined : this.#state.feed.since(index);
  }

  /** Resolves at the next change of the service, when the time is up, or on abort. Undefined: too many wait already. */
  nextChange(service: string, waitMs: number, signal: AbortSignal): Promise<void> | undefined {
    return this.closing.aborted ? Promise.resolve() : this.#state.waiters.wait(service, waitMs, signal);
  }

  /** Resolves when the registration is on disk; or with the reason why nothing was changed. */
  register(request: RegistrationRequest): Promise<RegisterResult> {
    return this.#commits.submit((staging) => planRegister(this.#state, staging, request, this.#limits));
  }

  /** Of an instance without a ttl too: it is told that it is known. */
  heartbeat(id: string, service?: string): HeartbeatResult {
    return renew(this.#state, id, service);
  }

  /** Resolves when the removal is on disk; or with the reason why nothing was changed. */
  deregister(id: string, service?: string): Promise<DeregisterResult> {
    return this.#commits.submit((staging) => planDeregister(this.#state, staging, id, service));
  }

  /** To be called when what the gateway says of an instance (its probe, its breaker) has changed. */
  statusChanged(key: RegistrationKey): void {
    this.#state.statusChanged(key);
  }

  /** Ends watches and waits, finishes the write that is going on, and gives the directory back. Never rejects. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#closing.abort();
    this.#state.stop();
    const finish = async (): Promise<void> => {
      await this.#commits.close();
      await this.#journal.close();
      await this.#lock.release();
    };
    const enough = new AbortController();
    const finished = finish().then(
      () => true,
      (error: unknown) => {
        this.#log('error', 'the registry was not closed cleanly', { reason: reasonOf(error) });
        return true;
      },
    );
    const inTime = await Promise.race([
      finished,
      sleep(this.#clock, CLOSE_TIMEOUT_MS, enough.signal).then(() => false),
    ]);
    enough.abort();
    if (!inTime)
      this.#log('error', 'the disk does not answer; the registry is left as it is', { timeoutMs: CLOSE_TIMEOUT_MS });
  }

  /** Silent for too long. A heartbeat from now on hears that it must register again. */
  #expire(lease: Lease): void {
    this.#commits
      .submit((staging) => planExpiry(this.#state, staging, lease))
      .then(
        (result) => {
          // It stays, as `down`, until the disk lets it go.
          if (result.kind === 'unavailable' && isExpired(this.#state, lease)) this.#state.leases.revive(lease);
        },
        (error: unknown) => {
          this.#log('error', 'an expired instance could not be removed', { id: lease.key.id, reason: reasonOf(error) });
        },
      );
  }

  #reserveFor(index: number): void {
    if (index + INDEX_BLOCK / 2 <= this.#reservedIndex) return;
    void this.#reserve();
  }

  /** Sets indexes aside, so that the next life of the registry begins above all that this one handed out. */
  async #reserve(): Promise<void> {
    if (this.#reserving) return;
    this.#reserving = true;
    const index = this.index + INDEX_BLOCK;
    await this.#commits.submit(() => ({
      record: { kind: 'reserve', index },
      apply: () => {
        this.#reservedIndex = index;
      },
    }));
    this.#reserving = false;
  }
}

interface Parts {
  readonly lock: DataLock;
  readonly state: RegistryState;
  readonly journal: Journal;
  readonly report: ReplayReport;
  readonly reservedIndex: number;
}

function snapshot(state: RegistryState, reservedIndex: number): LogRecord[] {
  const records: LogRecord[] = [{ kind: 'reserve', index: reservedIndex }];
  for (const { registration } of state.table.entries()) records.push({ kind: 'put', registration, drop: [] });
  return records;
}
