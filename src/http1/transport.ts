import type { WriteBatch } from './write-batch.ts';

/**
 * Bytes in and out of one connection. Two implementations share this contract: `handle-transport.ts` (a TCP handle
 * without the stream layer over it) and `socket-transport.ts` (any `net.Socket`, TLS included).
 */
export interface TransportSink {
  /**
   * Bytes have arrived in `buffer[start, end)`. They must be consumed or copied before returning: the memory is
   * shared by every connection unless `readInto` said otherwise.
   */
  onBytes(buffer: Buffer, start: number, end: number): void;
  /** The peer will send nothing more. */
  onEnd(): void;
  /** Every write that was pending has left; its memory may be used again. */
  onDrain(): void;
  /** The connection is gone. The last call, exactly once. `code` is an errno name, or undefined after a plain close. */
  onClose(code: string | undefined): void;
}

export interface Transport {
  /** Who is told. May be changed at any time; never undefined while reading. */
  sink: TransportSink;
  /** Has bytes of this connection that go out before anything else does. */
  batch: WriteBatch | undefined;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localPort: number;
  readonly encrypted: boolean;
  readonly destroyed: boolean;
  /** Whether a write is pending. */
  readonly writing: boolean;
  /**
   * Sends `buffer[start, end)`. True: all of it is with the kernel and the memory is free again. False: some of it is
   * pending, and the memory must not be touched until `onDrain`. Errors arrive through `onClose`.
   */
  write(buffer: Buffer, start: number, end: number): boolean;
  /** Begins to read, or goes on after `pause`. */
  resume(): void;
  /** Stops reading: the kernel's buffer fills, and the peer is held back. */
  pause(): void;
  /**
   * From the next read on, bytes arrive in this buffer, which then belongs to this connection alone, so that it can
   * be written on without a copy; `undefined` goes back to the shared one.
   */
  readInto(own: Buffer | undefined): void;
  /** Sends FIN after what is pending. Reading goes on. */
  end(): void;
  /** Closes at once; what is pending is lost. */
  destroy(): void;
  /** Closes at once with RST, so that the peer cannot mistake it for a clean end. */
  reset(): void;
}

/** Size of the read buffer that all connections share, and of the buffers handed to `readInto`. */
export const READ_BUFFER_BYTES = 65_536;
