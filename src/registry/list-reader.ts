import { type Clock, sleep } from '../core/clock.ts';
import type { Instance } from '../core/instance.ts';
import type { Interest, RegistryBackend } from './backend.ts';
import type { TableEvent } from './table.ts';

/** What a second read found. */
export interface Reading {
  readonly listed: ReadonlyMap<string, readonly Instance[]>;
  /** Services of which the watch told something while the read was under way: the read may be the older of the two. */
  readonly touched: ReadonlySet<string>;
}

export interface ReadTarget {
  /** The services that are other in the list than in the table; of `only`, where it is given. */
  differences(listed: ReadonlyMap<string, readonly Instance[]>, only?: ReadonlySet<string>): string[];
}

/** Authoritative reads beside a watch that goes on. */
export class ListReader {
  lists = 0;
  failures = 0;
  readonly #backend: RegistryBackend;
  readonly #interest: Interest;
  readonly #clock: Clock;
  readonly #listMs: number;
  readonly #open = new Set<Set<string>>();

  constructor(backend: RegistryBackend, interest: Interest, clock: Clock, listMs: number) {
    this.#backend = backend;
    this.#interest = interest;
    this.#clock = clock;
    this.#listMs = listMs;
  }

  /** To be called with every service that the watch tells of. */
  touch(service: string): void {
    for (const touched of this.#open) touched.add(service);
  }

  /** Rejects as `backend.list` does, and when it takes too long or is aborted, whether or not the backend listens. */
  async read(services: ReadonlySet<string> | undefined, signal: AbortSignal): Promise<Reading> {
    const touched = new Set<string>();
    this.#open.add(touched);
    try {
      return { listed: await this.#list(services, signal), touched };
    } finally {
      this.#open.delete(touched);
    }
  }

  /**
   * Reads everything, and answers what would make the target agree. A service counts only if the watch stayed silent
   * about it during the read and for `settleMs` after it: till then it may merely be late.
   */
  async differences(
    target: ReadTarget,
    settleMs: number,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, TableEvent>> {
    const touched = new Set<string>();
    this.#open.add(touched);
    try {
      const listed = await this.#list(undefined, signal);
      const suspects = new Set(target.differences(listed).filter((service) => !touched.has(service)));
      if (suspects.size === 0) return new Map();
      await sleep(this.#clock, settleMs, signal);
      const differing = target.differences(listed, suspects).filter((service) => !touched.has(service));
      return new Map(differing.map((service) => [service, asEvent(service, listed.get(service))]));
    } finally {
      this.#open.delete(touched);
    }
  }

  async #list(services: ReadonlySet<string> | undefined, signal: AbortSignal): Promise<Reading['listed']> {
    const controller = new AbortController();
    const ended = Promise.withResolvers<never>();
    const end = (error: Error): void => {
      ended.reject(error);
      controller.abort(error);
    };
    const giveUp = (): void => end(new Error('the read was given up'));
    const late = `the ${this.#backend.type} list was not complete after ${this.#listMs} ms`;
    const cancelLate = this.#clock.after(this.#listMs, () => end(new Error(late)));
    signal.addEventListener('abort', giveUp, { once: true });
    this.lists += 1;
    try {
      if (signal.aborted) giveUp();
      const wanted: Interest = services ? { kind: 'services', names: services } : this.#interest;
      return await Promise.race([ended.promise, this.#backend.list(wanted, controller.signal)]);
    } catch (error) {
      this.failures += 1;
      throw error;
    } finally {
      cancelLate();
      signal.removeEventListener('abort', giveUp);
    }
  }
}

export function asEvent(service: string, instances: readonly Instance[] | undefined): TableEvent {
  return instances ? { kind: 'reset', service, instances } : { kind: 'absent', service };
}
