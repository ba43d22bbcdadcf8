/**
 * TCP connections on libuv's handles, without `net.Socket` and the stream layer over them, which cost more than the
 * protocol itself (docs/ARCHITECTURE.md, "Undocumented handles"). Everything undocumented of Node is in this file:
 * `available` says whether this Node has it all, and `socket-transport.ts` does the same work where it has not.
 */
import net from 'node:net';
import process from 'node:process';
import { getSystemErrorName } from 'node:util';
import { viewOf } from './views.ts';
import type { WriteBatch } from './write-batch.ts';
import { READ_BUFFER_BYTES, type Transport, type TransportSink } from './transport.ts';

interface WriteRequest {
  oncomplete: (this: WriteRequest, status: number) => void;
  transport: HandleTransport | undefined;
  /** Keeps the memory alive while libuv writes from it. */
  bytes: Uint8Array | undefined;
}

interface ConnectRequest {
  oncomplete: (status: number) => void;
}

interface Handle {
  transport: HandleTransport | undefined;
  /** Of an accepted one: where its listener listens. */
  localPort?: number | undefined;
  onread: (this: Handle) => Uint8Array | undefined;
  useUserBuffer(buffer: Uint8Array): void;
  readStart(): number;
  readStop(): number;
  writeBuffer(request: WriteRequest, bytes: Uint8Array): number;
  shutdown(request: object): number;
  close(done?: () => void): void;
  reset(done?: () => void): number;
  setNoDelay(on: boolean): number;
  setKeepAlive(on: boolean, delaySeconds: number): number;
  getpeername(into: SocketName): number;
  getsockname(into: SocketName): number;
  connect(request: ConnectRequest, address: string, port: number): number;
  connect6(request: ConnectRequest, address: string, port: number): number;
}

interface SocketName {
  address: string;
  family: string;
  port: number;
}

interface Bindings {
  readonly WriteWrap: new () => WriteRequest;
  readonly ShutdownWrap: new () => { oncomplete: () => void };
  readonly TCP: new (kind: number) => Handle;
  readonly TCPConnectWrap: new () => ConnectRequest;
  readonly state: Int32Array;
  readonly readBytesOrError: number;
  readonly lastWriteWasAsync: number;
  readonly socketKind: number;
}

const EOF_STATUS = -4095;

function loadBindings(): Bindings | undefined {
  try {
    const binding = (process as unknown as { binding(name: string): Record<string, unknown> }).binding.bind(process);
    const stream = binding('stream_wrap');
    const tcp = binding('tcp_wrap');
    const found = {
      WriteWrap: stream.WriteWrap,
      ShutdownWrap: stream.ShutdownWrap,
      TCP: tcp.TCP,
      TCPConnectWrap: tcp.TCPConnectWrap,
      state: stream.streamBaseState,
      readBytesOrError: stream.kReadBytesOrError,
      lastWriteWasAsync: stream.kLastWriteWasAsync,
      socketKind: (tcp.constants as { SOCKET?: number } | undefined)?.SOCKET,
    };
    const complete =
      [found.WriteWrap, found.ShutdownWrap, found.TCP, found.TCPConnectWrap].every(
        (item) => typeof item === 'function',
      ) &&
      found.state instanceof Int32Array &&
      [found.readBytesOrError, found.lastWriteWasAsync, found.socketKind].every((item) => typeof item === 'number');
    const prototype = complete ? (found.TCP as { prototype: object }).prototype : {};
    const methods = ['useUserBuffer', 'readStart', 'readStop', 'writeBuffer', 'shutdown', 'close', 'reset', 'connect6'];
    return complete && methods.every((method) => method in prototype) ? (found as Bindings) : undefined;
  } catch {
    // This Node has no such door: the documented API does the work.
    return undefined;
  }
}

const bindings = loadBindings();

/** Whether this Node offers what `HandleTransport` needs. */
export const handlesAvailable: boolean = bindings !== undefined;

const sharedBuffer: Buffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES);

function errnoName(status: number): string {
  return status === EOF_STATUS ? 'EOF' : getSystemErrorName(status);
}

export class HandleTransport implements Transport {
  sink: TransportSink;
  batch: WriteBatch | undefined = undefined;
  readonly encrypted = false;
  destroyed = false;
  readonly #handle: Handle;
  readonly #bindings: Bindings;
  #pendingWrites = 0;
  #reading = false;
  #ended = false;
  #bufferSet = false;
  #buffer: Buffer = sharedBuffer;
  /** The buffer to return to libuv after the current read, where it changes. */
  #nextBuffer: Buffer | undefined;
  #remote: { readonly address: string; readonly port: number } | undefined;

  constructor(handle: unknown, sink: TransportSink) {
    if (!bindings) throw new Error('TCP handles are not available in this Node: use SocketTransport');
    this.#bindings = bindings;
    this.#handle = handle as Handle;
    this.sink = sink;
    this.#handle.transport = this;
    this.#handle.onread = onRead;
    this.#handle.setNoDelay(true);
  }

  get remoteAddress(): string {
    return this.#peer().address;
  }

  get remotePort(): number {
    return this.#peer().port;
  }

  get localPort(): number {
    const handle = this.#handle;
    return (handle.localPort ??= nameOf((into) => handle.getsockname(into)).port);
  }

  get writing(): boolean {
    return this.#pendingWrites > 0;
  }

  write(buffer: Buffer, start: number, end: number): boolean {
    if (this.batch) this.batch.flush();
    if (this.destroyed || this.#ended) return true;
    const request = spareRequest ?? newWriteRequest(this.#bindings);
    spareRequest = undefined;
    const bytes = viewOf(buffer, start, end);
    const status = this.#handle.writeBuffer(request, bytes);
    if (status !== 0) {
      spareRequest = request;
      this.#close(errnoName(status));
      return true;
    }
    if (this.#bindings.state[this.#bindings.lastWriteWasAsync] === 0) {
      // libuv has not bound the request: it serves the next write.
      spareRequest = request;
      return this.#pendingWrites === 0;
    }
    request.transport = this;
    request.bytes = bytes;
    this.#pendingWrites++;
    return false;
  }

  resume(): void {
    if (this.#reading || this.destroyed) return;
    if (!this.#bufferSet) {
      this.#bufferSet = true;
      this.#handle.useUserBuffer(this.#buffer);
    }
    const status = this.#handle.readStart();
    if (status !== 0) {
      this.#close(errnoName(status));
      return;
    }
    this.#reading = true;
  }

  pause(): void {
    if (!this.#reading || this.destroyed) return;
    this.#reading = false;
    this.#handle.readStop();
  }

  readInto(own: Buffer | undefined): void {
    this.#nextBuffer = own ?? sharedBuffer;
    if (!this.#bufferSet) this.#buffer = this.#nextBuffer;
  }

  end(): void {
    if (this.batch) this.batch.flush();
    if (this.destroyed || this.#ended) return;
    this.#ended = true;
    const request = new this.#bindings.ShutdownWrap();
    request.oncomplete = ignoreCompletion;
    const status = this.#handle.shutdown(request);
    if (status !== 0) this.#close(errnoName(status));
  }

  destroy(): void {
    this.#close(undefined);
  }

  reset(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    // reset refuses after shutdown; a plain close is then all there is.
    if (this.#ended || this.#handle.reset() !== 0) this.#handle.close();
    this.#announceClose(undefined);
  }

  #close(code: string | undefined): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.#handle.close();
    this.#announceClose(code);
  }

  /** Callers destroy in the middle of their own work: they learn of it once that is done. */
  #announceClose(code: string | undefined): void {
    this.#handle.transport = undefined;
    queueMicrotask(() => {
      this.sink.onClose(code);
    });
  }

  /** Called by libuv through `onRead`, with the bytes in this connection's buffer. */
  received(count: number): Buffer | undefined {
    if (count > 0) {
      this.sink.onBytes(this.#buffer, 0, count);
      const next = this.#nextBuffer;
      if (next === undefined) return undefined;
      this.#nextBuffer = undefined;
      this.#buffer = next;
      return next;
    }
    if (count === EOF_STATUS) {
      this.pause();
      this.sink.onEnd();
    } else if (count < 0) {
      this.#close(errnoName(count));
    }
    return undefined;
  }

  written(status: number): void {
    this.#pendingWrites--;
    if (this.destroyed) return;
    if (status !== 0) this.#close(errnoName(status));
    else if (this.#pendingWrites === 0) this.sink.onDrain();
  }

  #peer(): { readonly address: string; readonly port: number } {
    if (this.#remote) return this.#remote;
    const { address, port } = nameOf((into) => this.#handle.getpeername(into));
    return (this.#remote = { address, port });
  }
}

/** Filled anew for each: what Node makes of an empty object costs more than the system call. Good until the next one. */
const name: SocketName = { address: '', family: '', port: 0 };

/** Empty and 0 where there is no telling: the connection is gone. */
function nameOf(ask: (into: SocketName) => number): SocketName {
  name.address = '';
  name.port = 0;
  ask(name);
  return name;
}

/** One write request serves all writes that complete at once, which nearly all do. */
let spareRequest: WriteRequest | undefined;

function newWriteRequest(from: Bindings): WriteRequest {
  const request = new from.WriteWrap();
  request.oncomplete = onWritten;
  request.transport = undefined;
  request.bytes = undefined;
  return request;
}

function onRead(this: Handle): Uint8Array | undefined {
  // A handle that was closed in the meantime has no transport any more.
  return bindings && this.transport?.received(bindings.state[bindings.readBytesOrError] ?? 0);
}

function onWritten(this: WriteRequest, status: number): void {
  this.bytes = undefined;
  this.transport?.written(status);
}

/** Turns a connection that was just accepted away, with RST: its client need not wait to learn of it. */
export function refuseHandle(handle: unknown): void {
  const refused = handle as Handle;
  if (refused.reset() !== 0) refused.close();
}

function ignoreCompletion(): void {
  // A failed shutdown is followed by an error on the reading side.
}

/**
 * Connects to an IP address (no names). `done` is called exactly once, with the transport or with an errno name;
 * afterwards the transport's sink is `sink`. The returned function gives up: `done` is not called any more.
 */
export function connectHandle(
  address: string,
  port: number,
  sink: TransportSink,
  done: (transport: HandleTransport | undefined, code: string | undefined) => void,
): () => void {
  if (!bindings) throw new Error('TCP handles are not available in this Node: use connectSocket');
  const handle = new bindings.TCP(bindings.socketKind);
  const request = new bindings.TCPConnectWrap();
  let settled = false;
  request.oncomplete = (status) => {
    if (settled) return;
    settled = true;
    if (status !== 0) {
      handle.close();
      done(undefined, errnoName(status));
      return;
    }
    done(new HandleTransport(handle, sink), undefined);
  };
  const status = net.isIPv6(address) ? handle.connect6(request, address, port) : handle.connect(request, address, port);
  if (status !== 0) {
    // EMFILE and the like fail before they begin; the caller is still setting up.
    queueMicrotask(() => {
      request.oncomplete(status);
    });
  }
  return () => {
    if (settled) return;
    settled = true;
    handle.close();
  };
}

/**
 * Makes a listening server hand over bare handles in place of sockets. `server` must be listening. False where this
 * Node has no such door: listen to 'connection' then.
 */
export function acceptHandles(
  server: net.Server,
  onHandle: (handle: unknown) => void,
  onError: (code: string) => void,
): boolean {
  const listening = (server as unknown as { _handle?: { onconnection?: unknown } })._handle;
  if (!handlesAvailable || typeof listening?.onconnection !== 'function') return false;
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  listening.onconnection = (status: number, handle: unknown): void => {
    if (status !== 0) onError(errnoName(status));
    else {
      (handle as Handle).localPort = port;
      onHandle(handle);
    }
  };
  return true;
}
