import type { Server } from 'node:http';
import net from 'node:net';
import { createAdaptorServer } from '@hono/node-server';
import type { Hono } from 'hono';
import { type Clock, sleep } from '../core/clock.ts';
import { openListening, whyNotListening } from '../http1/listening-socket.ts';
import { descriptorLimit } from './descriptors.ts';
import { passOn } from './pass-on.ts';

export interface ServeOptions {
  readonly host: string;
  readonly port: number;
  /** A socket that listens at this address already. */
  readonly fd?: number | undefined;
  /** What the error names where it cannot be listened on. */
  readonly setting: string;
  readonly clock: Clock;
  /** See `PassOnOptions`. */
  readonly silenceMs?: number;
}

export interface ServedApp {
  readonly host: string;
  readonly port: number;
  /** Of the listening socket, while it is open. */
  readonly fd: number | undefined;
  /** From the next request on, this app answers. */
  replace(app: Hono): void;
  /**
   * Accepts no more, and resolves when what was asked before is answered, or after `graceMs`. Connections stay, and what
   * is asked on them from now on is passed on to whoever listens at the address next, until `close`.
   */
  handOn(graceMs: number): Promise<void>;
  /**
   * Accepts no more; what is being answered has `graceMs` to end, then everything is cut. Idle connections are closed at
   * once, but where they were handed on: their clients know nothing of it, and have `graceMs` to ask once more.
   */
  close(graceMs?: number): Promise<void>;
}

/** One request of an operator's or a registrant's client may take this long to arrive. */
const REQUEST_MS = 15_000;
const MAX_CONNECTIONS = 4096;
/** A connection that has had its answer is closed this much later. */
const IDLE_CHECK_MS = 50;
const HANDED_ON_CHECK_MS = 2;
/** Of the descriptors of the process, of which clients and instances leave an eighth to others. */
const CONNECTIONS_SHARE = 16;

/** Gives an app a listener. Rejects with an error that names the address and the setting where it cannot be had. */
export async function serveApp(app: Hono, options: ServeOptions): Promise<ServedApp> {
  const { host, port, setting, clock } = options;
  let current = app;
  let closing = false;
  let handedOn = false;
  let underway = 0;
  const server = createAdaptorServer({
    fetch: async (request, env) => {
      underway++;
      const response = await Promise.resolve(current.fetch(request, env)).finally(() => underway--);
      // Nobody shall go on talking to a listener that has been replaced.
      if (closing) response.headers.set('connection', 'close');
      return response;
    },
  }) as Server;
  server.headersTimeout = REQUEST_MS;
  server.requestTimeout = REQUEST_MS;
  server.keepAliveTimeout = 65_000;
  server.maxConnections = Math.min(MAX_CONNECTIONS, Math.ceil((descriptorLimit() ?? Infinity) / CONNECTIONS_SHARE));
  const socket = await openListening(server, { ...options, backlog: 511 }).catch((error: unknown) => {
    throw new Error(`${setting}: cannot listen on ${host}:${port}: ${whyNotListening(error)}`, { cause: error });
  });
  let ended = false;
  const closed = new Promise<void>((resolve) => {
    server.once('close', () => {
      ended = true;
      resolve();
    });
  });
  return {
    host,
    port: socket.port,
    fd: socket.fd,
    replace(next) {
      current = next;
    },
    async handOn(graceMs) {
      closing = true;
      handedOn = true;
      server
        .removeAllListeners('request')
        .on('request', passOn({ host, port: socket.port, clock, silenceMs: options.silenceMs }));
      // Not that of HTTP, which closes idle connections at once: a request may be on its way.
      net.Server.prototype.close.call(server);
      const endMs = clock.now() + graceMs;
      while (underway > 0 && clock.now() < endMs) await sleep(clock, HANDED_ON_CHECK_MS);
    },
    async close(graceMs = 0) {
      closing = true;
      if (!handedOn) server.close();
      const endMs = clock.now() + graceMs;
      while (!ended && clock.now() < endMs) {
        await Promise.race([closed, sleep(clock, IDLE_CHECK_MS)]);
        if (!handedOn) server.closeIdleConnections();
      }
      server.closeAllConnections();
      await closed;
    },
  };
}
