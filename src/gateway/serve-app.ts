import type { Server } from 'node:http';
import { createAdaptorServer } from '@hono/node-server';
import type { Hono } from 'hono';

export interface ServedApp {
  readonly host: string;
  readonly port: number;
  /** Accepts no more and ends what is open. */
  close(): Promise<void>;
}

/** One request of an operator's or a registrant's client may take this long to arrive. */
const REQUEST_MS = 15_000;
const MAX_CONNECTIONS = 4096;

/** Gives an app a listener. Rejects with an error that names the address and the setting where it cannot be had. */
export async function serveApp(app: Hono, host: string, port: number, setting: string): Promise<ServedApp> {
  const server = createAdaptorServer({ fetch: app.fetch }) as Server;
  server.headersTimeout = REQUEST_MS;
  server.requestTimeout = REQUEST_MS;
  server.keepAliveTimeout = 65_000;
  server.maxConnections = MAX_CONNECTIONS;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const reason = error.code === 'EADDRINUSE' ? 'the address is in use' : (error.code ?? error.message);
      reject(new Error(`cannot listen on ${host}:${port} (${setting}): ${reason}`, { cause: error }));
    });
    server.listen(port, host, resolve);
  });
  const address = server.address();
  return {
    host,
    port: typeof address === 'object' && address ? address.port : port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}
