import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Certificate, TestAuthority } from './certificates.ts';
import { findBinary, freePorts, inLanes, RealServer } from './real-server.ts';

const run = promisify(execFile);

/** Undefined where the machine has none: Debian's package is etcd-server. */
export const etcdBinary = findBinary(['etcd', 'etcd/usr/bin/etcd'], '--version');

export interface EtcdPlan {
  /** Serve TLS with a certificate of this authority, and ask clients for one of it too. */
  readonly authority?: TestAuthority;
  readonly extraArguments?: readonly string[];
}

export interface EtcdWrite {
  readonly key: string;
  /** undefined = delete the key. */
  readonly value: string | undefined;
}

interface Member {
  readonly name: string;
  readonly client: number;
  readonly metrics: number;
  readonly peerUrl: string;
  readonly cluster: string;
}

/** A real etcd of one member. Written to through its JSON gateway: another way than the one that is tested. */
export class EtcdServer {
  readonly server: RealServer;
  readonly port: number;
  readonly #authority: TestAuthority | undefined;
  readonly #client: Certificate | undefined;
  /** What the gateway is sent once authentication is on. */
  #token: string | undefined;

  private constructor(server: RealServer, port: number, authority: TestAuthority | undefined) {
    this.server = server;
    this.port = port;
    this.#authority = authority;
    this.#client = authority?.issue('etcdctl');
  }

  static async start(plan: EtcdPlan = {}): Promise<EtcdServer> {
    const [client = 0, peer = 0, metrics = 0] = await freePorts(3);
    const peerUrl = `http://127.0.0.1:${peer}`;
    const made = EtcdServer.prepare(plan, { name: 'one', client, metrics, peerUrl, cluster: `one=${peerUrl}` });
    await made.server.start();
    return made;
  }

  /** A member that is not started yet. */
  static prepare(plan: EtcdPlan, member: Member): EtcdServer {
    if (etcdBinary === undefined) throw new Error('no etcd on this machine');
    const { name, client, metrics, peerUrl, cluster } = member;
    const scheme = plan.authority ? 'https' : 'http';
    const server = new RealServer({
      name: 'etcd',
      binary: etcdBinary,
      arguments: (dataDir) => [
        ...['--name', name, '--data-dir', dataDir, '--log-level', 'error'],
        ...['--listen-client-urls', `${scheme}://127.0.0.1:${client}`],
        ...['--advertise-client-urls', `${scheme}://127.0.0.1:${client}`],
        ...['--listen-peer-urls', peerUrl, '--initial-advertise-peer-urls', peerUrl],
        ...['--initial-cluster', cluster, '--listen-metrics-urls', `http://127.0.0.1:${metrics}`],
        // Members on one machine elect each other quickly: no reason to wait a second for it.
        ...['--heartbeat-interval', '20', '--election-timeout', '200', '--logger', 'zap'],
        ...(plan.authority ? tlsArguments(plan.authority) : []),
        ...(plan.extraArguments ?? []),
      ],
      ready: async () => {
        const response = await fetch(`http://127.0.0.1:${metrics}/health`, { signal: AbortSignal.timeout(1000) });
        return (await response.text()).includes('true');
      },
    });
    return new EtcdServer(server, client, plan.authority);
  }

  get url(): string {
    return `${this.#authority ? 'https' : 'http'}://127.0.0.1:${this.port}`;
  }

  put(key: string, value: unknown): Promise<void> {
    return this.write([{ key, value: typeof value === 'string' ? value : JSON.stringify(value) }]);
  }

  delete(key: string): Promise<void> {
    return this.write([{ key, value: undefined }]);
  }

  /** As fast as it goes; writes of one key stay in order. */
  async write(writes: readonly EtcdWrite[]): Promise<void> {
    await inLanes(
      writes,
      ({ key }) => key,
      async ({ key, value }) => {
        if (value === undefined) await this.gateway('kv/deleterange', { key: base64(key) });
        else await this.gateway('kv/put', { key: base64(key), value: base64(value) });
      },
    );
  }

  /** Many keys at once, 128 to a transaction: the most that etcd takes. */
  async fill(pairs: readonly (readonly [key: string, value: string])[]): Promise<void> {
    for (let from = 0; from < pairs.length; from += 128) {
      const success = pairs
        .slice(from, from + 128)
        .map(([key, value]) => ({ requestPut: { key: base64(key), value: base64(value) } }));
      await this.gateway('kv/txn', { success });
    }
  }

  /** The revision of the store. */
  async revision(): Promise<number> {
    const answer = (await this.gateway('kv/range', { key: base64('?'), limit: 1 })) as { header: { revision: string } };
    return Number(answer.header.revision);
  }

  /** Forgets the history before this revision. */
  async compact(revision: number): Promise<void> {
    await this.gateway('kv/compaction', { revision, physical: true });
  }

  /** Turns authentication on: root, and a user who may read what the role says. */
  async enableAuth(user: { name: string; password: string; role: string; readPrefix: string }): Promise<void> {
    await this.etcdctl('user', 'add', 'root:rootpw');
    await this.etcdctl('user', 'grant-role', 'root', 'root');
    await this.etcdctl('role', 'add', user.role);
    await this.etcdctl('role', 'grant-permission', user.role, 'read', '--prefix', user.readPrefix);
    await this.etcdctl('user', 'add', `${user.name}:${user.password}`);
    await this.etcdctl('user', 'grant-role', user.name, user.role);
    await this.etcdctl('auth', 'enable');
    await this.login();
  }

  /** A new token for the gateway. */
  async login(): Promise<void> {
    this.#token = undefined;
    const answer = await this.gateway('auth/authenticate', { name: 'root', password: 'rootpw' });
    this.#token = (answer as { token: string }).token;
  }

  /** As root, once authentication is on. */
  async etcdctl(...args: readonly string[]): Promise<string> {
    const who = this.#token === undefined ? [] : ['--user', 'root:rootpw'];
    const tls = this.#authority && this.#client ? clientArguments(this.#authority, this.#client) : [];
    const env = { ...process.env, ETCDCTL_API: '3' };
    const { stdout } = await run('etcdctl', ['--endpoints', this.url, ...tls, ...who, ...args], {
      env,
      timeout: 10_000,
    });
    return stdout;
  }

  async gateway(path: string, body: unknown): Promise<unknown> {
    const response = await fetch(`${this.url}/v3/${path}`, {
      method: 'POST',
      body: JSON.stringify(body),
      ...(this.#token === undefined ? {} : { headers: { authorization: this.#token } }),
      signal: AbortSignal.timeout(10_000),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`etcd gateway ${path}: ${response.status} ${text}`);
    return JSON.parse(text) as unknown;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.server[Symbol.asyncDispose]();
  }
}

/** Several members that replicate to each other. */
export class EtcdCluster {
  readonly members: readonly EtcdServer[];

  private constructor(members: readonly EtcdServer[]) {
    this.members = members;
  }

  static async start(size: number): Promise<EtcdCluster> {
    const ports = await freePorts(3 * size);
    const peers = Array.from({ length: size }, (_, at) => ({
      name: `m${at}`,
      peerUrl: `http://127.0.0.1:${ports[3 * at]}`,
    }));
    const cluster = peers.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(',');
    const members = peers.map((peer, at) =>
      EtcdServer.prepare({}, { ...peer, cluster, client: ports[3 * at + 1] ?? 0, metrics: ports[3 * at + 2] ?? 0 }),
    );
    // Each waits for a quorum, so none is ready before another has started.
    await Promise.all(members.map((member) => member.server.start()));
    return new EtcdCluster(members);
  }

  get urls(): string[] {
    return this.members.map((member) => member.url);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.members.map((member) => member[Symbol.asyncDispose]()));
  }
}

function tlsArguments(authority: TestAuthority): string[] {
  const { certFile, keyFile } = authority.issue('etcd');
  const server = ['--cert-file', certFile, '--key-file', keyFile];
  return [...server, '--client-cert-auth', '--trusted-ca-file', authority.ca.certFile];
}

function clientArguments(authority: TestAuthority, client: Certificate): string[] {
  return ['--cacert', authority.ca.certFile, '--cert', client.certFile, '--key', client.keyFile];
}

function base64(text: string): string {
  return Buffer.from(text, 'utf8').toString('base64');
}
