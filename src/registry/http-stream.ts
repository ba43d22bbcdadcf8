import type { IncomingMessage } from 'node:http';
import type { Clock } from '../core/clock.ts';
import { Deadline } from './deadline.ts';

export class TooLarge extends Error {
  override readonly name = 'TooLarge';
}

interface StreamContext {
  readonly endpoint: string;
  readonly clock: Clock;
  readonly explain: (cause: unknown) => Error;
  readonly idleMs: number;
  readonly maxBodyBytes: number;
  readonly signal: AbortSignal;
}

/** A response whose body is still to be read, once: as `lines` or as `body`. */
export class ResponseStream {
  readonly #response: IncomingMessage;
  readonly #context: StreamContext;
  #broken: unknown;

  constructor(response: IncomingMessage, context: StreamContext) {
    this.#response = response;
    this.#context = context;
    // It may break before anyone reads; the reader is told then.
    response.on('error', (error) => (this.#broken ??= error));
  }

  get status(): number {
    return this.#response.statusCode ?? 0;
  }

  /** Who answered: state that belongs to one server (a Consul index) ends when this changes. */
  get endpoint(): string {
    return this.#context.endpoint;
  }

  /** By lower-case name; repeated fields are joined with commas. */
  header(name: string): string | undefined {
    const value = this.#response.headers[name];
    return Array.isArray(value) ? value.join(', ') : value;
  }

  /** Reads to the end. Throws on a break, on silence for `idleMs`, and above `maxBodyBytes`. */
  async body(): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of this.#chunks()) {
      size += chunk.length;
      if (size > this.#context.maxBodyBytes) {
        throw this.#context.explain(new TooLarge(`its answer is larger than ${this.#context.maxBodyBytes} bytes`));
      }
      chunks.push(chunk);
    }
    return Buffer.concat(chunks, size);
  }

  /**
   * Line by line, without line ends and without empty lines. Ends where the body ends; throws when it breaks, when a
   * line outgrows `maxBodyBytes`, and on silence for `idleMs`. Leaving the loop early lets go of the connection.
   */
  async *lines(): AsyncGenerator<string, void, undefined> {
    let parts: Buffer[] = [];
    let size = 0;
    for await (const chunk of this.#chunks()) {
      let from = 0;
      for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
        const line = Buffer.concat([...parts, chunk.subarray(from, end)]).toString('utf8');
        from = end + 1;
        parts = [];
        size = 0;
        if (line.trim() !== '') yield line;
      }
      parts.push(chunk.subarray(from));
      size += chunk.length - from;
      if (size > this.#context.maxBodyBytes) {
        throw this.#context.explain(
          new TooLarge(`a line of its answer is larger than ${this.#context.maxBodyBytes} bytes`),
        );
      }
    }
    const rest = Buffer.concat(parts).toString('utf8');
    if (rest.trim() !== '') yield rest;
  }

  /** Lets go of the connection. Idempotent; needed only where the body is not read to its end. */
  close(): void {
    this.#response.destroy();
  }

  async *#chunks(): AsyncGenerator<Buffer, void, undefined> {
    const { clock, explain, idleMs, signal } = this.#context;
    const deadline = new Deadline(clock, (passed) => this.#response.destroy(passed));
    const chunks = this.#response[Symbol.asyncIterator]() as AsyncIterator<Buffer, undefined>;
    try {
      while (true) {
        // Armed only while we wait: time the reader takes is not the server's silence.
        deadline.set('data', idleMs);
        const next = await chunks.next();
        deadline.clear();
        if (next.done === true) return;
        yield next.value;
      }
    } catch (error) {
      signal.throwIfAborted();
      throw explain(this.#broken ?? error);
    } finally {
      deadline.clear();
      await chunks.return?.();
    }
  }
}
