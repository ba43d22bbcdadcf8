import type { Instance } from '../../core/instance.ts';
import type { Origin } from './origin.ts';
import { type RegistryLog, reasonOf } from './report.ts';

export type RemovalReason = 'deregistered' | 'expired' | 'replaced';

/** One change of the table, told after it is durable and visible. */
export type Change =
  | {
      readonly kind: 'upsert';
      readonly index: number;
      readonly instance: Instance;
      /** `lease`: a heartbeat was missed, or came after all. `status`: only what the gateway says of it has changed. */
      readonly cause: 'registered' | 'lease' | 'status';
    }
  | {
      readonly kind: 'remove';
      readonly index: number;
      readonly instance: Instance;
      readonly reason: RemovalReason;
      readonly origin: Origin | undefined;
    }
  /** Empty for long enough: the service is forgotten. */
  | { readonly kind: 'absent'; readonly index: number; readonly service: string };

export function serviceOf(change: Change): string {
  return change.kind === 'absent' ? change.service : change.instance.service;
}

/** Tells listeners of every change, in order, and remembers the last ones for those who come back. */
export class ChangeFeed {
  readonly #listeners = new Set<(change: Change) => void>();
  readonly #history: Change[] = [];
  readonly #limit: number;
  readonly #log: RegistryLog;
  #start = 0;
  /** Changes up to here are not remembered. */
  #forgottenIndex: number;
  #hasForgotten = false;

  /** Changes before `firstIndex` were never seen here. */
  constructor(options: { readonly history: number; readonly firstIndex: number; readonly log: RegistryLog }) {
    this.#limit = options.history;
    this.#forgottenIndex = options.firstIndex - 1;
    this.#log = options.log;
  }

  /** The listener must be quick: it runs within the change. Returns a function that ends it (idempotent). */
  subscribe(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  publish(change: Change): void {
    this.#remember(change);
    for (const listener of this.#listeners) {
      try {
        listener(change);
      } catch (error) {
        this.#log('error', 'a listener failed on a change of the registry', {
          index: change.index,
          reason: reasonOf(error),
        });
      }
    }
  }

  /** Changes after the index, oldest first; undefined when some of them are forgotten. */
  since(index: number): readonly Change[] | undefined {
    if (index < this.#forgottenIndex) return undefined;
    return [...this.#history.slice(this.#start), ...this.#history.slice(0, this.#start)].filter(
      (change) => change.index > index,
    );
  }

  /** All changes there have been, oldest first; undefined when some of them are forgotten. */
  sinceStart(): readonly Change[] | undefined {
    return this.#hasForgotten ? undefined : this.#history.slice();
  }

  /** A ring: the oldest is overwritten. */
  #remember(change: Change): void {
    if (this.#limit === 0) {
      this.#forgottenIndex = change.index;
      this.#hasForgotten = true;
      return;
    }
    if (this.#history.length < this.#limit) {
      this.#history.push(change);
      return;
    }
    this.#hasForgotten = true;
    this.#forgottenIndex = this.#history[this.#start]?.index ?? this.#forgottenIndex;
    this.#history[this.#start] = change;
    this.#start = (this.#start + 1) % this.#limit;
  }
}
