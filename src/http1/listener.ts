import net from 'node:net';
import { acceptHandles, HandleTransport } from './handle-transport.ts';
import { SocketTransport } from './socket-transport.ts';
import type { Transport, TransportSink } from './transport.ts';

export interface ListenOptions {
  readonly host: string;
  readonly port: number;
  /** Several threads of one process share the port; the kernel spreads connections over them. */
  readonly reusePort?: boolean;
  readonly backlog?: number;
  /** Forces the documented socket layer. For comparison and for tests. */
  readonly plainSockets?: boolean;
  /** Makes the sink of a new connection; `attach` is called next, with its transport, which is not reading yet. */
  readonly accept: () => TransportSink & { attach(transport: Transport): void };
  /** Accepting failed (EMFILE, say); the listener goes on. */
  readonly onError: (code: string) => void;
}

export interface Listener {
  readonly host: string;
  readonly port: number;
  /** Accepts no more. Connections that are open stay. */
  close(): Promise<void>;
}

/** Rejects with an error that names the address where it cannot be listened on. */
export async function listen(options: ListenOptions): Promise<Listener> {
  const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true });
  server.on('connection', (socket) => {
    const sink = options.accept();
    sink.attach(new SocketTransport(socket, sink));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(
        new Error(`cannot listen on ${options.host}:${options.port}: ${error.code ?? error.message}`, { cause: error }),
      );
    });
    server.listen(
      {
        host: options.host,
        port: options.port,
        backlog: options.backlog ?? 4096,
        reusePort: options.reusePort ?? false,
        exclusive: true,
      },
      resolve,
    );
  });
  server.removeAllListeners('error');
  server.on('error', (error: NodeJS.ErrnoException) => {
    options.onError(error.code ?? error.message);
  });
  if (!options.plainSockets) {
    acceptHandles(
      server,
      (handle) => {
        const sink = options.accept();
        sink.attach(new HandleTransport(handle, sink));
      },
      options.onError,
    );
  }
  const address = server.address() as net.AddressInfo;
  return {
    host: address.address,
    port: address.port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
      }),
  };
}
