import { READ_BUFFER_BYTES, type Transport, type TransportSink } from '../../src/http1/transport.ts';
import type { WriteBatch } from '../../src/http1/write-batch.ts';

interface Pending {
  /** The memory that was handed over, and what it held then. */
  readonly lent: Buffer;
  readonly copy: Buffer;
}

/** As on bare handles, all connections share one buffer, and nothing in it survives the call. */
const shared = Buffer.alloc(READ_BUFFER_BYTES);
const SCRIBBLE = 0xdb;

/**
 * A connection in memory that is as unkind as a real one may be: what was read is scribbled over at once, a write may
 * stay pending, and memory that is touched while it is lent to a pending write is found out.
 */
export class MemoryTransport implements Transport {
  sink: TransportSink;
  batch: WriteBatch | undefined = undefined;
  readonly remoteAddress = '127.0.0.1';
  readonly remotePort = 40_000;
  readonly localPort = 8080;
  readonly encrypted = false;
  destroyed = false;
  /** Sent FIN. */
  ended = false;
  /** Ended by RST. */
  wasReset = false;
  reading = false;
  /** All that has left, a character for each byte. */
  sent = '';
  /** Asked at each write; true = it stays pending until `drain`. */
  pends: () => boolean = () => false;
  #pending: Pending[] = [];
  #inbox: (Buffer | 'end')[] = [];
  #buffer: Buffer = shared;
  #pumping = false;

  constructor(sink: TransportSink) {
    this.sink = sink;
  }

  get writing(): boolean {
    return this.#pending.length > 0;
  }

  /** Whether something waits to be read. */
  get waiting(): boolean {
    return this.#inbox.length > 0 && !this.destroyed;
  }

  write(buffer: Buffer, start: number, end: number): boolean {
    if (this.batch) this.batch.flush();
    if (this.destroyed || this.ended) return true;
    if (start < 0 || end > buffer.length || start >= end) throw new Error(`write of [${start}, ${end})`);
    const lent = buffer.subarray(start, end);
    const copy = Buffer.from(lent);
    if (this.#pending.length > 0 || this.pends()) {
      this.#pending.push({ lent, copy });
      return false;
    }
    this.sent += copy.toString('latin1');
    return true;
  }

  resume(): void {
    this.reading = true;
  }

  pause(): void {
    this.reading = false;
  }

  readInto(own: Buffer | undefined): void {
    this.#buffer = own ?? shared;
  }

  end(): void {
    if (this.batch) this.batch.flush();
    if (!this.destroyed) this.ended = true;
  }

  destroy(): void {
    this.#close(undefined);
  }

  reset(): void {
    if (!this.destroyed) this.wasReset = true;
    this.#close(undefined);
  }

  /** The peer sends these bytes: in one read, unless they are more than a read takes. */
  arrive(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; at += READ_BUFFER_BYTES)
      this.#inbox.push(bytes.subarray(at, at + READ_BUFFER_BYTES));
    this.pump();
  }

  /** The peer sends FIN. */
  arriveEnd(): void {
    this.#inbox.push('end');
    this.pump();
  }

  /** The connection breaks. */
  breakOff(code = 'ECONNRESET'): void {
    this.#close(code);
  }

  /** What is pending leaves now. */
  drain(): void {
    const pending = this.#pending;
    if (pending.length === 0 || this.destroyed) return;
    this.#pending = [];
    for (const { lent, copy } of pending) {
      if (!lent.equals(copy)) throw new Error('memory that was lent to a pending write has been written over');
      this.sent += copy.toString('latin1');
    }
    this.sink.onDrain();
  }

  /** Hands on what has arrived, as far as it is wanted. */
  pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    while (this.reading && !this.destroyed) {
      const next = this.#inbox.shift();
      if (next === undefined) break;
      if (next === 'end') {
        this.reading = false;
        this.sink.onEnd();
        break;
      }
      const into = this.#buffer;
      next.copy(into);
      this.sink.onBytes(into, 0, next.length);
      if (into === shared) shared.fill(SCRIBBLE, 0, next.length);
    }
    this.#pumping = false;
  }

  #close(code: string | undefined): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.#inbox = [];
    this.#pending = [];
    queueMicrotask(() => {
      this.sink.onClose(code);
    });
  }
}
