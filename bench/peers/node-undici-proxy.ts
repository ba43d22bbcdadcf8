// node bench/peers/node-undici-proxy.ts PORT INSTANCE-PORT…
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { Pool, type Dispatcher } from 'undici';

const [listenPort, ...instancePorts] = process.argv.slice(2).map(Number);
const CONNECTIONS_EACH = 64;
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

interface Instance {
  readonly pool: Pool;
  inFlight: number;
}

const instances = instancePorts.map((port): Instance => ({
  pool: new Pool(`http://127.0.0.1:${port}`, { connections: CONNECTIONS_EACH }),
  inFlight: 0,
}));

/** Two random choices, the less busy wins: what the other peers do too. */
function pick(): Instance {
  const first = instances[Math.floor(Math.random() * instances.length)];
  const second = instances[Math.floor(Math.random() * instances.length)];
  if (!first || !second) throw new Error('no instance ports given');
  return second.inFlight < first.inFlight ? second : first;
}

function requestHeaders(request: IncomingMessage): string[] {
  const headers: string[] = [];
  for (let index = 0; index + 1 < request.rawHeaders.length; index += 2) {
    const name = request.rawHeaders[index] ?? '';
    if (!HOP_BY_HOP.has(name.toLowerCase())) headers.push(name, request.rawHeaders[index + 1] ?? '');
  }
  headers.push('X-Forwarded-For', request.socket.remoteAddress ?? 'unknown');
  return headers;
}

/** Passes the reply on as it comes, no faster than the client takes it. */
class Forward implements Dispatcher.DispatchHandler {
  readonly #instance: Instance;
  readonly #response: ServerResponse;
  #released = false;

  constructor(instance: Instance, response: ServerResponse) {
    this.#instance = instance;
    this.#response = response;
    instance.inFlight += 1;
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#response.once('close', () => {
      if (!this.#response.writableFinished) controller.abort(new Error('client went away'));
    });
    this.#response.on('drain', () => controller.resume());
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
  ): void {
    for (const name in headers) {
      const value = headers[name];
      if (value !== undefined && !HOP_BY_HOP.has(name)) this.#response.setHeader(name, value);
    }
    this.#response.writeHead(status);
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.#response.write(chunk)) controller.pause();
  }

  onResponseEnd(): void {
    this.#release();
    this.#response.end();
  }

  onResponseError(): void {
    this.#release();
    if (this.#response.headersSent) this.#response.destroy();
    else this.#response.writeHead(502, { 'content-length': '0' }).end();
  }

  #release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#instance.inFlight -= 1;
  }
}

createServer({ keepAliveTimeout: 65_000 }, (request, response) => {
  const instance = pick();
  const hasBody = request.headers['content-length'] !== undefined || request.headers['transfer-encoding'] !== undefined;
  instance.pool.dispatch(
    {
      path: request.url ?? '/',
      method: request.method ?? 'GET',
      headers: requestHeaders(request),
      body: hasBody ? request : null,
    },
    new Forward(instance, response),
  );
}).listen({ port: listenPort, host: '127.0.0.1', backlog: 4096 });
