import { type Clock, sleep } from '../../core/clock.ts';
import type { Change, RemovalReason } from './changes.ts';
import { CommitQueue } from './commit-queue.ts';
import type { Lease } from './leases.ts';
import {
  type DeregisterResult,
  type HeartbeatResult,
  type RegisterResult,
  type UpdateResult,
  isExpired,
  planDeregister,
  planExpiry,
  planRegister,
  planUpdate,
  renew,
} from './operations.ts';
import { DEFAULT_LIMITS, type EmbeddedRegistryOptions, type RegistryFigures } from './options.ts';
import type { RegistrationRequest, RegistryLimits } from './plan.ts';
import type { Registration, RegistrationKey } from './record.ts';
import { type RegistryLog, reasonOf } from './report.ts';
import { Staging } from './staging.ts';
import { ANY_SERVICE, RegistryState } from './state.ts';
import { INDEX_BLOCK, type Storage, openStorage } from './storage.ts';
import type { Entry, ServiceEntry } from './table.ts';

const PENDING = 10_000;
const CLOSE_TIMEOUT_MS = 5000;

/**
 * The embedded registry: who is registered, on disk before it is acknowledged and in memory after. Heartbeats and the
 * states that follow from them live in memory alone.
 */
export class EmbeddedRegistry {
  readonly #clock: Clock;
  readonly #log: RegistryLog;
  readonly #limits: RegistryLimits;
  readonly #state: RegistryState;
  readonly #storage: Storage;
  readonly #commits: CommitQueue;
  readonly #closing = new AbortController();
  #closed: Promise<void> | undefined;
  #reserving = false;

  private constructor(options: EmbeddedRegistryOptions, state: RegistryState, storage: Storage) {
    this.#clock = options.clock;
    this.#log = options.log;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#state = state;
    this.#storage = storage;
    this.#commits = new CommitQueue({
      append: (records) => storage.log.append(records),
      stage: () => new Staging(state.table),
      onIdle: () => {
        storage.log.compactIfDue();
      },
      clock: options.clock,
      log: locating(options),
      limit: PENDING,
      timeoutMs: options.commitTimeoutMs ?? 10_000,
      everyMs: options.commitEveryMs ?? 0,
    });
  }

  /**
   * Reads back what was registered and takes the directory. Rejects with a message for the operator: the directory
   * cannot be used or is in use, or its log is of a later version. A log that is damaged, or a disk that is full, is no
   * reason to stay down: both are reported, and what can be served is.
   */
  static async open(options: EmbeddedRegistryOptions): Promise<EmbeddedRegistry> {
    let registry: EmbeddedRegistry | undefined = undefined as EmbeddedRegistry | undefined;
    const state = new RegistryState({
      clock: options.clock,
      log: options.log,
      history: options.history ?? 4096,
      waiters: options.waiters ?? 4096,
      keepEmptyMs: options.keepEmptyMs ?? 600_000,
      onExpired: (lease) => {
        if (registry) registry.#expire(lease);
      },
      onIndex: (index) => {
        if (registry) registry.#reserveFor(index);
      },
    });
    const storage = await openStorage(options, state);
    state.start(storage.reservation.index + 1);
    registry = new EmbeddedRegistry(options, state, storage);
    await registry.#reserve();
    return registry;
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
      ...this.#storage.log.figures,
      instances: table.size,
      services: table.liveServices,
      leases: leases.size,
      waiters: waiters.size,
      pending: this.#commits.waiting,
      diskHealthy: this.#commits.healthy,
      corruptRecords: this.#storage.corruptRecords,
      tornBytes: this.#storage.tornBytes,
    };
  }

  find(key: RegistrationKey): Readonly<Entry> | undefined {
    return this.#state.table.find(key);
  }

  /** Of whichever service. */
  findById(id: string): readonly Readonly<Entry>[] {
    return this.#state.table.findById(id);
  }

  /** The instance that a client of another registry's API calls by this name. */
  findByAlias(alias: string): Readonly<Entry> | undefined {
    return this.#state.table.findByAlias(alias);
  }

  /** Index of the last change of what is registered, whatever the service. */
  get registeredIndex(): number {
    return this.#state.registeredIndex;
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

  /** All changes of this life of the registry, oldest first; undefined where they are not remembered so far back. */
  sinceStart(): readonly Change[] | undefined {
    return this.#state.feed.sinceStart();
  }

  /** Resolves at the next change of the service, when the time is up, or on abort. Undefined: too many wait already. */
  nextChange(service: string, waitMs: number, signal: AbortSignal): Promise<void> | undefined {
    return this.closing.aborted ? Promise.resolve() : this.#state.waiters.wait(service, waitMs, signal);
  }

  /** As `nextChange`, for what is registered, whatever the service. */
  nextRegistration(waitMs: number, signal: AbortSignal): Promise<void> | undefined {
    return this.nextChange(ANY_SERVICE, waitMs, signal);
  }

  /** Resolves when the registration is on disk; or with the reason why nothing was changed. */
  register(request: RegistrationRequest): Promise<RegisterResult> {
    return this.#commits.submit((staging) => planRegister(this.#state, staging, request, this.#limits));
  }

  /**
   * Changes what is registered, in one step: `change` sees what the changes before it left. It must keep service, id and
   * address. `renews`: the instance itself said it, which counts as a heartbeat.
   */
  update(
    key: RegistrationKey,
    change: (known: Registration) => Registration,
    { renews }: { readonly renews: boolean },
  ): Promise<UpdateResult> {
    return this.#commits.submit((staging) => planUpdate(this.#state, staging, key, change, renews));
  }

  /** Of an instance without a ttl too: it is told that it is known. */
  heartbeat(id: string, service?: string): HeartbeatResult {
    return renew(this.#state, id, service);
  }

  /**
   * Resolves when the removal is on disk; or with the reason why nothing was changed. `expired`: nobody asked for it, and
   * it is told so.
   */
  deregister(id: string, service?: string, reason: RemovalReason = 'deregistered'): Promise<DeregisterResult> {
    return this.#commits.submit((staging) => planDeregister(this.#state, staging, id, service, reason));
  }

  /** To be called when what the gateway says of an instance (its probe, its breaker) has changed. */
  statusChanged(key: RegistrationKey): void {
    this.#state.statusChanged(key);
  }

  /** Lets whoever watches or waits go. Changes are still taken. */
  endWaits(): void {
    this.#closing.abort();
    this.#state.waiters.wakeAll();
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
      await this.#storage.close();
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
    if (index + INDEX_BLOCK / 2 <= this.#storage.reservation.index) return;
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
        this.#storage.reservation.index = index;
      },
    }));
    this.#reserving = false;
  }
}

/** What the disk does is said with the directory that is on it. */
function locating({ dataDir, log }: EmbeddedRegistryOptions): RegistryLog {
  return (level, message, fields) => {
    log(level, message, dataDir === undefined ? fields : { dataDir, ...fields });
  };
}
