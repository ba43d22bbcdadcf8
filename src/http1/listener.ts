import net from 'node:net';
import { acceptHandles, HandleTransport, refuseHandle } from './handle-transport.ts';
import { openListening, whyNotListening } from './listening-socket.ts';
import { SocketTransport } from './socket-transport.ts';
import type { Transport, TransportSink } from './transport.ts';

export interface ListenOptions {
  readonly host: string;
  readonly port: number;
  /** Several threads of one process share the port; the kernel spreads connections over them. */
  readonly reusePort?: boolean;
  readonly backlog?: number;
  /** A socket that listens at this address already, in place of a new one. */
  readonly fd?: number | undefined;
  /** Forces the documented socket layer. For comparison and for tests. */
  readonly plainSockets?: boolean;
  /**
   * Makes the sink of a new connection; `attach` is called next, with its transport, which is not reading yet.
   * Undefined: there is no place for it, and it is closed at once, with RST.
   */
  readonly accept: () => (TransportSink & { attach(transport: Transport): void }) | undefined;
  /** Accepting failed (EMFILE, say); the listener goes on. */
  readonly onError: (code: string) => void;
}

export interface Listener {
  readonly host: string;
  readonly port: number;
  /** Of the listening socket, while it is open; undefined where this Node does not tell. */
  readonly fd: number | undefined;
  /** Accepts no more. Connections that are open stay. */
  close(): Promise<void>;
}

/** Rejects with an error that names the address where it cannot be listened on. */
export async function listen(options: ListenOptions): Promise<Listener> {
  const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true });
  server.on('connection', (socket) => {
    const sink = options.accept();
    if (sink) sink.attach(new SocketTransport(socket, sink));
    else socket.resetAndDestroy();
  });
  const { host, port, fd } = await openListening(server, options).catch((error: unknown) => {
    throw new Error(`cannot listen on ${options.host}:${options.port}: ${whyNotListening(error)}`, { cause: error });
  });
  server.on('error', (error: NodeJS.ErrnoException) => {
    options.onError(error.code ?? error.message);
  });
  if (!options.plainSockets) {
    acceptHandles(
      server,
      (handle) => {
        const sink = options.accept();
        if (sink) sink.attach(new HandleTransport(handle, sink));
        else refuseHandle(handle);
      },
      options.onError,
    );
  }
  return {
    host,
    port,
    fd,
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
      }),
  };
}
