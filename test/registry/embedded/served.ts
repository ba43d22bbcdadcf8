import { AddressPolicy } from '../../../src/core/address.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { serveApp, type ServedApp } from '../../../src/gateway/serve-app.ts';
import { createRegistryApp, type RegistryAppDeps } from '../../../src/registry/embedded/api/app.ts';
import { EmbeddedRegistry } from '../../../src/registry/embedded/registry.ts';

/** An embedded registry on a port, as a gateway serves it, on real time. */
export class ServedRegistry {
  readonly #deps: Partial<RegistryAppDeps>;
  readonly #served: ServedApp;
  #registry: EmbeddedRegistry;

  private constructor(deps: Partial<RegistryAppDeps>, registry: EmbeddedRegistry, served: ServedApp) {
    this.#deps = deps;
    this.#registry = registry;
    this.#served = served;
  }

  static async start(deps: Partial<RegistryAppDeps> = {}): Promise<ServedRegistry> {
    const registry = await openMemory();
    const setting = 'registries.test.listen';
    const served = await serveApp(appOn(registry, deps), { host: '127.0.0.1', port: 0, setting, clock: systemClock });
    return new ServedRegistry(deps, registry, served);
  }

  get registry(): EmbeddedRegistry {
    return this.#registry;
  }

  get port(): number {
    return this.#served.port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** A registry that knows nothing answers in place of this one. */
  async restartEmpty(): Promise<void> {
    const before = this.#registry;
    this.#registry = await openMemory();
    this.#served.replace(appOn(this.#registry, this.#deps));
    await before.close();
  }

  /** Status and body, parsed where it is JSON. */
  async call(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answered> {
    const response = await fetch(`${this.url}${path}`, {
      method,
      headers: { accept: 'application/json', 'content-type': 'application/json', ...headers },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      signal: AbortSignal.timeout(10_000),
    });
    const text = await response.text();
    const isJson = /json/.test(response.headers.get('content-type') ?? '');
    return {
      status: response.status,
      headers: response.headers,
      text,
      body: isJson && text !== '' ? (JSON.parse(text) as unknown) : undefined,
    };
  }

  async must(method: string, path: string, body?: unknown): Promise<unknown> {
    const answer = await this.call(method, path, body);
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`);
    return answer.body;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#registry.close();
    await this.#served.close();
  }
}

export interface Answered {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly body: unknown;
}

function openMemory(): Promise<EmbeddedRegistry> {
  return EmbeddedRegistry.open({
    dataDir: undefined,
    owner: { pid: process.pid, isAlive: () => true },
    clock: systemClock,
    log: () => undefined,
  });
}

function appOn(registry: EmbeddedRegistry, deps: Partial<RegistryAppDeps>): ReturnType<typeof createRegistryApp> {
  return createRegistryApp({
    registry,
    clock: systemClock,
    addresses: new AddressPolicy({ allowLoopback: true, ownListeners: [] }),
    random: () => 0.5,
    log: () => undefined,
    ...deps,
  });
}
