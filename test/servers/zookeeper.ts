import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createHash } from 'node:crypto';
import { connect } from 'node:net';
import { systemClock } from '../../src/core/clock.ts';
import { ZookeeperConnection } from '../../src/registry/zookeeper/connection.ts';
import { JuteWriter } from '../../src/registry/zookeeper/jute.ts';
import { CODE, ServerVerdict } from '../../src/registry/zookeeper/messages.ts';
import { findBinary, freePorts, RealServer } from './real-server.ts';

const CLASSES = ['/usr/share/java/zookeeper.jar', '/usr/share/zookeeper/lib/zookeeper.jar'].find((jar) =>
  existsSync(jar),
);
const java = CLASSES === undefined ? undefined : findBinary(['java'], '-version');

/** Undefined where the machine has none: Debian's package is zookeeper. */
export const zookeeperClasses = java === undefined ? undefined : CLASSES;

export interface ZookeeperPlan {
  /** One tick; sessions last 2 to 20 of them. Default 250. */
  readonly tickMs?: number;
  /** More lines of zoo.cfg. */
  readonly config?: readonly string[];
  /** Our number among `server.N` lines; without them, a server alone. */
  readonly myId?: number;
  readonly clientPort?: number;
}

export interface ZookeeperWrite {
  readonly path: string;
  /** undefined = delete the node. */
  readonly value: string | undefined;
}

/** Who may do what with a node. */
export interface Acl {
  /** 1 read, 2 write, 4 create, 8 delete, 16 admin. */
  readonly permissions: number;
  readonly scheme: 'world' | 'digest';
  readonly id: string;
}

export const ANYONE: Acl = { permissions: 31, scheme: 'world', id: 'anyone' };

/** The id of the digest scheme, as `setAcl` takes it. */
export function digestId(user: string, password: string): string {
  return `${user}:${createHash('sha1').update(`${user}:${password}`).digest('base64')}`;
}

const CREATE = 1;
const DELETE = 2;
const SET_DATA = 5;
const SET_ACL = 7;
const NODE_EXISTS = -110;
const NOT_EMPTY = -111;

/** A real ZooKeeper of one member. Written to through a connection of its own. */
export class ZookeeperServer {
  readonly server: RealServer;
  readonly port: number;
  #writer: Promise<ZookeeperConnection> | undefined;
  #writing = new AbortController();

  private constructor(server: RealServer, port: number) {
    this.server = server;
    this.port = port;
  }

  static async start(plan: ZookeeperPlan = {}): Promise<ZookeeperServer> {
    const made = await ZookeeperServer.prepare(plan);
    await made.server.start();
    return made;
  }

  /** A server that is not started yet. */
  static async prepare(plan: ZookeeperPlan = {}): Promise<ZookeeperServer> {
    if (zookeeperClasses === undefined) throw new Error('no zookeeper on this machine');
    const port = plan.clientPort ?? (await freePorts(1))[0] ?? 0;
    const settings = (dataDir: string): string =>
      [
        `tickTime=${plan.tickMs ?? 250}`,
        `dataDir=${join(dataDir, 'data')}`,
        `clientPort=${port}`,
        'clientPortAddress=127.0.0.1',
        'admin.enableServer=false',
        '4lw.commands.whitelist=*',
        // Tests need no durability; the machine's disk is shared.
        'forceSync=no',
        'maxClientCnxns=0',
        ...(plan.config ?? []),
        '',
      ].join('\n');
    const main = plan.myId === undefined ? 'ZooKeeperServerMain' : 'quorum.QuorumPeerMain';
    const server = new RealServer({
      name: 'zookeeper',
      binary: 'java',
      prepare: async (dataDir) => {
        await mkdir(join(dataDir, 'data'), { recursive: true });
        if (plan.myId !== undefined) await writeFile(join(dataDir, 'data', 'myid'), String(plan.myId));
        await writeFile(join(dataDir, 'zoo.cfg'), settings(dataDir));
      },
      arguments: (dataDir) => [
        ...['-Xmx256m', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-Xshare:auto', '-cp', zookeeperClasses],
        ...['-Dzookeeper.forceSync=no', '-Dzookeeper.preAllocSize=1024'],
        ...[`org.apache.zookeeper.server.${main}`, join(dataDir, 'zoo.cfg')],
      ],
      ready: async () => {
        const connection = await open(port, new AbortController().signal);
        connection.close();
        return true;
      },
    });
    return new ZookeeperServer(server, port);
  }

  get address(): { readonly host: string; readonly port: number } {
    return { host: '127.0.0.1', port: this.port };
  }

  put(path: string, value: unknown): Promise<void> {
    return this.write([{ path, value: typeof value === 'string' ? value : JSON.stringify(value) }]);
  }

  delete(path: string): Promise<void> {
    return this.write([{ path, value: undefined }]);
  }

  /** In order, all on their way at once. Parents are made where they are missing. */
  async write(writes: readonly ZookeeperWrite[]): Promise<void> {
    const parents = new Set(writes.flatMap(({ path, value }) => (value === undefined ? [] : parentsOf(path))));
    for (const parent of parents) await this.#create(parent, '');
    await Promise.all(
      writes.map(({ path, value }) => (value === undefined ? this.#remove(path) : this.#put(path, value))),
    );
  }

  async setAcl(path: string, acls: readonly Acl[]): Promise<void> {
    await this.#ask(SET_ACL, acl(new JuteWriter().text(path), acls).int(-1).done());
  }

  async create(path: string, value: string, ephemeral: boolean): Promise<void> {
    const body = acl(new JuteWriter().text(path).buffer(Buffer.from(value)), [ANYONE]);
    await this.#ask(CREATE, body.int(ephemeral ? 1 : 0).done());
  }

  /** The writer's session ends, and its ephemeral nodes with it. */
  async endWriter(): Promise<void> {
    (await this.#writer)?.close();
    this.#writer = undefined;
  }

  /** A four letter word, such as `cons` or `srvr`. */
  async word(word: string): Promise<string> {
    const socket = connect(this.port, '127.0.0.1');
    socket.write(word);
    let text = '';
    for await (const chunk of socket) text += String(chunk);
    return text;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#writing.abort();
    await this.server[Symbol.asyncDispose]();
  }

  async #put(path: string, value: string): Promise<void> {
    // Both at once, so that many writes keep their order: one of the two does it.
    const create = this.#create(path, value);
    const set = this.#ask(SET_DATA, new JuteWriter().text(path).buffer(Buffer.from(value)).int(-1).done());
    await Promise.all([create, tolerating(set, CODE.noNode)]);
  }

  async #create(path: string, value: string): Promise<void> {
    await tolerating(this.create(path, value, false), NODE_EXISTS);
  }

  async #remove(path: string): Promise<void> {
    await tolerating(this.#ask(DELETE, new JuteWriter().text(path).int(-1).done()), CODE.noNode, NOT_EMPTY);
  }

  async #ask(op: number, body: Buffer): Promise<void> {
    const writer = await this.#connected();
    await writer.request(op, body);
  }

  async #connected(): Promise<ZookeeperConnection> {
    const present = await this.#writer?.catch(() => undefined);
    if (present?.isOpen) return present;
    this.#writer = open(this.port, this.#writing.signal);
    return this.#writer;
  }
}

function open(port: number, signal: AbortSignal): Promise<ZookeeperConnection> {
  return ZookeeperConnection.open(
    {
      registry: 'writer',
      addressSetting: 'connect',
      server: { host: '127.0.0.1', port },
      auth: { user: 'super', password: 'user' },
      sessionTimeoutMs: 5000,
      connectMs: 1000,
      requestMs: 10_000,
      maxFrameBytes: 4_000_000,
      clock: systemClock,
    },
    signal,
  );
}

function acl(writer: JuteWriter, acls: readonly Acl[]): JuteWriter {
  writer.int(acls.length);
  for (const { permissions, scheme, id } of acls) writer.int(permissions).text(scheme).text(id);
  return writer;
}

function parentsOf(path: string): string[] {
  const parts = path.split('/').slice(1, -1);
  return parts.map((_, at) => `/${parts.slice(0, at + 1).join('/')}`);
}

async function tolerating(work: Promise<void>, ...codes: readonly number[]): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!(error instanceof ServerVerdict) || !codes.includes(error.code)) throw error;
  }
}
