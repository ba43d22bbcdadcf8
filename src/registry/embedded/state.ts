import type { Clock } from '../../core/clock.ts';
import { formatDuration } from '../../core/units.ts';
import { type Change, ChangeFeed, type RemovalReason } from './changes.ts';
import { EmptyServices } from './empty-services.ts';
import { type Lease, Leases } from './leases.ts';
import type { LogRecord, Registration, RegistrationKey } from './record.ts';
import type { RegistryLog } from './report.ts';
import { type Entry, Table } from './table.ts';
import { Waiters } from './waiters.ts';

export interface StateOptions {
  readonly clock: Clock;
  readonly log: RegistryLog;
  readonly history: number;
  readonly waiters: number;
  readonly keepEmptyMs: number;
  /** The lease has run out; the instance stays, as `down`, until `remove` or `leases.revive`. */
  readonly onExpired: (lease: Lease) => void;
  /** Called with every new index. */
  readonly onIndex: (index: number) => void;
}

const EMPTY_SERVICES = 1000;
/** Whoever waits for it waits for any change of what is registered. No service is called so. */
export const ANY_SERVICE = '';

/**
 * What the registry holds in memory, with everything that hangs on it: leases, the index, those who listen and those
 * who wait. Durability is not its business: it is told what has become durable.
 */
export class RegistryState {
  readonly table = new Table();
  readonly leases: Leases;
  readonly waiters: Waiters;
  readonly #options: StateOptions;
  readonly #empty: EmptyServices;
  #feed: ChangeFeed | undefined;
  #index = 1;
  /** Index of the last change of a service that is not known (any more). */
  #absentIndex = 1;
  #registeredIndex = 1;

  constructor(options: StateOptions) {
    this.#options = options;
    this.waiters = new Waiters({ clock: options.clock, limit: options.waiters });
    this.leases = new Leases({
      clock: options.clock,
      onExpired: options.onExpired,
      onMissed: (lease) => {
        this.#miss(lease);
      },
    });
    this.#empty = new EmptyServices({
      clock: options.clock,
      keepMs: options.keepEmptyMs,
      limit: EMPTY_SERVICES,
      onForget: (service) => {
        this.#forget(service);
      },
    });
  }

  /** Counts every change, 1 or more, never going back. */
  get index(): number {
    return this.#index;
  }

  /** Index of the last change of what is registered: without those of what the gateway says of instances. */
  get registeredIndex(): number {
    return this.#registeredIndex;
  }

  get feed(): ChangeFeed {
    if (!this.#feed) throw new Error('the state was not started');
    return this.#feed;
  }

  /** Index of the last change of the service, known or not. */
  indexOf(service: string): number {
    return this.table.services.get(service)?.index ?? this.#absentIndex;
  }

  /** Before `start`: a record of the log. */
  restore(record: LogRecord): void {
    if (record.kind === 'format' || record.kind === 'reserve') return;
    for (const key of record.drop) this.table.remove(key, 0);
    if (record.kind === 'put') this.table.put(record.registration, 0);
  }

  /**
   * From here on changes count and are told. Everything restored is new to those who knew an earlier life of the
   * registry, and every lease has a whole ttl before it.
   */
  start(firstIndex: number): void {
    const { history, log } = this.#options;
    this.#index = firstIndex;
    this.#absentIndex = firstIndex;
    this.#registeredIndex = firstIndex;
    this.#feed = new ChangeFeed({ history, log, firstIndex: firstIndex + 1 });
    for (const service of [...this.table.services.values()]) {
      service.index = firstIndex;
      if (service.entries.size === 0) this.table.forget(service.name);
      for (const entry of service.entries.values()) {
        entry.index = firstIndex;
        this.#grant(entry);
      }
    }
  }

  /** `renews` false: it says nothing of whether the instance lives. */
  put(registration: Registration, renews = true): Entry {
    const { service } = registration.instance;
    const entry = this.table.put(registration, this.#next());
    this.#empty.delete(service);
    const sameLease = entry.lease?.ttlMs === registration.ttlMs && entry.lease?.expires === expires(registration);
    if (!entry.lease || !sameLease) this.#grant(entry);
    else if (renews) this.leases.renew(entry.lease);
    else if (entry.lease.missed) entry.instance = silent(entry);
    this.#tell({ kind: 'upsert', index: entry.index, instance: entry.instance, cause: 'registered' });
    return entry;
  }

  remove(key: RegistrationKey, reason: RemovalReason): Entry | undefined {
    if (!this.table.find(key)) return undefined;
    const index = this.#next();
    const entry = this.table.remove(key, index);
    if (!entry) return undefined;
    if (entry.lease) this.leases.end(entry.lease);
    this.#tell({ kind: 'remove', index, instance: entry.instance, reason, origin: entry.registration.origin });
    if (this.table.services.get(key.service)?.entries.size === 0) this.#empty.add(key.service);
    return entry;
  }

  /** A heartbeat, or a registration that says nothing new. */
  renew(entry: Entry): void {
    if (!entry.lease || !this.leases.renew(entry.lease)) return;
    entry.instance = entry.registration.instance;
    this.#touch(entry, 'lease');
  }

  /** What the gateway says of the instance has changed: those who wait for news of its service should look again. */
  statusChanged(key: RegistrationKey): void {
    const entry = this.table.find(key);
    if (entry) this.#touch(entry, 'status');
  }

  stop(): void {
    this.leases.stop();
    this.#empty.stop();
    this.waiters.wakeAll();
  }

  #grant(entry: Entry): void {
    if (entry.lease) this.leases.end(entry.lease);
    const { instance, ttlMs } = entry.registration;
    entry.lease = ttlMs === undefined ? undefined : this.leases.grant(instance, ttlMs, expires(entry.registration));
  }

  #miss(lease: Lease): void {
    const entry = this.table.find(lease.key);
    if (entry?.lease !== lease) return;
    entry.instance = silent(entry);
    this.#touch(entry, 'lease');
  }

  #forget(service: string): void {
    if (!this.table.forget(service)) return;
    this.#absentIndex = this.#next();
    this.#tell({ kind: 'absent', index: this.#absentIndex, service });
  }

  #touch(entry: Entry, cause: 'lease' | 'status'): void {
    entry.index = this.#next();
    const service = this.table.services.get(entry.instance.service);
    if (service) service.index = entry.index;
    this.#tell({ kind: 'upsert', index: entry.index, instance: entry.instance, cause });
  }

  #tell(change: Change): void {
    const isStatus = change.kind === 'upsert' && change.cause === 'status';
    if (!isStatus) this.#registeredIndex = change.index;
    this.feed.publish(change);
    this.waiters.wake(change.kind === 'absent' ? change.service : change.instance.service);
    if (!isStatus) this.waiters.wake(ANY_SERVICE);
  }

  #next(): number {
    this.#index++;
    this.#options.onIndex(this.#index);
    return this.#index;
  }
}

/**
 * Consul leaves a service registered however long its check is critical, unless told otherwise, and its clients rely on
 * it: some do not register again.
 */
function expires({ origin }: Registration): boolean {
  return origin?.dialect !== 'consul';
}

function silent({ registration: { instance, ttlMs } }: Entry): Entry['instance'] {
  const stateReason = `no heartbeat within its ttl of ${formatDuration(ttlMs ?? 0)}`;
  return { ...instance, state: 'down', stateReason };
}
