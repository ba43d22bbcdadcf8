import { setMaxListeners } from 'node:events';
import { setImmediate } from 'node:timers/promises';
import type { Clock } from '../../core/clock.ts';
import type { Instance } from '../../core/instance.ts';
import { isName } from '../../core/names.ts';
import type { Random } from '../../core/random.ts';
import {
  RegistryRefusal,
  type Interest,
  type OnSkip,
  type RegistryBackend,
  type RegistryEvent,
  type RegistryInfo,
} from '../backend.ts';
import { abortReason } from '../http-exchange.ts';
import { AllEndpointsFailed, RegistryUnreachable, type RegistryLabel } from '../network-fault.ts';
import { stoppable } from '../stoppable.ts';
import { ChangeCollector } from './changes.ts';
import { SessionExpired, ZookeeperConnection, type ConnectionOptions } from './connection.ts';
import type { ZookeeperLayout } from './layout.ts';
import { MalformedJute } from './jute.ts';
import { CODE, ServerVerdict, type SessionTicket } from './messages.ts';
import { basePath } from './paths.ts';
import { NodeReader, NoPersistentWatches } from './reading.ts';
import { Roster } from './roster.ts';
import { TableReader } from './table-reader.ts';

export interface ZookeeperOptions {
  /** The registry's name in the configuration; messages carry it. */
  readonly name: string;
  /** The members of the ensemble. One is chosen at random, the others are tried in turn after it. */
  readonly servers: readonly { readonly host: string; readonly port: number }[];
  /** Goes before every path. Empty = none. */
  readonly chroot: string;
  /** Nodes are `<chroot><path>/<service>/<instance>`. */
  readonly path: string;
  readonly layout: ZookeeperLayout;
  /** The digest scheme. */
  readonly auth?: { readonly user: string; readonly password: string } | undefined;
  /** Asked of the server, which may grant another. A dead connection is found after two thirds of it. */
  readonly sessionTimeoutMs: number;
  /** Until a server has given us a session. Default 3000. */
  readonly connectMs?: number | undefined;
  /** Without any reply while some are due. Default 5000. */
  readonly requestMs?: number | undefined;
  /** A larger message ends the connection: the names of 200,000 instances of one service. Default 16 MiB. */
  readonly maxFrameBytes?: number | undefined;
  /** More nodes than this are refused, not read. Default 1,000,000. */
  readonly maxNodes?: number | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly onSkip: OnSkip;
}

type Server = ZookeeperOptions['servers'][number];

/** A table as it was read, and the means to follow it. */
interface Opening {
  readonly changes: ChangeCollector;
  readonly connection: ZookeeperConnection;
  readonly roster: Roster;
  readonly table: TableReader;
}

/** Instances told without letting anything else run: nothing else waits for the network while a table is handed over. */
const BREATH_INSTANCES = 1000;

/** Watches of one service each; with more, one watch on everything is cheaper for the server. */
const MAX_WATCHES = 64;

/**
 * ZooKeeper over its own protocol: watches first, then `sync` and a read of everything, so that nothing falls between;
 * every event then has its node read again.
 *
 * The loss of a connection ends the watch. The next one resumes the session if it is still alive, and reads everything
 * again all the same: watches replay nothing that was missed.
 */
export class ZookeeperBackend implements RegistryBackend {
  readonly type = 'zookeeper';
  readonly maxSilenceMs: number;
  readonly #options: ZookeeperOptions;
  readonly #label: RegistryLabel;
  readonly #base: string;
  readonly #connecting: Omit<ConnectionOptions, 'server'>;
  /** Servers, by `host:port`, that have shown to be older than 3.6. */
  readonly #withoutPersistentWatches = new Set<string>();
  #preferred: number;
  /** Of a watch that was cut off. Taken by the next one: two connections cannot share a session. */
  #orphan: SessionTicket | undefined;
  #info: RegistryInfo = { endpoint: undefined, leader: undefined, revision: undefined };

  constructor(options: ZookeeperOptions) {
    this.#options = options;
    this.#label = { registry: options.name, addressSetting: 'connect' };
    this.#base = basePath(options.chroot, options.path);
    this.#connecting = {
      ...this.#label,
      auth: options.auth,
      sessionTimeoutMs: options.sessionTimeoutMs,
      connectMs: options.connectMs ?? 3000,
      requestMs: options.requestMs ?? 5000,
      maxFrameBytes: options.maxFrameBytes ?? 16_777_216,
      clock: options.clock,
    };
    this.#preferred = Math.floor(options.random() * options.servers.length);
    this.maxSilenceMs = 2 * options.sessionTimeoutMs + 2 * this.#connecting.requestMs;
  }

  watch(interest: Interest, signal: AbortSignal): AsyncIterable<RegistryEvent> {
    return stoppable(signal, (inner) => this.#watch(interest, inner));
  }

  async list(interest: Interest, signal: AbortSignal): Promise<ReadonlyMap<string, readonly Instance[]>> {
    const roster = await this.#onSomeServer(signal, async (server) => {
      const connection = await ZookeeperConnection.open(this.#to(server), signal);
      const read = await this.#orClose(connection, () => this.#read(connection, interest, false));
      connection.close();
      return read.roster;
    });
    return new Map([...roster.services].map((service) => [service, roster.instances(service)]));
  }

  info(): RegistryInfo {
    return this.#info;
  }

  async *#watch(interest: Interest, signal: AbortSignal): AsyncGenerator<RegistryEvent, void, undefined> {
    const opening = await this.#onSomeServer(signal, (server) => this.#open(server, interest, signal));
    const { connection, table, changes } = opening;
    try {
      yield* this.#tell(opening, interest);
      while (true) {
        const news = await changes.next();
        yield* table.readChanges(news);
        if (news.pulse) yield this.#heard(connection);
      }
    } catch (error) {
      // The next watch tries another server first, and keeps the session where only the connection is lost.
      if (!signal.aborted) {
        this.#preferred += 1;
        if (!connection.isOpen) this.#orphan = connection.session;
      }
      throw this.#judge(error, connection.endpoint);
    } finally {
      connection.close();
    }
  }

  /** The whole truth as of the read. */
  async *#tell({ connection, roster }: Opening, interest: Interest): AsyncGenerator<RegistryEvent, void, undefined> {
    const gone = interest.kind === 'services' ? interest.names : new Set<string>();
    for (const service of gone) if (!roster.has(service)) yield { kind: 'absent', service };
    let told = 0;
    for (const service of roster.services) {
      const instances = roster.instances(service);
      yield { kind: 'reset', service, instances };
      told += instances.length;
      if (told < BREATH_INSTANCES) continue;
      told = 0;
      await setImmediate();
    }
    yield this.#heard(connection);
  }

  async #open(server: Server, interest: Interest, signal: AbortSignal): Promise<Opening> {
    const { connection, changes } = await this.#connect(server, interest, signal);
    const armed = this.#withoutPersistentWatches.has(connection.endpoint);
    try {
      return await this.#orClose(connection, async () => {
        if (!armed) await this.#watchEverything(connection, interest);
        return { connection, changes, ...(await this.#read(connection, interest, armed)) };
      });
    } catch (error) {
      if (!(error instanceof NoPersistentWatches)) throw error;
      this.#withoutPersistentWatches.add(connection.endpoint);
      return this.#open(server, interest, signal);
    }
  }

  /** With the session of a watch that was cut off, if it is still alive. */
  async #connect(
    server: Server,
    interest: Interest,
    signal: AbortSignal,
  ): Promise<Pick<Opening, 'connection' | 'changes'>> {
    const ticket = this.#orphan;
    this.#orphan = undefined;
    const isWanted = (service: string): boolean => interest.kind === 'all' || interest.names.has(service);
    const changes = new ChangeCollector(this.#base, isWanted);
    try {
      return { changes, connection: await ZookeeperConnection.open(this.#to(server), signal, changes, ticket) };
    } catch (error) {
      if (error instanceof SessionExpired) return this.#connect(server, interest, signal);
      this.#orphan = ticket;
      throw error;
    }
  }

  async #watchEverything(connection: ZookeeperConnection, interest: Interest): Promise<void> {
    const reader = new NodeReader(connection, false);
    const narrow = interest.kind === 'services' && interest.names.size <= MAX_WATCHES;
    const paths = narrow ? [...interest.names].filter(isName).map((name) => `${this.#base}/${name}`) : [this.#base];
    await Promise.all(paths.map((path) => reader.watchRecursively(path)));
  }

  async #read(
    connection: ZookeeperConnection,
    interest: Interest,
    armed: boolean,
  ): Promise<Pick<Opening, 'roster' | 'table'>> {
    const { layout, onSkip, maxNodes = 1_000_000 } = this.#options;
    const reader = new NodeReader(connection, armed);
    const roster = new Roster(layout, onSkip);
    const { endpoint } = connection;
    const options = { ...this.#label, endpoint, base: this.#base, interest, maxNodes, onSkip };
    const table = new TableReader(reader, roster, options);
    await reader.sync(this.#base);
    await table.readAll();
    return { roster, table };
  }

  /** The first server that can do the work does it. A refusal counts for all of them: they share the nodes. */
  async #onSomeServer<T>(signal: AbortSignal, work: (server: Server) => Promise<T>): Promise<T> {
    const { servers } = this.#options;
    setMaxListeners(0, signal);
    const failures: RegistryUnreachable[] = [];
    const start = this.#preferred;
    for (let turn = 0; turn < servers.length; turn += 1) {
      const server = servers[(start + turn) % servers.length];
      if (!server) break;
      try {
        const done = await work(server);
        this.#preferred = start + turn;
        return done;
      } catch (error) {
        if (signal.aborted) throw abortReason(signal);
        if (!(error instanceof RegistryUnreachable)) throw error;
        failures.push(error);
      }
    }
    const [first] = failures;
    throw first && failures.length === 1 ? first : new AllEndpointsFailed(this.#label, failures);
  }

  async #orClose<T>(connection: ZookeeperConnection, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      connection.close();
      throw this.#judge(error, connection.endpoint);
    }
  }

  #to(server: Server): ConnectionOptions {
    return { ...this.#connecting, server };
  }

  /** Verdicts that nobody foresaw, and replies that do not parse, are the server's failure, not ours. */
  #judge(error: unknown, endpoint: string): unknown {
    if (error instanceof ServerVerdict && (error.code === CODE.authRequired || error.code === CODE.authFailed)) {
      const advice = 'set registries[].auth.user and registries[].auth.password';
      return new RegistryRefusal(
        `registry "${this.#label.registry}" at ${endpoint} asks who we are: ${error.message}; ${advice}`,
        { cause: error },
      );
    }
    if (error instanceof ServerVerdict) {
      const text = `answered that it cannot serve: ${error.message}; is its ensemble healthy?`;
      return new RegistryUnreachable(this.#label, endpoint, { fault: 'unwell', text }, error);
    }
    if (error instanceof MalformedJute) {
      const text = `answered what ZooKeeper would not: ${error.message}; check registries[].connect`;
      return new RegistryUnreachable(this.#label, endpoint, { fault: 'protocol', text }, error);
    }
    return error;
  }

  #heard({ endpoint, zxid }: ZookeeperConnection): RegistryEvent {
    const revision = `0x${zxid.toString(16)}`;
    this.#info = { endpoint, leader: undefined, revision };
    return { kind: 'synced', revision };
  }
}
