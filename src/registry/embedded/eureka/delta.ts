import type { Clock } from '../../../core/clock.ts';
import type { Change } from '../changes.ts';
import type { EmbeddedRegistry } from '../registry.ts';
import { everything, hashOf, type Item, itemOf } from './lists.ts';

/** Clients are told what happened in this time, however often they ask: retentionTimeInMSInDeltaQueue. */
const RETENTION_MS = 180_000;
/** Reads closer together than this share a mark. */
const MARK_MS = 5000;

/**
 * The last three minutes of the registry, out of the changes that it remembers anyway. Only the moments are kept here:
 * at which index the registry stood when a delta was asked for, a mark each five seconds.
 */
export class Delta {
  readonly #registry: EmbeddedRegistry;
  readonly #clock: Clock;
  #marks: { readonly atMs: number; readonly index: number }[] = [];

  #hash: { readonly index: number; readonly text: string } | undefined;

  constructor(registry: EmbeddedRegistry, clock: Clock) {
    this.#registry = registry;
    this.#clock = clock;
  }

  /** Of everything that is registered: it cannot change unless that does. */
  hash(): string {
    const index = this.#registry.registeredIndex;
    if (this.#hash?.index !== index) this.#hash = { index, text: hashOf(everything(this.#registry)) };
    return this.#hash.text;
  }

  /** Oldest first, each instance once, as it is now. Undefined: more happened than is remembered. */
  read(): readonly Item[] | undefined {
    const start = this.#startIndex();
    const changes = start === undefined ? this.#registry.sinceStart() : this.#registry.since(start);
    if (!changes) return undefined;
    const latest = new Map<string, Item>();
    for (const change of changes) {
      const item = this.#itemOf(change);
      if (!item) continue;
      const key = `${item.instance.service}/${item.instance.id}`;
      latest.delete(key);
      latest.set(key, item);
    }
    return [...latest.values()];
  }

  /** An index that was reached three minutes ago or earlier, where one is known. */
  #startIndex(): number | undefined {
    const nowMs = this.#clock.now();
    const last = this.#marks.at(-1);
    if (!last || nowMs - last.atMs >= MARK_MS) this.#marks.push({ atMs: nowMs, index: this.#registry.index });
    // The oldest mark but one is old enough: the oldest says nothing more.
    while (this.#marks[1] && nowMs - this.#marks[1].atMs >= RETENTION_MS) this.#marks.shift();
    const [oldest] = this.#marks;
    return oldest && nowMs - oldest.atMs >= RETENTION_MS ? oldest.index : undefined;
  }

  #itemOf(change: Change): Item | undefined {
    if (change.kind === 'absent' || (change.kind === 'upsert' && change.cause === 'status')) return undefined;
    const { instance } = change;
    const entry = this.#registry.find(instance);
    if (entry) return itemOf(entry, 'MODIFIED');
    // Gone by now: the change that says so follows.
    if (change.kind === 'upsert') return undefined;
    return { instance, registration: { instance, ttlMs: undefined, origin: change.origin }, action: 'DELETED' };
  }
}
