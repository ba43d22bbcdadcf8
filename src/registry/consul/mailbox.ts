import type { RegistryEvent } from '../backend.ts';

/** The whole truth about one service: a later one makes an earlier one pointless. */
export type Truth = Extract<RegistryEvent, { kind: 'reset' | 'absent' }> & {
  /** Of another history than the truths before it: the index went backwards. */
  readonly restarted?: boolean;
};

type Synced = Extract<RegistryEvent, { kind: 'synced' }>;

/**
 * What many loops have found, for one reader. Keeps only the newest truth per service, so that a slow reader is told
 * less and not later, and the box never holds more than the services there are.
 */
export class Mailbox {
  readonly #truths = new Map<string, Truth>();
  #synced: Synced | undefined;
  #failure: { readonly error: unknown } | undefined;
  #wake: (() => void) | undefined;

  put(truth: Truth): void {
    const restarted = truth.restarted === true || this.#truths.get(truth.service)?.restarted === true;
    this.#truths.set(truth.service, restarted ? { ...truth, restarted } : truth);
    this.#wake?.();
  }

  /** Told after every truth that was put before. */
  sync(revision: string | undefined): void {
    this.#synced = { kind: 'synced', revision };
    this.#wake?.();
  }

  /** Ends the reading, before anything that was not read yet. The first one counts. */
  fail(error: unknown): void {
    this.#failure ??= { error };
    this.#wake?.();
  }

  async *read(): AsyncGenerator<Truth | Synced, void, undefined> {
    while (true) {
      if (this.#failure) throw this.#failure.error;
      const event = this.#next();
      if (event) yield event;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  #next(): Truth | Synced | undefined {
    for (const truth of this.#truths.values()) {
      this.#truths.delete(truth.service);
      return truth;
    }
    const synced = this.#synced;
    this.#synced = undefined;
    return synced;
  }
}
