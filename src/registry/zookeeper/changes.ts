import type { ConnectionListener } from './connection.ts';
import type { WatchEvent } from './messages.ts';
import { placeOf } from './paths.ts';

/** What must be looked at anew. */
export interface Changes {
  readonly base: boolean;
  readonly services: readonly string[];
  /** Each with what its last event was. */
  readonly instances: readonly { readonly service: string; readonly node: string; readonly deleted: boolean }[];
  /** The server gave a sign of life meanwhile. */
  readonly pulse: boolean;
}

/** Instances looked at in one go: a burst must not keep signs of life waiting. */
const BATCH_INSTANCES = 1000;

/**
 * Collects watch events until somebody has time for them. Of several about one node only the last one stays, so the
 * collection is bounded by the number of nodes, and a burst costs what it changed in the end.
 */
export class ChangeCollector implements ConnectionListener {
  readonly #base: string;
  readonly #wanted: (service: string) => boolean;
  #isBase = false;
  #services = new Set<string>();
  readonly #instances = new Map<string, Changes['instances'][number]>();
  #pulse = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(base: string, wanted: (service: string) => boolean) {
    this.#base = base;
    this.#wanted = wanted;
  }

  readonly onPulse = (): void => {
    this.#pulse = true;
    this.#wake?.();
  };

  readonly onLost = (error: Error): void => {
    this.#error = error;
    this.#wake?.();
  };

  readonly onEvent = ({ kind, path }: WatchEvent): void => {
    if (kind === 'session') return;
    const place = placeOf(this.#base, path);
    if (kind === 'removed') {
      // Only the server itself can have taken a watch from us; nothing would be heard of that part any more.
      this.onLost(new Error(`the server removed our watch of ${path}`));
      return;
    }
    if (!place) return;
    if (place.kind === 'base') this.#isBase = true;
    else if (this.#wanted(place.service)) {
      if (place.kind === 'service') this.#services.add(place.service);
      else this.#note(path, { ...place, deleted: kind === 'deleted' });
    }
    this.#wake?.();
  };

  /** Resolves as soon as there is something; rejects, once what came before it is taken, with the loss. */
  async next(): Promise<Changes> {
    while (!this.#isBase && this.#services.size === 0 && this.#instances.size === 0 && !this.#pulse) {
      if (this.#error) throw this.#error;
      await new Promise<void>((resolve) => (this.#wake = resolve));
      this.#wake = undefined;
    }
    if (this.#error) throw this.#error;
    const instances: Changes['instances'][number][] = [];
    for (const [path, change] of this.#instances) {
      if (instances.length === BATCH_INSTANCES) break;
      instances.push(change);
      this.#instances.delete(path);
    }
    const changes = { base: this.#isBase, services: [...this.#services], instances, pulse: this.#pulse };
    this.#isBase = this.#pulse = false;
    this.#services = new Set();
    return changes;
  }

  #note(path: string, change: Changes['instances'][number]): void {
    // Moves to the end: its last event counts, in the order of last events.
    this.#instances.delete(path);
    this.#instances.set(path, change);
  }
}
