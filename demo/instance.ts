/**
 * A service instance for the demo and the end-to-end tests: `node demo/instance.ts --service web [--port 0]
 * [--registry URL] [--ttl 3s] [--delay 5ms]`. It registers itself, sends heartbeats, and deregisters at SIGTERM: what a
 * service in any language would do with three HTTP calls. Prints `listening PORT` once it serves.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { parseArgs } from 'node:util';
import { parseDuration } from '../src/core/units.ts';

const { values } = parseArgs({
  options: {
    service: { type: 'string', default: 'web' },
    port: { type: 'string', default: '0' },
    registry: { type: 'string' },
    ttl: { type: 'string', default: '3s' },
    delay: { type: 'string', default: '0ms' },
    name: { type: 'string' },
  },
});

/** How it answers now; the tests change it through `/__mode`. */
let mode: 'ok' | 'fail' | 'hang' = 'ok';
let failStatus = 500;
let served = 0;
/** Orders by number, with how often each was done: a POST must never be done twice. */
const orders = new Map<string, number>();

function control(request: IncomingMessage, response: ServerResponse, url: URL): void {
  if (url.pathname === '/__mode') {
    mode = (url.searchParams.get('is') ?? 'ok') as typeof mode;
    failStatus = Number(url.searchParams.get('status') ?? 500);
  }
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ mode, served, orders: Object.fromEntries(orders), pid: process.pid }));
  request.resume();
}

function answer(request: IncomingMessage, response: ServerResponse, body: string): void {
  if (mode === 'hang') return;
  if (request.method === 'POST') orders.set(body, (orders.get(body) ?? 0) + 1);
  served++;
  response.statusCode = mode === 'fail' ? failStatus : 200;
  response.setHeader('x-instance', values.name ?? String(process.pid));
  response.setHeader('content-type', 'text/plain');
  response.end(`${values.service} from ${values.name ?? process.pid}\n`);
}

const server = createServer((request, response) => {
  const url = new URL(request.url ?? '/', 'http://instance');
  if (url.pathname.startsWith('/__')) {
    control(request, response, url);
    return;
  }
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const delayMs = parseDuration(values.delay) ?? 0;
    if (delayMs === 0) answer(request, response, Buffer.concat(chunks).toString());
    else setTimeout(() => answer(request, response, Buffer.concat(chunks).toString()), delayMs);
  });
});

let id: string | undefined;

async function call(method: string, path: string, body?: object): Promise<Response> {
  return fetch(new URL(path, values.registry), {
    method,
    ...(body ? { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) } : {}),
    signal: AbortSignal.timeout(2000),
  });
}

async function register(port: number): Promise<void> {
  const body = { serviceName: values.service, host: '127.0.0.1', port, ttl: values.ttl };
  const response = await call('POST', '/register', body);
  if (response.status !== 201) throw new Error(`not registered: ${response.status} ${await response.text()}`);
  id = ((await response.json()) as { id: string }).id;
}

async function beat(port: number): Promise<void> {
  try {
    // 404: the registry does not know us (any more).
    const response = id === undefined ? undefined : await call('PUT', `/heartbeat/${id}`);
    if (!response || response.status === 404) await register(port);
  } catch (error) {
    console.error(`heartbeat: ${String(error)}`);
  }
}

server.listen(Number(values.port), '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo;
  console.log(`listening ${port}`);
  if (values.registry === undefined) return;
  void beat(port);
  setInterval(() => void beat(port), (parseDuration(values.ttl) ?? 3000) / 3);
});

/** Deregister first, then finish what is in flight: nobody is sent here any more. */
async function leave(): Promise<void> {
  if (id !== undefined) await call('DELETE', `/deregister/${id}`).catch(() => undefined);
  server.close(end);
  // A connection that was busy a moment ago is idle now, and would hold the end up.
  setInterval(() => {
    server.closeIdleConnections();
  }, 20);
  setTimeout(end, 5000);
}

function end(): void {
  process.stdout.write(`orders ${JSON.stringify(Object.fromEntries(orders))}\n`, () => process.exit(0));
}

process.on('SIGTERM', () => void leave());
process.on('SIGINT', () => void leave());
