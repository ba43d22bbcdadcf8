import http from 'node:http';
import { eventually, type GatewayProcess } from './world.ts';

/** Registrations at an even rate, one half on connections of their own and the other on kept ones. */
export class Registrants {
  readonly failures: string[] = [];
  /** Those that were answered 201, by service. */
  readonly accepted = new Map<string, Set<string>>();
  readonly #gateway: GatewayProcess;
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 10 });
  readonly #timer: NodeJS.Timeout;
  readonly #pending = new Set<Promise<void>>();
  #sent = 0;

  constructor(gateway: GatewayProcess, perSecond: number) {
    this.#gateway = gateway;
    const beganMs = performance.now();
    this.#timer = setInterval(() => {
      while (this.#sent < ((performance.now() - beganMs) * perSecond) / 1000) this.#send();
    }, 5);
  }

  get count(): number {
    return [...this.accepted.values()].reduce((sum, ids) => sum + ids.size, 0);
  }

  #send(): void {
    const number = this.#sent++;
    const [serviceName, id] = [`service-${number % 10}`, `i-${number}`];
    const kept = number % 2 === 0;
    const ids = this.accepted.get(serviceName) ?? new Set();
    this.accepted.set(serviceName, ids);
    const body = JSON.stringify({ serviceName, id, host: '127.0.0.1', port: 1 + number, ttl: '5m' });
    const sent = this.#ask('POST', '/register', kept, body).then(
      ({ status, text }) => {
        if (status === 201) ids.add(id);
        else this.failures.push(`${id} on a ${kept ? 'kept' : 'new'} connection: ${status} ${text}`);
      },
      (error: unknown) => void this.failures.push(`${id} on a ${kept ? 'kept' : 'new'} connection: ${String(error)}`),
    );
    this.#pending.add(sent);
    void sent.finally(() => this.#pending.delete(sent));
  }

  #ask(method: string, path: string, kept: boolean, body?: string): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const outgoing = http.request(
        {
          host: '127.0.0.1',
          port: this.#gateway.registryPort,
          method,
          path,
          agent: kept ? this.#agent : false,
          headers: body === undefined ? {} : { 'content-type': 'application/json' },
          signal: AbortSignal.timeout(30_000),
        },
        (response) => {
          let text = '';
          response.on('data', (chunk: Buffer) => (text += chunk.toString()));
          response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
          response.on('error', reject);
        },
      );
      outgoing.on('error', reject).end(body);
    });
  }

  /** Ends; returns those that were accepted and are not there. */
  async stop(): Promise<string[]> {
    clearInterval(this.#timer);
    await Promise.all(this.#pending);
    const missing: string[] = [];
    for (const [service, ids] of this.accepted) {
      const { text } = await this.#ask('GET', `/services/${service}/instances`, false);
      const there = new Set((JSON.parse(text) as { id: string }[]).map(({ id }) => id));
      missing.push(...[...ids].filter((id) => !there.has(id)));
    }
    this.#agent.destroy();
    return missing;
  }
}

/** Asks again and again for the next change of a service, and keeps the index of every answer. */
export class BlockingQuery {
  readonly indexes: number[] = [];
  readonly failures: string[] = [];
  #stopped = false;
  readonly #ended: Promise<void>;

  constructor(gateway: GatewayProcess, service: string) {
    this.#ended = this.#run(gateway, service);
  }

  async #run(gateway: GatewayProcess, service: string): Promise<void> {
    while (!this.#stopped) {
      const index = this.indexes.at(-1) ?? 0;
      try {
        const response = await gateway.api('GET', `/services/${service}/instances?index=${index}&wait=2s`);
        await response.text();
        if (response.status !== 200) this.failures.push(`${response.status}`);
        this.indexes.push(Number(response.headers.get('x-fairlead-index')));
      } catch (error) {
        this.failures.push(String(error instanceof Error ? (error.cause ?? error) : error));
      }
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await eventually('the last query has ended', () => this.#ended.then(() => true));
  }
}
