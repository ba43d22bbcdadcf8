/** The documented way: any `net.Socket`, TLS included. Slower than a bare handle, and right everywhere. */
import net from 'node:net';
import tls from 'node:tls';
import type { Transport, TransportSink } from './transport.ts';
import type { WriteBatch } from './write-batch.ts';

export class SocketTransport implements Transport {
  sink: TransportSink;
  batch: WriteBatch | undefined = undefined;
  readonly encrypted: boolean;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localPort: number;
  readonly #socket: net.Socket;
  #pendingWrites = 0;
  #code: string | undefined;
  #closed = false;
  #ended = false;

  constructor(socket: net.Socket, sink: TransportSink) {
    this.#socket = socket;
    this.sink = sink;
    this.encrypted = socket instanceof tls.TLSSocket;
    this.remoteAddress = socket.remoteAddress ?? '';
    this.remotePort = socket.remotePort ?? 0;
    this.localPort = socket.localPort ?? 0;
    socket.setNoDelay(true);
    socket.pause();
    socket.on('data', (bytes: Buffer) => {
      this.sink.onBytes(bytes, 0, bytes.length);
    });
    socket.on('end', () => {
      this.sink.onEnd();
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#code ??= error.code ?? error.message;
    });
    socket.on('close', () => {
      if (this.#closed) return;
      this.#closed = true;
      this.sink.onClose(this.#code);
    });
  }

  get destroyed(): boolean {
    return this.#socket.destroyed;
  }

  get writing(): boolean {
    return this.#pendingWrites > 0;
  }

  write(buffer: Buffer, start: number, end: number): boolean {
    if (this.batch) this.batch.flush();
    if (this.#socket.destroyed || this.#ended) return true;
    this.#pendingWrites++;
    // The stream's callback comes a tick later even where the kernel has taken everything at once: always pending.
    this.#socket.write(buffer.subarray(start, end), () => {
      this.#pendingWrites--;
      if (this.#pendingWrites === 0 && !this.#socket.destroyed) this.sink.onDrain();
    });
    return false;
  }

  resume(): void {
    this.#socket.resume();
  }

  pause(): void {
    this.#socket.pause();
  }

  readInto(): void {
    // The stream layer gives every chunk memory of its own.
  }

  end(): void {
    if (this.batch) this.batch.flush();
    if (this.#ended) return;
    this.#ended = true;
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  reset(): void {
    if (this.encrypted) this.#socket.destroy();
    else this.#socket.resetAndDestroy();
  }
}

export interface ConnectOptions {
  readonly address: string;
  readonly port: number;
  /** Present: speak TLS. */
  readonly tls?: tls.ConnectionOptions | undefined;
}

/** As `connectHandle`, over the stream layer, and with TLS where asked. */
export function connectSocket(
  options: ConnectOptions,
  sink: TransportSink,
  done: (transport: SocketTransport | undefined, code: string | undefined) => void,
): () => void {
  let settled = false;
  const where = { host: options.address, port: options.port, allowHalfOpen: true };
  const socket = options.tls ? tls.connect({ ...options.tls, ...where }) : net.connect(where);
  const fail = (error: NodeJS.ErrnoException): void => {
    if (settled) return;
    settled = true;
    socket.destroy();
    done(undefined, error.code ?? error.message);
  };
  socket.once('error', fail);
  socket.once(options.tls ? 'secureConnect' : 'connect', () => {
    if (settled) return;
    settled = true;
    socket.off('error', fail);
    done(new SocketTransport(socket, sink), undefined);
  });
  return () => {
    if (settled) return;
    settled = true;
    socket.on('error', () => undefined);
    socket.destroy();
  };
}
