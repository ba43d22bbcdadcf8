import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';

export interface EurekaInstance {
  readonly instanceId: string;
  readonly app: string;
  readonly hostName: string;
  readonly ipAddr?: string;
  readonly status: string;
  readonly overriddenStatus?: string;
  readonly port?: unknown;
  readonly securePort?: unknown;
  readonly metadata?: unknown;
  readonly dataCenterInfo?: unknown;
}

interface Change {
  readonly action: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly instance: EurekaInstance;
  readonly atMs: number;
}

/** RETENTION_TIME_IN_MS of the delta queue: what happened is repeated for this long. */
const REPEATED_MS = 180_000;

/**
 * A Eureka server in this process, as far as its clients can see: list, delta with its repetitions and hash, response
 * cache, and the moods of a server that has just started.
 */
export class EurekaFixture {
  readonly requests: string[] = [];
  readonly authorizations = new Set<string | undefined>();
  /** What `apps/` and `apps/delta` answer in place of 200. */
  refuse: { readonly full?: number; readonly delta?: number } = {};
  /** Replaces the hash, or the whole body. */
  wrongHash: string | undefined;
  body: string | undefined;
  /** Answers are kept for this long, as by the response cache (30 s by default on a real one). */
  cacheMs = 0;
  frozen = false;
  nowMs = (): number => performance.now();
  readonly #instances = new Map<string, EurekaInstance>();
  #changes: Change[] = [];
  readonly #cache = new Map<string, { readonly text: string; readonly atMs: number }>();
  readonly #server = createServer((request, response) => this.#answer(request, response));
  #port = 0;

  static async start(): Promise<EurekaFixture> {
    const fixture = new EurekaFixture();
    await fixture.listen();
    return fixture;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}/eureka`;
  }

  async listen(): Promise<void> {
    this.#server.listen(this.#port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  async stop(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  put(instance: EurekaInstance): void {
    const key = `${instance.app}/${instance.instanceId}`;
    const action = this.#instances.has(key) ? 'MODIFIED' : 'ADDED';
    this.#instances.set(key, instance);
    this.#changes.push({ action, instance, atMs: this.nowMs() });
  }

  remove(app: string, instanceId: string): void {
    const key = `${app}/${instanceId}`;
    const instance = this.#instances.get(key);
    if (!instance) return;
    this.#instances.delete(key);
    this.#changes.push({ action: 'DELETED', instance, atMs: this.nowMs() });
  }

  /** A change that the delta does not tell, as when the server lost its queue. */
  putSilently(instance: EurekaInstance): void {
    this.#instances.set(`${instance.app}/${instance.instanceId}`, instance);
  }

  /** Restarted without its peers: everything is forgotten, and no delta says so. */
  forget(): void {
    this.#instances.clear();
    this.#changes = [];
    this.#cache.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#server.listening) await this.stop();
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = request.url ?? '';
    this.requests.push(path);
    this.authorizations.add(request.headers.authorization);
    if (this.frozen) return;
    const kind = path === '/eureka/apps/' ? 'full' : path === '/eureka/apps/delta' ? 'delta' : undefined;
    const status = kind === undefined ? 404 : (this.refuse[kind] ?? 200);
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(kind === undefined || status !== 200 ? '' : (this.body ?? this.#cached(kind)));
  }

  #cached(kind: 'full' | 'delta'): string {
    const nowMs = this.nowMs();
    const cached = this.#cache.get(kind);
    if (cached && nowMs - cached.atMs < this.cacheMs) return cached.text;
    const text = JSON.stringify(kind === 'full' ? this.#full() : this.#delta(nowMs));
    this.#cache.set(kind, { text, atMs: nowMs });
    return text;
  }

  #full(): unknown {
    return this.#applications(
      [...this.#instances.values()].map((each) => ({ ...defaults, ...each, actionType: 'ADDED' })),
    );
  }

  #delta(nowMs: number): unknown {
    this.#changes = this.#changes.filter((change) => nowMs - change.atMs < REPEATED_MS);
    // As the real one: an instance that changed twice is there once, as it is now.
    const last = new Map(
      this.#changes.map((change) => [`${change.instance.app}/${change.instance.instanceId}`, change]),
    );
    return this.#applications(
      [...last.values()].map(({ action, instance }) => ({ ...defaults, ...instance, actionType: action })),
    );
  }

  #applications(instances: readonly EurekaInstance[]): unknown {
    const apps = Map.groupBy(instances, (each) => each.app);
    const counts = new Map<string, number>();
    for (const { status } of this.#instances.values()) counts.set(status, (counts.get(status) ?? 0) + 1);
    const hash = [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([status, count]) => `${status}_${count}_`);
    return {
      applications: {
        versions__delta: '1',
        apps__hashcode: this.wrongHash ?? hash.join(''),
        application: [...apps].map(([name, instance]) => ({ name: name.toUpperCase(), instance })),
      },
    };
  }
}

/** As the server fills in what a registration leaves out. */
const defaults = {
  overriddenStatus: 'UNKNOWN',
  port: { $: 80, '@enabled': 'true' },
  securePort: { $: 443, '@enabled': 'false' },
  countryId: 1,
  dataCenterInfo: { '@class': 'com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo', name: 'MyOwn' },
  metadata: { '@class': 'java.util.Collections$EmptyMap' },
  isCoordinatingDiscoveryServer: 'false',
};
