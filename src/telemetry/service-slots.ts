import type { Clock } from '../core/clock.ts';

/** Requests that reached no service: an unknown host, a malformed head. */
export const NO_SERVICE = 0;
/** Every service beyond the capacity, together. */
export const OTHER_SERVICES = 1;

const RESERVED = ['(none)', '(other)'];

/**
 * Which row belongs to which service, and the bound on values of the `service` label. A name keeps its row for
 * `lingerMs` after it was released, so that its last counts are scraped before they go, and a service that comes
 * back meanwhile goes on counting.
 */
export class ServiceSlots {
  readonly capacity: number;
  readonly #clock: Clock;
  readonly #lingerMs: number;
  readonly #byName = new Map<string, number>();
  readonly #nameAt: (string | undefined)[] = [...RESERVED];
  readonly #free: number[] = [];
  /** In the order of release. */
  readonly #releasedAt = new Map<string, number>();
  readonly #crowdedOut = new Set<string>();

  /** `capacity` counts the two reserved rows. */
  constructor({
    clock,
    capacity,
    lingerMs,
  }: {
    readonly clock: Clock;
    readonly capacity: number;
    readonly lingerMs: number;
  }) {
    if (capacity <= RESERVED.length) throw new RangeError('no capacity for a service');
    this.#clock = clock;
    this.capacity = capacity;
    this.#lingerMs = lingerMs;
  }

  /** Services that count as `(other)` because every row was taken when they came. */
  get crowdedOut(): number {
    return this.#crowdedOut.size;
  }

  /** The row of a service, and whether it has been another's before, so that it has to be cleared. */
  acquire(name: string): { readonly slot: number; readonly fresh: boolean } {
    const known = this.#byName.get(name);
    if (known !== undefined) {
      this.#releasedAt.delete(name);
      return { slot: known, fresh: false };
    }
    this.reclaim();
    const slot = this.#unused();
    if (slot === undefined) {
      // Bounded all the same: who asks for rows is the fleet, which has a bound of its own, but a name costs memory.
      if (this.#crowdedOut.size < this.capacity) this.#crowdedOut.add(name);
      return { slot: OTHER_SERVICES, fresh: false };
    }
    this.#crowdedOut.delete(name);
    this.#byName.set(name, slot);
    // What was never touched stays so: there may be rows for tens of thousands of services on every thread.
    const fresh = slot < this.#nameAt.length;
    this.#nameAt[slot] = name;
    return { slot, fresh };
  }

  /** The row of a service that has one of its own. */
  find(name: string): number | undefined {
    return this.#byName.get(name);
  }

  release(name: string): void {
    this.#crowdedOut.delete(name);
    if (this.#byName.has(name) && !this.#releasedAt.has(name)) this.#releasedAt.set(name, this.#clock.now());
  }

  /** Whether the service came when every row was taken, so that it counts as `(other)`. */
  isCrowdedOut(name: string): boolean {
    return this.#crowdedOut.has(name);
  }

  /** Every row in use with its label, the reserved ones included. */
  *entries(): Generator<readonly [slot: number, label: string]> {
    for (let slot = 0; slot < this.#nameAt.length; slot++) {
      const name = this.#nameAt[slot];
      if (name !== undefined) yield [slot, name];
    }
  }

  /** Frees the rows of services that have been gone for long enough. */
  reclaim(): void {
    const goneBefore = this.#clock.now() - this.#lingerMs;
    for (const [name, releasedAtMs] of this.#releasedAt) {
      if (releasedAtMs > goneBefore) break;
      this.#reclaim(name);
    }
  }

  #unused(): number | undefined {
    const free = this.#free.shift();
    if (free !== undefined) return free;
    if (this.#nameAt.length < this.capacity) return this.#nameAt.length;
    // A service that is here matters more than the last counts of one that has gone.
    const [oldest] = this.#releasedAt.keys();
    if (oldest === undefined) return undefined;
    this.#reclaim(oldest);
    return this.#free.shift();
  }

  #reclaim(name: string): void {
    const slot = this.#byName.get(name);
    this.#releasedAt.delete(name);
    if (slot === undefined) return;
    this.#byName.delete(name);
    this.#nameAt[slot] = undefined;
    this.#free.push(slot);
  }
}
