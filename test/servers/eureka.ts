import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { findBinary, freePorts, RealServer } from './real-server.ts';

const TOOLS = process.env['FAIRLEAD_TEST_TOOLS'] ?? join(homedir(), '.cache', 'fairlead-test');
const JAR = join(TOOLS, 'eureka', 'eureka-server.jar');
/** Classes as the JVM keeps them in memory: half of what a start costs. Java goes without where it does not fit. */
const ARCHIVE = join(TOOLS, 'eureka', 'eureka-server.jsa');

/** Undefined where the machine has none: `.ci/build-eureka.sh` builds it. */
export const eurekaJar = existsSync(JAR) && findBinary(['java'], '-version') !== undefined ? JAR : undefined;

const DEFAULTS: Readonly<Record<string, string | number>> = {
  'server.address': '127.0.0.1',
  'spring.main.banner-mode': 'off',
  'eureka.client.register-with-eureka': 'false',
  'eureka.client.fetch-registry': 'false',
  // Reads see every write: the cache in front of the cache has tests of its own.
  'eureka.server.use-read-only-response-cache': 'false',
  // An answer that is being computed while something is written is kept all the same (Guava's cache drops only what is
  // complete), and nothing but the next write or this time ends it. By default 180 s: a test would wait for ever.
  'eureka.server.response-cache-auto-expiration-in-seconds': 1,
  'eureka.server.enable-self-preservation': 'false',
  'eureka.server.eviction-interval-timer-in-ms': 500,
};

/** Spring Cloud Netflix Eureka, alone, with its caches and sweeps made short. Registrations live in its memory only. */
export class EurekaServer {
  readonly server: RealServer;
  readonly port: number;

  private constructor(server: RealServer, port: number) {
    this.server = server;
    this.port = port;
  }

  static async start(settings: Readonly<Record<string, string | number>> = {}): Promise<EurekaServer> {
    if (eurekaJar === undefined) throw new Error('no Eureka on this machine: run .ci/build-eureka.sh');
    const [port = 0] = await freePorts(1);
    const server = new RealServer({
      name: 'eureka',
      binary: 'java',
      arguments: () => [
        ...['-Xmx256m', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC'],
        ...(existsSync(ARCHIVE) ? [`-XX:SharedArchiveFile=${ARCHIVE}`] : []),
        ...['-jar', eurekaJar],
        // Given twice, Spring would join the values.
        ...Object.entries({ ...DEFAULTS, 'server.port': port, ...settings }).map(([key, value]) => `--${key}=${value}`),
      ],
      ready: async () => {
        const signal = AbortSignal.timeout(1000);
        const { status } = await fetch(`http://127.0.0.1:${port}/eureka/apps/`, { signal });
        return status === 200 || status === 403;
      },
      readyMs: 60_000,
    });
    const made = new EurekaServer(server, port);
    await made.server.start();
    return made;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}/eureka`;
  }

  async register(instance: Readonly<Record<string, unknown>> & { readonly app: string }): Promise<void> {
    await this.call('POST', `apps/${instance.app}`, { instance });
  }

  async call(method: string, path: string, body?: unknown): Promise<void> {
    const response = await fetch(`${this.url}/${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      headers: { 'content-type': 'application/json', accept: 'application/json' },
      signal: AbortSignal.timeout(10_000),
    });
    await response.arrayBuffer();
    if (!response.ok && !(method === 'DELETE' && response.status === 404)) {
      throw new Error(`eureka ${method} ${path}: ${response.status}`);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.server[Symbol.asyncDispose]();
  }
}
