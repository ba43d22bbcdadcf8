import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const ROOT = new URL('../..', import.meta.url).pathname;

export async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Polls until `check` gives something; fails with `what` when it does not in time. */
export async function eventually<T>(
  what: string,
  check: () => Promise<T | undefined | false> | T | undefined | false,
  withinMs = 15_000,
): Promise<T> {
  const deadline = performance.now() + withinMs;
  let last: unknown;
  while (performance.now() < deadline) {
    try {
      const result = await check();
      if (result !== undefined && result !== false) return result;
    } catch (error) {
      last = error;
    }
    await pause(20);
  }
  throw new Error(`not within ${withinMs} ms: ${what}${last instanceof Error ? ` (${last.message})` : ''}`);
}

/** A process of ours: ended by its own id, whatever happens. */
export class Process {
  readonly child: ChildProcess;
  output = '';
  readonly exited: Promise<number | null>;

  /** `through`: a command and its arguments that become Node by exec, such as `ip netns exec NAME`. */
  constructor(
    args: readonly string[],
    env: NodeJS.ProcessEnv = {},
    how: { readonly through?: readonly string[]; readonly ipc?: boolean } = {},
  ) {
    const [command = process.execPath, ...rest] = [...(how.through ?? []), process.execPath, ...args];
    this.child = spawn(command, rest, {
      cwd: ROOT,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe', how.ipc ? 'ipc' : 'ignore'],
    });
    this.child.stdout?.on('data', (chunk: Buffer) => (this.output = (this.output + chunk.toString()).slice(-200_000)));
    this.child.stderr?.on('data', (chunk: Buffer) => (this.output = (this.output + chunk.toString()).slice(-200_000)));
    this.exited = new Promise((resolve) => this.child.once('exit', resolve));
  }

  get pid(): number {
    return this.child.pid!;
  }

  signal(name: NodeJS.Signals): void {
    this.child.kill(name);
  }

  async kill(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.child.kill('SIGCONT');
      this.child.kill('SIGKILL');
    }
    await this.exited;
  }
}

export class Instance extends Process {
  port = 0;
  name = '';

  static async start(options: {
    service?: string;
    registry?: string;
    name: string;
    delay?: string;
    ttl?: string;
    port?: number;
  }): Promise<Instance> {
    const args = ['demo/instance.ts', '--service', options.service ?? 'web', '--name', options.name];
    if (options.registry) args.push('--registry', options.registry);
    if (options.delay) args.push('--delay', options.delay);
    if (options.ttl) args.push('--ttl', options.ttl);
    if (options.port) args.push('--port', String(options.port));
    const instance = new Instance(args);
    instance.name = options.name;
    instance.port = await eventually(
      `instance ${options.name} listens`,
      () => Number(/listening (\d+)/.exec(instance.output)?.[1] ?? 0) || undefined,
    );
    return instance;
  }

  async control(path = '/__state'): Promise<{ served: number; orders: Record<string, number> }> {
    const response = await fetch(`http://127.0.0.1:${this.port}${path}`);
    return (await response.json()) as { served: number; orders: Record<string, number> };
  }
}

export interface GatewayOptions {
  /** YAML of `defaults:` and further top-level keys. */
  readonly extra?: string;
  /** YAML of the list of registries; the embedded one where missing. */
  readonly registries?: string;
  /** YAML of registries beside the embedded one, as items of a list. */
  readonly besides?: string;
  /** false: only wait until it is alive. */
  readonly ready?: boolean;
  /** Environment of the process, kept for later launches. */
  readonly env?: NodeJS.ProcessEnv;
  /** See `Process`. */
  readonly through?: readonly string[];
}

/** The gateway as a process, with its embedded registry on free ports. */
export class GatewayProcess {
  readonly port: number;
  readonly adminPort: number;
  readonly registryPort: number;
  readonly directory: string;
  process!: Process;
  #env: NodeJS.ProcessEnv = {};
  #through: readonly string[] = [];

  private constructor(ports: readonly [number, number, number], directory: string) {
    [this.port, this.adminPort, this.registryPort] = ports;
    this.directory = directory;
  }

  /** Ports and a directory; the configuration is the caller's to write, and then `launch`. */
  static async prepare(): Promise<GatewayProcess> {
    const directory = await mkdtemp(join(tmpdir(), 'fairlead-e2e-'));
    return new GatewayProcess([await freePort(), await freePort(), await freePort()], directory);
  }

  static async start(options: GatewayOptions = {}): Promise<GatewayProcess> {
    const gateway = await GatewayProcess.prepare();
    gateway.#env = options.env ?? {};
    gateway.#through = options.through ?? [];
    await gateway.configure(options);
    try {
      await gateway.launch(options.ready);
    } catch (error) {
      await gateway.stop();
      throw error;
    }
    return gateway;
  }

  get configFile(): string {
    return join(this.directory, 'fairlead.yaml');
  }

  /** A line of JSON for each request. */
  get accessLog(): string {
    return join(this.directory, 'access.log');
  }

  get registry(): string {
    return `http://127.0.0.1:${this.registryPort}`;
  }

  get admin(): string {
    return `http://127.0.0.1:${this.adminPort}`;
  }

  async configure({ extra = '', registries, besides = '' }: GatewayOptions): Promise<void> {
    const embedded = `[{ name: local, type: embedded, listen: ['127.0.0.1:${this.registryPort}'], dataDir: '${this.directory}/data' }${besides && `, ${besides}`}]`;
    await writeFile(
      this.configFile,
      `gateway: { listen: ['127.0.0.1:${this.port}'], domain: localhost, stateDir: '${this.directory}/state', accessLog: '${this.accessLog}', upstreamAddresses: { allowLoopback: true } }
admin: { listen: '127.0.0.1:${this.adminPort}' }
registries: ${registries ?? embedded}
${extra.includes('shutdown:') ? '' : 'shutdown: { acceptFor: 0s, drain: 5s }\n'}${extra}
`,
    );
  }

  async launch(ready = true, flags: readonly string[] = []): Promise<void> {
    this.process = new Process(['bin/fairlead.js', 'run', '-c', this.configFile, ...flags], this.#env, {
      through: this.#through,
    });
    await Promise.race([
      eventually(
        'the gateway is ready',
        async () => (await fetch(`${this.admin}/${ready ? 'readyz' : 'healthz'}`)).ok,
        30_000,
      ),
      this.process.exited.then((code) => {
        throw new Error(`the gateway ended with ${code ?? this.process.child.signalCode}: ${this.process.output}`);
      }),
    ]);
  }

  async register(body: object): Promise<string> {
    const response = await this.api('POST', '/register', body);
    if (response.status !== 201) throw new Error(`${response.status} ${await response.text()}`);
    return ((await response.json()) as { id: string }).id;
  }

  api(method: string, path: string, body?: object): Promise<Response> {
    return fetch(`${this.registry}${path}`, {
      method,
      ...(body ? { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) } : {}),
    });
  }

  /** Waits until so many instances of the service take traffic. */
  async serving(service: string, count: number): Promise<void> {
    await eventually(
      `${count} instances of ${service} take traffic`,
      async () => {
        const response = await fetch(`${this.admin}/api/services`);
        const { services } = (await response.json()) as { services: { name: string; takingTraffic: number }[] };
        return services.find(({ name }) => name === service)?.takingTraffic === count;
      },
      20_000,
    );
  }

  async explain(
    service: string,
  ): Promise<{ instances: { id: string; address: string; state: string; why: string; inflight: number }[] }> {
    const response = await fetch(`${this.admin}/api/services/${service}/explain`);
    return (await response.json()) as Awaited<ReturnType<GatewayProcess['explain']>>;
  }

  /** The value of a series of `/metrics`, summed over those whose labels contain all of `labels` (`name="value"`). */
  async metric(name: string, ...labels: readonly string[]): Promise<number> {
    const text = await (await fetch(`${this.admin}/metrics`)).text();
    let sum = 0;
    for (const line of text.split('\n')) {
      if (!line.startsWith(`${name}{`) || !labels.every((label) => line.includes(label))) continue;
      sum += Number(line.slice(line.lastIndexOf(' ') + 1));
    }
    return sum;
  }

  async cli(...args: string[]): Promise<{ code: number | null; output: string }> {
    const child = new Process(['bin/fairlead.js', ...args], { FAIRLEAD_ADMIN: this.admin });
    const code = await child.exited;
    await pause(20);
    return { code, output: child.output };
  }

  async stop(): Promise<void> {
    await this.process.kill();
    await rm(this.directory, { recursive: true, force: true });
  }
}

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

/**
 * A client gives up an idle connection before the gateway does (after 65 s), as Node's own agent does: on a busy machine it
 * would send a request on one that has just been closed, which no server can answer. Requests under way are not meant.
 */
const IDLE_MS = 5000;

const agent = new http.Agent({ keepAlive: true, maxSockets: 200, timeout: IDLE_MS });

/** One request to a service by its stable name. Rejects where the connection breaks or nothing comes in `withinMs`. */
export function request(
  gateway: { readonly port: number },
  options: {
    service?: string;
    host?: string;
    method?: string;
    path?: string;
    body?: string;
    withinMs?: number;
    fresh?: boolean;
    agent?: http.Agent;
  } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = http.request(
      {
        host: '127.0.0.1',
        port: gateway.port,
        method: options.method ?? 'GET',
        path: options.path ?? '/',
        agent: options.fresh ? false : (options.agent ?? agent),
        headers: {
          host: options.host ?? `${options.service ?? 'web'}.localhost`,
          ...(options.body === undefined ? {} : { 'content-length': Buffer.byteLength(options.body) }),
        },
        signal: AbortSignal.timeout(options.withinMs ?? 30_000),
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks).toString(),
          }),
        );
        response.on('error', reject);
      },
    );
    outgoing.on('error', reject);
    outgoing.end(options.body);
  });
}

export interface Tally {
  readonly sent: number;
  readonly failures: { readonly method: string; readonly what: string; readonly atMs: number }[];
  readonly byInstance: Map<string, number>;
  readonly orders: string[];
  /** Of each request that was answered at all, in the order of the answers: when it was due, and how long it took. */
  readonly answered: { readonly atMs: number; readonly tookMs: number; readonly status: number }[];
  slowestMs: number;
}

/** Steady open-loop traffic at `perSecond` until `stop`, every fourth request a POST with a number of its own. */
export class Traffic {
  readonly tally: Tally & { sent: number } = {
    sent: 0,
    failures: [],
    byInstance: new Map(),
    orders: [],
    answered: [],
    slowestMs: 0,
  };
  /** Open loop: the next request never waits for a connection. */
  readonly #agent = new http.Agent({ keepAlive: true, timeout: IDLE_MS });
  readonly #gateway: { readonly port: number };
  readonly #service: string;
  readonly #timer: NodeJS.Timeout;
  readonly #pending = new Set<Promise<void>>();
  readonly #began = performance.now();
  readonly #posts: boolean;
  readonly #perSecond: number;

  constructor(gateway: { readonly port: number }, options: { perSecond: number; service?: string; posts?: boolean }) {
    this.#gateway = gateway;
    this.#service = options.service ?? 'web';
    this.#posts = options.posts ?? true;
    this.#perSecond = options.perSecond;
    this.#timer = setInterval(() => {
      const due = ((performance.now() - this.#began) * options.perSecond) / 1000;
      while (this.tally.sent < due) this.#send();
    }, 5);
  }

  get nowMs(): number {
    return performance.now() - this.#began;
  }

  #send(): void {
    const number = this.tally.sent++;
    const post = this.#posts && number % 4 === 3;
    // From when it was due, not from when this process found the time to send it.
    const atMs = (number * 1000) / this.#perSecond;
    const body = post ? `order-${number}` : undefined;
    const method = post ? 'POST' : 'GET';
    const sent = request(this.#gateway, {
      service: this.#service,
      method,
      agent: this.#agent,
      ...(body === undefined ? {} : { body }),
    }).then(
      (answer) => {
        const tookMs = this.nowMs - atMs;
        this.tally.slowestMs = Math.max(this.tally.slowestMs, tookMs);
        this.tally.answered.push({ atMs, tookMs, status: answer.status });
        if (answer.status !== 200)
          this.tally.failures.push({ method, what: `${answer.status} ${answer.body.slice(0, 200)}`, atMs });
        else if (body !== undefined) this.tally.orders.push(body);
        const by = String(answer.headers['x-instance']);
        this.tally.byInstance.set(by, (this.tally.byInstance.get(by) ?? 0) + 1);
      },
      (error: unknown) => {
        this.tally.failures.push({ method, what: String(error), atMs });
      },
    );
    this.#pending.add(sent);
    void sent.finally(() => this.#pending.delete(sent));
  }

  async stop(): Promise<Tally> {
    clearInterval(this.#timer);
    await Promise.all(this.#pending);
    this.#agent.destroy();
    return this.tally;
  }
}
