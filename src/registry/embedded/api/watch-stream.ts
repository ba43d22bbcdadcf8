import { type Change, serviceOf } from '../changes.ts';
import type { EmbeddedRegistry } from '../registry.ts';
import type { Entry } from '../table.ts';
import { type ChangeTexts, eventText } from './change-texts.ts';
import { type StatusOf, instanceView, statusOf } from './views.ts';

export interface WatchStreamOptions {
  readonly registry: EmbeddedRegistry;
  readonly texts: ChangeTexts;
  readonly statusOf: StatusOf | undefined;
  /** undefined = every service. */
  readonly services: ReadonlySet<string> | undefined;
  /** Index of the last event that the client has seen. */
  readonly lastIndex: number | undefined;
  /** A client that leaves more unread is cut off. */
  readonly maxBufferedBytes: number;
  /** Called once, when the stream is over. `slow`: the client did not read. */
  readonly onEnd: (reason: 'closed' | 'slow') => void;
  /** Breaks the connection of a client that does not read; without it the stream errors. */
  readonly breakConnection: (() => void) | undefined;
}

/** Instances of one service that a `reset` holds; the others follow as `upsert`. */
const RESET_INSTANCES = 500;

/**
 * The server-sent events of one watcher. First what it must know: per service a `reset` with its instances, or, for
 * one that comes back soon enough, the changes it missed; then `synced`, whose id is the index, and every change.
 *
 * Nothing before `synced` carries an id: a client cut off halfway starts over. The snapshot is made service by service
 * as the client reads, so that a slow one costs no memory. A change of a service not yet shown needs no event.
 */
export class WatchStream {
  readonly stream: ReadableStream<Uint8Array>;
  readonly #options: WatchStreamOptions;
  /** What comes before `synced`, made piece by piece. */
  readonly #opening: Iterator<string, undefined>;
  readonly #unsubscribe: () => void;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  /** Services of the snapshot that were not begun yet. */
  #unshown = new Set<string>();
  #synced = false;
  /** Events that wait for the client. */
  #buffered: Buffer[] = [];
  #bufferedBytes = 0;
  /** The client waits for events. */
  #hungry = false;
  #ended = false;

  constructor(options: WatchStreamOptions) {
    this.#options = options;
    const { registry, services, lastIndex } = options;
    const missed = lastIndex === undefined ? undefined : registry.since(lastIndex);
    if (!missed) this.#unshown = new Set(services ?? registry.services.keys());
    this.#opening = missed ? this.#catchUp(missed) : this.#snapshot();
    this.#unsubscribe = registry.subscribe((change) => {
      this.#onChange(change);
    });
    this.stream = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        pull: (controller) => {
          this.#pull(controller);
        },
        cancel: () => {
          this.#end();
        },
      },
      { highWaterMark: 0 },
    );
  }

  keepAlive(): void {
    if (this.#hungry) this.#push(': keep-alive\n\n');
  }

  /** The registry is closing: what is buffered still goes out. */
  close(): void {
    if (this.#ended) return;
    this.#end();
    if (this.#bufferedBytes > 0) this.#controller?.enqueue(this.#takeBuffered());
    this.#controller?.close();
  }

  #onChange(change: Change): void {
    const service = serviceOf(change);
    if (this.#options.services?.has(service) === false || this.#unshown.has(service)) return;
    this.#push(this.#options.texts.of(change, this.#synced ? change.index : undefined));
  }

  /** The client has room. */
  #pull(controller: ReadableStreamDefaultController<Uint8Array>): void {
    if (this.#ended) return;
    // Before the next piece of the snapshot, which is newer than what is buffered.
    if (this.#bufferedBytes > 0) {
      controller.enqueue(this.#takeBuffered());
      return;
    }
    const text = this.#synced ? undefined : this.#opening.next().value;
    if (text === undefined) this.#hungry = true;
    else controller.enqueue(Buffer.from(text));
  }

  *#snapshot(): Generator<string, undefined> {
    const { registry } = this.#options;
    for (const service of this.#unshown) {
      this.#unshown.delete(service);
      const known = registry.services.get(service);
      if (!known) {
        yield eventText('absent', { service });
        continue;
      }
      const entries = [...known.entries.values()];
      const first = entries.slice(0, RESET_INSTANCES).map((entry) => this.#view(entry));
      yield eventText('reset', { service, instances: first });
      for (let at = RESET_INSTANCES; at < entries.length; at += RESET_INSTANCES) {
        // One that has gone meanwhile had an event of its own.
        const current = entries
          .slice(at, at + RESET_INSTANCES)
          .filter((entry) => registry.find(entry.instance) === entry);
        if (current.length > 0) yield current.map((entry) => eventText('upsert', this.#view(entry))).join('');
      }
    }
    yield this.#syncedText();
  }

  *#catchUp(missed: readonly Change[]): Generator<string, undefined> {
    const { services } = this.#options;
    for (const change of missed) {
      if (services?.has(serviceOf(change)) === false) continue;
      const text = this.#options.texts.of(change, undefined);
      if (text !== '') yield text;
    }
    yield this.#syncedText();
  }

  #syncedText(): string {
    this.#synced = true;
    const { index } = this.#options.registry;
    return eventText('synced', { index }, index);
  }

  #view(entry: Readonly<Entry>): Record<string, unknown> {
    return instanceView(entry, statusOf(entry, this.#options.statusOf));
  }

  #push(text: string): void {
    if (text === '' || this.#ended) return;
    const bytes = Buffer.from(text);
    this.#buffered.push(bytes);
    this.#bufferedBytes += bytes.length;
    if (this.#hungry) {
      this.#hungry = false;
      this.#controller?.enqueue(this.#takeBuffered());
    } else if (this.#bufferedBytes > this.#options.maxBufferedBytes) this.#cutOff();
  }

  #takeBuffered(): Buffer {
    const bytes = Buffer.concat(this.#buffered);
    this.#buffered = [];
    this.#bufferedBytes = 0;
    return bytes;
  }

  #cutOff(): void {
    this.#end('slow');
    this.#takeBuffered();
    if (this.#options.breakConnection) this.#options.breakConnection();
    else this.#controller?.error(new Error('the watcher does not read'));
  }

  #end(reason: 'closed' | 'slow' = 'closed'): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#unsubscribe();
    this.#options.onEnd(reason);
  }
}
