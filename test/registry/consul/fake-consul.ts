import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface FakeReply {
  readonly status?: number;
  readonly index?: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: unknown;
}

export interface Call {
  readonly path: string;
  readonly query: URLSearchParams;
  readonly token: string | undefined;
}

type Handler = (call: Call, turn: number) => FakeReply | 'hang' | Promise<FakeReply | 'hang'>;

/** A Consul that does what a script says: for what a real one does only once in a blue moon. */
export class FakeConsul {
  readonly calls: Call[] = [];
  onHealth: Handler = () => ({ body: [] });
  onCatalog: Handler = () => ({ body: { consul: [] } });
  onLeader: Handler = () => ({ body: '127.0.0.1:8300' });
  onAuthorize: Handler = () => ({ status: 401, body: 'ACL support disabled' });
  readonly #turns = new Map<string, number>();
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      this.#serve(request, response).catch((error: unknown) => response.destroy(error as Error));
    });
  }

  static async start(): Promise<FakeConsul> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new FakeConsul(server);
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  health(service = 'web'): Call[] {
    return this.calls.filter((call) => call.path === `/v1/health/service/${service}`);
  }

  breakConnections(): void {
    this.#server.closeAllConnections();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://fake');
    const token = request.headers['x-consul-token'];
    const call = { path: url.pathname, query: url.searchParams, token: typeof token === 'string' ? token : undefined };
    this.calls.push(call);
    const turn = this.#turns.get(call.path) ?? 0;
    this.#turns.set(call.path, turn + 1);
    const reply = await this.#handler(call.path)(call, turn);
    if (reply === 'hang') return;
    const { status = 200, index = '7', headers = {}, body } = reply;
    response.writeHead(status, {
      'x-consul-knownleader': 'true',
      'x-consul-lastcontact': '0',
      ...(index === '' ? {} : { 'x-consul-index': index }),
      ...headers,
    });
    response.end(typeof body === 'string' && status !== 200 ? body : JSON.stringify(body));
  }

  #handler(path: string): Handler {
    if (path.startsWith('/v1/health/service/')) return this.onHealth;
    if (path === '/v1/catalog/services') return this.onCatalog;
    if (path === '/v1/status/leader') return this.onLeader;
    if (path === '/v1/internal/acl/authorize') return this.onAuthorize;
    return () => ({ status: 404, body: 'no such path' });
  }
}

export interface EntryParts {
  readonly id?: string;
  readonly node?: string;
  readonly address?: string | null;
  readonly port?: number;
  readonly service?: string;
  readonly meta?: unknown;
  readonly tags?: unknown;
  readonly weights?: unknown;
  readonly nodeParts?: Readonly<Record<string, unknown>>;
  readonly serviceParts?: Readonly<Record<string, unknown>>;
  readonly checks?: readonly Readonly<Record<string, unknown>>[] | null;
}

/** One entry of a health answer, as Consul 1.8 writes it. */
export function entry(parts: EntryParts = {}): unknown {
  const {
    id = 'web-1',
    node = 'node-one',
    address = '10.0.0.1',
    port = 80,
    service = 'web',
    meta = {},
    tags = [],
  } = parts;
  const { weights = { Passing: 1, Warning: 1 }, checks = [] } = parts;
  return {
    Node: { Node: node, Address: '10.9.9.9', Datacenter: 'dc1', Meta: null, ...parts.nodeParts },
    Service: {
      ID: id,
      Service: service,
      Tags: tags,
      Address: address,
      Meta: meta,
      Port: port,
      Weights: weights,
      ...parts.serviceParts,
    },
    Checks: checks,
  };
}

export function check(status: string, parts: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return { CheckID: 'c', Name: 'the check', Status: status, Notes: '', Output: '', ...parts };
}
