/**
 * Listening sockets that outlive the thread that accepts from them: the owner keeps the socket, and each thread gets a
 * descriptor of its own for it. When a thread dies, what waits in the queue of the kernel waits for the next one; a
 * socket that died with its thread would take those connections with it.
 *
 * Node has no documented way to duplicate a descriptor within a process. A pipe to oneself has one: what is sent over
 * it arrives as another descriptor (SCM_RIGHTS), as between a cluster's processes. Undocumented, as handle-transport.ts
 * is: `SocketKeeper.open` says whether this Node and this platform have it, and without it each thread opens its own.
 */
import { randomBytes } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import net from 'node:net';
import process from 'node:process';
import { getSystemErrorName } from 'node:util';

interface TcpHandle {
  readonly fd: number;
  open(fd: number): number;
  getsockname(into: { address?: string; port?: number }): number;
  close(): void;
  unref(): void;
}

interface PipeHandle {
  readonly fd: number;
  pendingHandle: TcpHandle | null | undefined;
  onread: (bytes: ArrayBuffer | undefined) => void;
  onconnection: (status: number, client: PipeHandle | undefined) => void;
  bind(name: string): number;
  listen(backlog: number): number;
  open(fd: number): number;
  connect(request: object, name: string): number;
  readStart(): number;
  writeUtf8String(request: object, text: string, handle: TcpHandle): number;
  close(): void;
  unref(): void;
}

interface Bindings {
  readonly Pipe: new (kind: number) => PipeHandle;
  readonly PipeConnectWrap: new () => { oncomplete: (status: number) => void };
  readonly WriteWrap: new () => { oncomplete: (status: number) => void };
  readonly TCP: new (kind: number) => TcpHandle;
  readonly createServerHandle: (address: string, port: number, type: 4 | 6, fd: undefined, flags: number) => unknown;
  readonly reusePort: number;
  readonly tcpServer: number;
  readonly pipeServer: number;
  readonly pipeIpc: number;
}

function loadBindings(): Bindings | undefined {
  try {
    const binding = (process as unknown as { binding(name: string): Record<string, unknown> }).binding.bind(process);
    const { Pipe, PipeConnectWrap, constants: ofPipes } = binding('pipe_wrap');
    const { TCP, constants: ofTcp } = binding('tcp_wrap');
    const { WriteWrap } = binding('stream_wrap');
    const { SERVER: pipeServer, IPC: pipeIpc } = ofPipes as Record<string, number>;
    const { SERVER: tcpServer, UV_TCP_REUSEPORT: reusePort } = ofTcp as Record<string, number>;
    const createServerHandle = (net as unknown as Record<string, unknown>)['_createServerHandle'];
    const functions = [Pipe, PipeConnectWrap, TCP, WriteWrap, createServerHandle];
    const numbers = [pipeServer, pipeIpc, tcpServer, reusePort];
    const complete =
      functions.every((each) => typeof each === 'function') && numbers.every((each) => typeof each === 'number');
    if (!complete || process.platform !== 'linux') return undefined;
    return {
      Pipe,
      PipeConnectWrap,
      WriteWrap,
      TCP,
      createServerHandle,
      reusePort,
      tcpServer,
      pipeServer,
      pipeIpc,
    } as Bindings;
  } catch {
    // This Node has no such door.
    return undefined;
  }
}

/** A bound socket, which listens as soon as somebody listens on a duplicate of it. */
export interface KeptSocket {
  readonly host: string;
  readonly port: number;
  /** Of the owner, while it is open. */
  readonly fd: number;
  /** Another descriptor of the same socket, for a thread to listen on, and to close. */
  duplicate(): Promise<number>;
  /** With the last duplicate the socket closes. */
  close(): void;
}

const PAIRING_MS = 1000;

/** Keeps sockets for threads. One for the process. */
export class SocketKeeper {
  readonly #bindings: Bindings;
  readonly #sender: PipeHandle;
  /** One at a time: what arrives is what was sent last. */
  #turn: Promise<unknown> = Promise.resolve();
  #arrived: ((handle: TcpHandle | undefined) => void) | undefined;

  private constructor(bindings: Bindings, sender: PipeHandle, receiver: PipeHandle) {
    this.#bindings = bindings;
    this.#sender = sender;
    receiver.onread = (): void => {
      const handle = receiver.pendingHandle ?? undefined;
      receiver.pendingHandle = null;
      this.#arrived?.(handle);
    };
    receiver.pendingHandle = null;
    receiver.readStart();
    sender.unref();
    receiver.unref();
  }

  /** undefined where this Node or this platform cannot do it. */
  static async open(): Promise<SocketKeeper | undefined> {
    const bindings = loadBindings();
    const pair = bindings && (await pipeToOneself(bindings));
    return pair && new SocketKeeper(bindings, ...pair);
  }

  /** Throws the system's error. `host`: a name or an address. */
  async bind(host: string, port: number, reusePort: boolean): Promise<KeptSocket> {
    const { address, family } = net.isIP(host) ? { address: host, family: net.isIP(host) } : await lookup(host);
    const { createServerHandle, reusePort: flag } = this.#bindings;
    const handle = createServerHandle(address, port, family === 6 ? 6 : 4, undefined, reusePort ? flag : 0);
    if (typeof handle === 'number') throw systemError(handle);
    return this.#keep(handle as TcpHandle);
  }

  /** A socket that somebody else opened, and that is this process's from now on. */
  adopt(fd: number): KeptSocket {
    const handle = new this.#bindings.TCP(this.#bindings.tcpServer);
    const status = handle.open(fd);
    if (status !== 0) throw systemError(status);
    return this.#keep(handle);
  }

  #keep(handle: TcpHandle): KeptSocket {
    const name: { address?: string; port?: number } = {};
    handle.getsockname(name);
    handle.unref();
    return {
      host: name.address ?? '',
      port: name.port ?? 0,
      fd: handle.fd,
      duplicate: () => this.#duplicate(handle),
      close: () => {
        handle.close();
      },
    };
  }

  #duplicate(handle: TcpHandle): Promise<number> {
    const next = this.#turn.then(async () => {
      const copy = await new Promise<TcpHandle | undefined>((resolve, reject) => {
        this.#arrived = resolve;
        const request = new this.#bindings.WriteWrap();
        request.oncomplete = (status): void => {
          if (status !== 0) reject(systemError(status));
        };
        const status = this.#sender.writeUtf8String(request, '.', handle);
        if (status !== 0) reject(systemError(status));
      });
      if (!copy) throw new Error('the socket did not arrive');
      // The object that brought it is never closed: the descriptor is the thread's. A few hundred bytes per thread.
      copy.unref();
      return copy.fd;
    });
    this.#turn = next.catch(() => undefined);
    return next;
  }
}

/** Both ends of a pipe, in this thread. undefined where it cannot be had. */
async function pipeToOneself(bindings: Bindings): Promise<[PipeHandle, PipeHandle] | undefined> {
  const { Pipe, PipeConnectWrap, pipeServer, pipeIpc } = bindings;
  // In the abstract namespace of Linux: no file, gone with the process.
  const name = `\0fairlead-${process.pid}-${randomBytes(16).toString('hex')}`;
  const server = new Pipe(pipeServer);
  if (server.bind(name) !== 0 || server.listen(1) !== 0) return undefined;
  const sender = new Pipe(pipeIpc);
  const accepted = new Promise<PipeHandle | undefined>((resolve) => {
    server.onconnection = (status, client): void => {
      resolve(status === 0 ? client : undefined);
    };
    setTimeout(resolve, PAIRING_MS, undefined).unref();
  });
  const connected = new Promise<boolean>((resolve) => {
    const request = new PipeConnectWrap();
    request.oncomplete = (status): void => {
      resolve(status === 0);
    };
    if (sender.connect(request, name) !== 0) resolve(false);
    setTimeout(resolve, PAIRING_MS, false).unref();
  });
  const [client, ready] = await Promise.all([accepted, connected]);
  server.close();
  if (!client || !ready) return undefined;
  // Only a pipe that was made for it receives descriptors; the accepted one stays as it is, and is never used.
  const receiver = new Pipe(pipeIpc);
  client.unref();
  return receiver.open(client.fd) === 0 ? [sender, receiver] : undefined;
}

function systemError(status: number): NodeJS.ErrnoException {
  const code = getSystemErrorName(status);
  return Object.assign(new Error(code), { code });
}
