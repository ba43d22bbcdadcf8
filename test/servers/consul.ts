import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestAuthority } from './certificates.ts';
import { findBinary, freePorts, inLanes, RealServer } from './real-server.ts';

/** Undefined where the machine has none: `.ci/install-consul.sh` puts one into the tools folder. */
export const consulBinary = findBinary(['consul', 'consul/usr/bin/consul'], 'version');

export interface ConsulPlan {
  /** Access control on, everything denied by default; the tests' own calls may do all. */
  readonly acl?: boolean;
  /** Serve HTTPS with a certificate of this authority, and ask clients for one of it too. */
  readonly authority?: TestAuthority;
  /** More of the agent's configuration file. */
  readonly config?: Readonly<Record<string, unknown>>;
}

export interface ConsulRegistration {
  readonly ID?: string;
  readonly Name: string;
  readonly Address?: string;
  readonly Port?: number;
  readonly Tags?: readonly string[];
  readonly Meta?: Readonly<Record<string, string>>;
  readonly Weights?: { readonly Passing: number; readonly Warning: number };
  readonly Checks?: readonly Readonly<Record<string, unknown>>[];
}

/** A real Consul: one agent that is its own server. */
export class ConsulServer {
  readonly server: RealServer;
  readonly port: number;
  /** With an authority, the API in plain text for the tests' own use. */
  readonly #plainPort: number;
  readonly #plan: ConsulPlan;

  private constructor(server: RealServer, port: number, plainPort: number, plan: ConsulPlan) {
    this.server = server;
    this.port = port;
    this.#plainPort = plainPort;
    this.#plan = plan;
  }

  static async start(plan: ConsulPlan = {}): Promise<ConsulServer> {
    const made = ConsulServer.#prepare(plan, await freePorts(PORTS));
    await made.server.start();
    return made;
  }

  /** Servers of one cluster; the caller ends each of them. */
  static async startCluster(size: number): Promise<ConsulServer[]> {
    const ports = await freePorts(PORTS * size);
    const sets = Array.from({ length: size }, (_, at) => ports.slice(PORTS * at, PORTS * (at + 1)));
    const join = sets.map(([, , , serf]) => `127.0.0.1:${serf}`);
    const servers = sets.map((set, at) =>
      ConsulServer.#prepare(
        { config: { node_name: `node-${at}`, bootstrap_expect: size, retry_join: join, retry_interval: '1s' } },
        set,
      ),
    );
    // Each waits for the others, so none is ready alone.
    await Promise.all(servers.map((each) => each.server.start()));
    return servers;
  }

  static #prepare(plan: ConsulPlan, ports: readonly number[]): ConsulServer {
    if (consulBinary === undefined) throw new Error('no consul on this machine: run .ci/install-consul.sh');
    const [http = 0, https = 0] = ports;
    const server = new RealServer({
      name: 'consul',
      binary: consulBinary,
      prepare: (dataDir) => writeFile(join(dataDir, 'agent.json'), JSON.stringify(settings(plan, ports, dataDir))),
      arguments: (dataDir) => ['agent', '-config-file', join(dataDir, 'agent.json')],
      ready: async () => {
        const headers = { 'x-consul-token': MANAGEMENT_TOKEN };
        const signal = AbortSignal.timeout(1000);
        const response = await fetch(`http://127.0.0.1:${http}/v1/catalog/services?consistent`, { headers, signal });
        // Its own service is the last thing a new leader writes.
        return response.ok && 'consul' in ((await response.json()) as object);
      },
    });
    return new ConsulServer(server, plan.authority ? https : http, http, plan);
  }

  get url(): string {
    return `${this.#plan.authority ? 'https' : 'http'}://127.0.0.1:${this.port}`;
  }

  /** A check that is registered again keeps the state it had: checks that name a `Status` are set to it. */
  async register(registration: ConsulRegistration): Promise<void> {
    await this.call('PUT', '/v1/agent/service/register', registration);
    for (const check of registration.Checks ?? []) {
      const update = typeof check['Status'] === 'string' ? { Status: check['Status'] } : undefined;
      if (update)
        await this.call('PUT', `/v1/agent/check/update/${encodeURIComponent(String(check['CheckID']))}`, update);
    }
  }

  async deregister(id: string): Promise<void> {
    await this.call('PUT', `/v1/agent/service/deregister/${encodeURIComponent(id)}`);
  }

  /** As fast as it goes; changes of one id stay in order. */
  async apply(changes: readonly (ConsulRegistration | { readonly deregister: string })[]): Promise<void> {
    const idOf = (change: (typeof changes)[number]): string =>
      'deregister' in change ? change.deregister : (change.ID ?? change.Name);
    await inLanes(changes, idOf, async (change) => {
      if ('deregister' in change) await this.deregister(change.deregister);
      else await this.register(change);
    });
  }

  /** As management; the parsed answer, or its text where it is not JSON. */
  async call(method: string, path: string, body?: unknown): Promise<unknown> {
    const response = await fetch(`http://127.0.0.1:${this.#plainPort}${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      headers: this.#plan.acl === true ? { 'x-consul-token': MANAGEMENT_TOKEN } : {},
      signal: AbortSignal.timeout(10_000),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`consul ${method} ${path}: ${response.status} ${text}`);
    try {
      return JSON.parse(text) as unknown;
    } catch {
      return text;
    }
  }

  /** A token with these rules (HCL). */
  async token(name: string, rules: string): Promise<string> {
    await this.call('PUT', '/v1/acl/policy', { Name: name, Rules: rules });
    const made = (await this.call('PUT', '/v1/acl/token', { Policies: [{ Name: name }] })) as { SecretID: string };
    return made.SecretID;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.server[Symbol.asyncDispose]();
  }
}

const MANAGEMENT_TOKEN = '00000000-0000-4000-8000-000000000001';
/** HTTP, HTTPS, RPC, gossip on the LAN and on the WAN. */
const PORTS = 5;

function settings(plan: ConsulPlan, ports: readonly number[], dataDir: string): Record<string, unknown> {
  const [http, https, server, serfLan, serfWan] = ports;
  const tls = plan.authority?.issue('server.dc1.consul', ['DNS:localhost', 'IP:127.0.0.1']);
  const acl = { enabled: true, default_policy: 'deny', tokens: { master: MANAGEMENT_TOKEN } };
  return {
    server: true,
    bootstrap_expect: 1,
    node_name: 'node-one',
    data_dir: join(dataDir, 'data'),
    bind_addr: '127.0.0.1',
    client_addr: '127.0.0.1',
    ports: { http, https: tls ? https : -1, grpc: -1, dns: -1, server, serf_lan: serfLan, serf_wan: serfWan },
    log_level: 'ERR',
    disable_update_check: true,
    leave_on_terminate: false,
    // Servers on one machine elect each other quickly: no reason to wait for slow ones.
    performance: { raft_multiplier: 1 },
    ...(plan.acl === true ? { acl } : {}),
    ...(tls ? { cert_file: tls.certFile, key_file: tls.keyFile, verify_incoming: true } : {}),
    ...(plan.authority ? { ca_file: plan.authority.ca.certFile } : {}),
    ...plan.config,
  };
}
