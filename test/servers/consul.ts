import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestAuthority } from './certificates.ts';
import { findBinary, freePorts, inLanes, RealServer, type ServerPlan } from './real-server.ts';

/** Undefined where the machine has none: `.ci/install-consul.sh` puts one into the tools folder. */
export const consulBinary = findBinary(['consul', 'consul/usr/bin/consul'], 'version');

export interface ConsulPlan {
  /** Access control on, everything denied by default; `managementToken` may do all. */
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
  readonly managementToken = '00000000-0000-4000-8000-000000000001';
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
    if (consulBinary === undefined) throw new Error('no consul on this machine: run .ci/install-consul.sh');
    const [http = 0, https = 0, rpc = 0, serf = 0, wan = 0] = await freePorts(5);
    const managementToken = '00000000-0000-4000-8000-000000000001';
    const tls = plan.authority?.issue('server.dc1.consul', ['DNS:localhost', 'IP:127.0.0.1']);
    const settings = (dataDir: string): Record<string, unknown> => ({
      server: true,
      bootstrap_expect: 1,
      node_name: 'node-one',
      data_dir: join(dataDir, 'data'),
      bind_addr: '127.0.0.1',
      client_addr: '127.0.0.1',
      ports: {
        http,
        https: plan.authority ? https : -1,
        grpc: -1,
        dns: -1,
        server: rpc,
        serf_lan: serf,
        serf_wan: wan,
      },
      log_level: 'ERR',
      disable_update_check: true,
      leave_on_terminate: false,
      // A server of one elects itself: no reason to wait for others.
      performance: { raft_multiplier: 1 },
      ...(plan.acl === true
        ? { acl: { enabled: true, default_policy: 'deny', tokens: { master: managementToken } } }
        : {}),
      ...(tls
        ? {
            cert_file: tls.certFile,
            key_file: tls.keyFile,
            ca_file: plan.authority?.ca.certFile,
            verify_incoming: true,
          }
        : {}),
      ...plan.config,
    });
    const serverPlan: ServerPlan = {
      name: 'consul',
      binary: consulBinary,
      prepare: (dataDir) => writeFile(join(dataDir, 'agent.json'), JSON.stringify(settings(dataDir))),
      arguments: (dataDir) => ['agent', '-config-file', join(dataDir, 'agent.json')],
      ready: async () => {
        const headers = { 'x-consul-token': managementToken };
        const signal = AbortSignal.timeout(1000);
        const response = await fetch(`http://127.0.0.1:${http}/v1/catalog/services`, { headers, signal });
        // Its own service is the last thing a new leader writes.
        return response.ok && 'consul' in ((await response.json()) as object);
      },
    };
    const made = new ConsulServer(new RealServer(serverPlan), plan.authority ? https : http, http, plan);
    await made.server.start();
    return made;
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
      headers: this.#plan.acl === true ? { 'x-consul-token': this.managementToken } : {},
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
