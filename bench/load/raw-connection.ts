import { connect, type Socket } from 'node:net';

const HEAD_END = Buffer.from('\r\n\r\n', 'latin1');
const HEAD_LIMIT_BYTES = 16 * 1024;

/** One buffer for all connections of the process: what arrives is consumed before the callback returns. */
const shared = Buffer.allocUnsafeSlow(256 * 1024);

/** Called synchronously. After `onLost` the connection is never used again and calls nothing more. */
export interface RawConnectionEvents {
  onOpen(connection: RawConnection): void;
  /** A whole reply is there; the connection is free for the next request. */
  onReply(connection: RawConnection, status: number): void;
  /** Closed, by whomever but `destroy`; `cause` is what went wrong, undefined after an orderly end. */
  onLost(connection: RawConnection, cause: Error | undefined): void;
}

/**
 * A client connection that costs as little as Node allows, so that the generator is not what is measured: no parser
 * beyond status and Content-Length, no buffer for each read. Replies without Content-Length are an error.
 */
export class RawConnection {
  readonly slot: number;
  readonly #events: RawConnectionEvents;
  readonly #socket: Socket;
  #head: Buffer | undefined;
  #bodyLeft = -1;
  #status = 0;
  #done = false;

  constructor(slot: number, port: number, events: RawConnectionEvents) {
    this.slot = slot;
    this.#events = events;
    const onread = { buffer: shared, callback: (count: number): boolean => this.#onBytes(shared.subarray(0, count)) };
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true, onread });
    this.#socket.on('connect', () => events.onOpen(this));
    this.#socket.on('error', (error) => this.#lose(error));
    this.#socket.on('close', () => this.#lose(undefined));
  }

  /** Of the open socket, for whoever writes to it without an event loop. */
  get fd(): number {
    // Not documented; there is no other way to it.
    const { _handle: handle } = this.#socket as unknown as { readonly _handle?: { readonly fd?: number } };
    if (handle?.fd === undefined || handle.fd < 0) throw new Error(`connection ${this.slot} has no descriptor`);
    return handle.fd;
  }

  send(request: Buffer): void {
    this.#socket.write(request);
  }

  /** Resets instead of closing: ten thousand connections would otherwise hold their ports in TIME_WAIT. */
  destroy(): void {
    this.#done = true;
    this.#socket.resetAndDestroy();
  }

  #lose(cause: Error | undefined): void {
    if (this.#done) return;
    this.#done = true;
    this.#socket.destroy();
    this.#events.onLost(this, cause);
  }

  #onBytes(bytes: Buffer): boolean {
    if (this.#done) return true;
    if (this.#bodyLeft === -1) this.#onHeadBytes(bytes);
    else this.#onBodyBytes(bytes.length);
    return true;
  }

  #onHeadBytes(bytes: Buffer): void {
    const all = this.#head ? Buffer.concat([this.#head, bytes]) : bytes;
    const end = all.indexOf(HEAD_END);
    if (end === -1) {
      if (all.length > HEAD_LIMIT_BYTES) this.#lose(new Error('the reply head is longer than 16 KiB'));
      else this.#head = Buffer.from(all);
      return;
    }
    this.#head = undefined;
    const head = all.toString('latin1', 0, end);
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
    if (length === undefined) {
      this.#lose(new Error(`the reply has no Content-Length: ${head}`));
      return;
    }
    this.#status = Number(head.slice(9, 12));
    this.#bodyLeft = Number(length);
    this.#onBodyBytes(all.length - end - HEAD_END.length);
  }

  #onBodyBytes(count: number): void {
    this.#bodyLeft -= count;
    if (this.#bodyLeft > 0) return;
    if (this.#bodyLeft < 0) {
      this.#lose(new Error('bytes after the end of the reply'));
      return;
    }
    this.#bodyLeft = -1;
    this.#events.onReply(this, this.#status);
  }
}
