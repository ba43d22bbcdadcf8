import type { OnSkip } from './backend.ts';

export interface Skip {
  readonly service: string;
  readonly id: string;
  readonly why: string;
  readonly wallMs: number;
}

const REMEMBERED = 1000;
const SHOWN = 20;

/**
 * Registrations that were left out. A registry repeats its bad ones at every read: each is passed on once, and again
 * when the reason changes or when it was long ago.
 */
export class SkipLog {
  count = 0;
  readonly #known = new Map<string, Skip>();
  readonly #wall: () => number;
  readonly #forward: OnSkip;

  constructor(wall: () => number, forward: OnSkip) {
    this.#wall = wall;
    this.#forward = forward;
  }

  readonly add: OnSkip = ({ service, id, why }) => {
    this.count += 1;
    const skip = { service: cut(service, 128), id: cut(id, 128), why: cut(why, 500), wallMs: this.#wall() };
    const key = `${skip.service}\n${skip.id}`;
    const isNews = this.#known.get(key)?.why !== skip.why;
    // The oldest goes first, so that what happens now can be seen.
    this.#known.delete(key);
    this.#known.set(key, skip);
    if (this.#known.size > REMEMBERED) for (const oldest of this.#known.keys()) if (this.#known.delete(oldest)) break;
    if (isNews) this.#forward({ service: skip.service, id: skip.id, why: skip.why });
  };

  /** The latest ones, newest first. */
  recent(): readonly Skip[] {
    return [...this.#known.values()].slice(-SHOWN).reverse();
  }
}

function cut(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length)}…` : text;
}
