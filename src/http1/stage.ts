import type { Transport } from './transport.ts';
import { forgetViews } from './views.ts';

/**
 * Memory in which messages are put together before they are written. Nearly every write is taken by the kernel at
 * once, and the next message then uses the same memory again; what stays pending keeps just its own bytes pinned.
 */
export class Stage {
  buffer: Buffer;
  /** Where the next message begins. */
  start = 0;
  /** Up to here bytes are in pending writes. */
  #pinned = 0;
  readonly #bytes: number;

  constructor(bytes = 524_288) {
    this.#bytes = bytes;
    this.buffer = Buffer.allocUnsafeSlow(bytes);
  }

  /** Makes sure of `bytes` of room from `start` on, which may move `buffer` and `start`. */
  reserve(bytes: number): void {
    if (this.start + bytes <= this.buffer.length) return;
    // The old memory lives for as long as a write or a batch holds it.
    forgetViews();
    this.buffer = Buffer.allocUnsafeSlow(Math.max(this.#bytes, bytes));
    this.start = 0;
    this.#pinned = 0;
  }

  /** Writes the message that ends at `end`. Returns what `Transport.write` does; what is pending stays put. */
  send(to: Transport, end: number): boolean {
    const taken = to.write(this.buffer, this.start, end);
    if (!taken) this.pin(end);
    return taken;
  }

  /** The same with bytes that are only good for now: they are copied first. */
  sendCopy(to: Transport, buffer: Buffer, start: number, end: number): boolean {
    this.reserve(end - start);
    return this.send(to, this.start + buffer.copy(this.buffer, this.start, start, end));
  }

  /** The bytes up to `end` are in a pending write: they are not used again. */
  pin(end: number): void {
    this.start = end;
    this.#pinned = end;
  }

  /** The bytes up to `end` wait in a batch for the end of the turn. */
  keep(end: number): void {
    this.start = end;
  }

  /** The batch has been written; `taken`: all of it is with the kernel. */
  flushed(taken: boolean): void {
    if (taken) this.start = this.#pinned;
    else this.#pinned = this.start;
  }
}
