import type { Clock } from '../../../core/clock.ts';
import type { EmbeddedRegistry } from '../registry.ts';
import { ChangeTexts } from './change-texts.ts';
import type { StatusOf } from './views.ts';
import { WatchStream } from './watch-stream.ts';

export interface WatchersOptions {
  readonly registry: EmbeddedRegistry;
  readonly clock: Clock;
  readonly statusOf: StatusOf | undefined;
  readonly limit: number;
  readonly maxBufferedBytes: number;
  readonly keepAliveMs: number;
}

/** The watchers of `GET /watch`: bounded in number, kept alive by one timer, ended with the registry. */
export class Watchers {
  readonly #options: WatchersOptions;
  readonly #texts: ChangeTexts;
  readonly #streams = new Set<WatchStream>();
  #timed = false;
  #cutOff = 0;

  constructor(options: WatchersOptions) {
    this.#options = options;
    this.#texts = new ChangeTexts(options.registry, options.statusOf);
    options.registry.closing.addEventListener('abort', () => {
      for (const stream of this.#streams) stream.close();
    });
  }

  get size(): number {
    return this.#streams.size;
  }

  /** How many did not read fast enough. */
  get cutOff(): number {
    return this.#cutOff;
  }

  /** Undefined: there are too many already. */
  open(
    services: ReadonlySet<string> | undefined,
    lastIndex: number | undefined,
    breakConnection: (() => void) | undefined,
  ): ReadableStream<Uint8Array> | undefined {
    const { registry, statusOf, maxBufferedBytes, limit } = this.#options;
    if (this.#streams.size >= limit || registry.closing.aborted) return undefined;
    const watch = new WatchStream({
      registry,
      texts: this.#texts,
      statusOf,
      services,
      lastIndex,
      maxBufferedBytes,
      breakConnection,
      onEnd: (reason) => {
        if (reason === 'slow') this.#cutOff++;
        this.#streams.delete(watch);
      },
    });
    this.#streams.add(watch);
    this.#keepAlive();
    return watch.stream;
  }

  #keepAlive(): void {
    if (this.#timed || this.#streams.size === 0) return;
    this.#timed = true;
    this.#options.clock.after(this.#options.keepAliveMs, () => {
      this.#timed = false;
      for (const stream of this.#streams) stream.keepAlive();
      this.#keepAlive();
    });
  }
}
