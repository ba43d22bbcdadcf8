import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { WebSocket, WebSocketServer } from 'ws';
import { pause } from './world.ts';

/** An instance in the process of the test: answers requests, and echoes on WebSockets. */
export class EchoInstance {
  readonly port: number;
  readonly #server: http.Server;

  private constructor(server: http.Server) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
  }

  static async start(): Promise<EchoInstance> {
    const server = http.createServer((incoming, response) => {
      incoming.resume();
      incoming.on('end', () => response.end(`${incoming.method} answered\n`));
    });
    new WebSocketServer({ server }).on('connection', (socket) => {
      socket.on('message', (data, binary) => socket.send(data, { binary }));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', 511, resolve));
    return new EchoInstance(server);
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/**
 * An even stream of requests, one half on connections of their own and the other on kept ones, every fourth a POST,
 * which no gateway may repeat. What does not end with 200 is a failure.
 */
export class SteadyTraffic {
  sent = 0;
  readonly failures: string[] = [];
  slowestMs = 0;
  readonly #port: number;
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 30, scheduling: 'fifo' });
  readonly #timer: NodeJS.Timeout;
  readonly #pending = new Set<Promise<void>>();
  readonly #beganMs = performance.now();

  constructor(port: number, perSecond: number) {
    this.#port = port;
    this.#timer = setInterval(() => {
      const due = ((performance.now() - this.#beganMs) * perSecond) / 1000;
      while (this.sent < due) this.#send();
    }, 5);
  }

  #send(): void {
    const number = this.sent++;
    const beganMs = performance.now();
    const kept = number % 2 === 0;
    const method = number % 4 === 3 || number % 8 === 0 ? 'POST' : 'GET';
    const sent = this.#ask(method, kept).then(
      (status) => {
        this.slowestMs = Math.max(this.slowestMs, performance.now() - beganMs);
        if (status !== 200) this.#failed(method, kept, String(status));
      },
      (error: unknown) => this.#failed(method, kept, String(error)),
    );
    this.#pending.add(sent);
    void sent.finally(() => this.#pending.delete(sent));
  }

  #failed(method: string, kept: boolean, what: string): void {
    const atMs = Math.round(performance.now() - this.#beganMs);
    this.failures.push(`${atMs} ms: ${method} on a ${kept ? 'kept' : 'new'} connection: ${what}`);
  }

  #ask(method: string, kept: boolean): Promise<number> {
    return new Promise((resolve, reject) => {
      const outgoing = http.request(
        {
          host: '127.0.0.1',
          port: this.#port,
          method,
          agent: kept ? this.#agent : false,
          headers: { host: 'web.localhost', ...(method === 'POST' ? { 'content-length': 5 } : {}) },
          signal: AbortSignal.timeout(20_000),
        },
        (response) => {
          response.resume();
          response.on('end', () => resolve(response.statusCode ?? 0));
          response.on('error', reject);
        },
      );
      outgoing.on('error', reject);
      outgoing.end(method === 'POST' ? 'order' : undefined);
    });
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#pending);
    this.#agent.destroy();
  }
}

/** WebSockets that say something all the time and expect to hear it back. */
export class OpenSockets {
  echoes = 0;
  readonly failures: string[] = [];
  readonly #sockets: WebSocket[];
  readonly #timer: NodeJS.Timeout;
  #closing = false;

  private constructor(sockets: WebSocket[]) {
    this.#sockets = sockets;
    for (const [number, socket] of sockets.entries()) {
      socket.on('message', () => this.echoes++);
      socket.on('error', (error) => this.failures.push(`${number}: ${error.message}`));
      socket.on('close', (code) => {
        if (!this.#closing) this.failures.push(`${number}: closed with ${code}`);
      });
    }
    this.#timer = setInterval(() => {
      for (const socket of sockets) if (socket.readyState === WebSocket.OPEN) socket.send('here');
    }, 500);
  }

  static async open(port: number, count: number): Promise<OpenSockets> {
    const sockets = Array.from(
      { length: count },
      () => new WebSocket(`ws://127.0.0.1:${port}/`, { headers: { host: 'web.localhost' } }),
    );
    await Promise.all(
      sockets.map((socket) => new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject))),
    );
    return new OpenSockets(sockets);
  }

  /** Whether each of them still hears its echo. */
  async check(): Promise<void> {
    const answers = this.#sockets.map(
      (socket, number) =>
        new Promise<void>((resolve, reject) => {
          socket.once('message', () => resolve());
          socket.send(`are you there, ${number}?`);
          void pause(5000).then(() => reject(new Error(`WebSocket ${number} says nothing any more`)));
        }),
    );
    await Promise.all(answers);
  }

  close(): void {
    this.#closing = true;
    clearInterval(this.#timer);
    for (const socket of this.#sockets) socket.terminate();
  }
}
