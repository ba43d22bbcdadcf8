import { setMaxListeners } from 'node:events';
import { setImmediate } from 'node:timers/promises';
import { sleep, type Clock } from '../../core/clock.ts';
import type { Instance } from '../../core/instance.ts';
import type { Interest, OnSkip, RegistryBackend, RegistryEvent, RegistryInfo } from '../backend.ts';
import { abortReason } from '../http-exchange.ts';
import { interleave } from '../interleave.ts';
import { AllEndpointsFailed, RegistryUnreachable } from '../network-fault.ts';
import { stoppable } from '../stoppable.ts';
import type { TlsMaterial } from '../tls-material.ts';
import { normalizePrefix, rangesOf } from './keys.ts';
import type { Header, WatchReply } from './messages.ts';
import { Roster } from './roster.ts';
import { Compacted, EtcdSession, type SessionOptions, type WatchReplies } from './session.ts';

export interface EtcdOptions {
  /** The registry's name in the configuration; messages carry it. */
  readonly name: string;
  /** `http://host:port`, or `https://…` for TLS; tried in turn, and the one that served last is tried first. */
  readonly endpoints: readonly string[];
  /** Keys are `<prefix><service>/<instance>`. A missing final slash is added; empty = the whole store. */
  readonly prefix: string;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** Asked for at every connection, so that rotated certificates are used. Only for `https://` endpoints. */
  readonly tls?: (() => Promise<TlsMaterial>) | undefined;
  /** Until a member has spoken. Default 3000. */
  readonly connectMs?: number | undefined;
  /** For each single request. Default 5000. */
  readonly requestMs?: number | undefined;
  /** Between two proofs of life of a watch; a dead connection is found after this and `requestMs`. Default 10000. */
  readonly heartbeatMs?: number | undefined;
  /** Keys per page of a list. Default 500. */
  readonly pageKeys?: number | undefined;
  /** More keys than this are refused, not read. Default 1,000,000. */
  readonly maxKeys?: number | undefined;
  readonly clock: Clock;
  readonly onSkip: OnSkip;
}

/** A list, the revision it holds at, and the changes after it. */
interface Opening {
  readonly session: EtcdSession;
  readonly header: Header;
  readonly roster: Roster;
  readonly services: ReadonlyMap<string, readonly Instance[]>;
}

type WatchOpening = Opening & { readonly replies: WatchReplies };

/** Instances told without letting anything else run: nothing else waits for the network while a table is handed over. */
const BREATH_INSTANCES = 1000;

/** How often a list that is compacted away under our hands is begun again. */
const LIST_ATTEMPTS = 3;

/**
 * etcd v3: a list of the prefix at one revision, and a watch from the next one on, over gRPC.
 *
 * No watch is ever resumed: whatever ends one, a list comes before the next. A restarted member may have been emptied
 * or restored meanwhile, and nothing on the wire tells its revisions from those we knew.
 */
export class EtcdBackend implements RegistryBackend {
  readonly type = 'etcd';
  readonly maxSilenceMs: number;
  readonly #options: EtcdOptions;
  readonly #session: SessionOptions;
  readonly #heartbeatMs: number;
  #preferred = 0;
  #info: RegistryInfo = { endpoint: undefined, leader: undefined, revision: undefined };

  constructor(options: EtcdOptions) {
    this.#options = options;
    this.#heartbeatMs = options.heartbeatMs ?? 10_000;
    this.#session = {
      registry: options.name,
      addressSetting: 'endpoints',
      prefix: normalizePrefix(options.prefix),
      username: options.username === '' ? undefined : options.username,
      password: options.password,
      connectMs: options.connectMs ?? 3000,
      requestMs: options.requestMs ?? 5000,
      pageKeys: options.pageKeys ?? 500,
      maxKeys: options.maxKeys ?? 1_000_000,
      clock: options.clock,
    };
    this.maxSilenceMs = 2 * (this.#heartbeatMs + this.#session.requestMs) + this.#session.connectMs;
  }

  watch(interest: Interest, signal: AbortSignal): AsyncIterable<RegistryEvent> {
    return stoppable(signal, (inner) => this.#watch(interest, inner));
  }

  async list(interest: Interest, signal: AbortSignal): Promise<ReadonlyMap<string, readonly Instance[]>> {
    const { session, services } = await this.#onSomeMember(signal, (member) => this.#list(member, interest));
    session.close();
    return services;
  }

  info(): RegistryInfo {
    return this.#info;
  }

  async *#watch(interest: Interest, signal: AbortSignal): AsyncGenerator<RegistryEvent, void, undefined> {
    let opening = await this.#onSomeMember(signal, (member) => this.#listAndWatch(member, interest));
    const { session } = opening;
    try {
      const gone = interest.kind === 'services' ? interest.names : new Set<string>();
      yield* this.#tell(opening, gone);
      while (true) {
        try {
          yield* this.#follow(opening, interest, signal);
        } catch (error) {
          if (!(error instanceof Compacted)) throw error;
          // We were too slow for the history that is kept. The same member lists it all again: nothing is lost, and
          // nobody needs to be told that the registry was.
          const before = opening.roster;
          opening = await this.#listAndWatch(session, interest);
          yield* this.#tell(opening, before.services);
        }
      }
    } catch (error) {
      // The next watch tries another member first.
      if (!signal.aborted) this.#preferred += 1;
      throw error;
    } finally {
      session.close();
    }
  }

  /** The whole truth as of the list. `before`: services to call absent unless they are in it. */
  async *#tell(opening: WatchOpening, before: Iterable<string>): AsyncGenerator<RegistryEvent, void, undefined> {
    for (const service of before) if (!opening.services.has(service)) yield { kind: 'absent', service };
    let told = 0;
    for (const [service, instances] of opening.services) {
      yield { kind: 'reset', service, instances };
      told += instances.length;
      if (told < BREATH_INSTANCES) continue;
      told = 0;
      await setImmediate();
    }
    yield this.#heard(opening.session, opening.header);
  }

  /** Changes and signs of life, until something throws. */
  async *#follow(
    { session, roster, replies }: WatchOpening,
    interest: Interest,
    signal: AbortSignal,
  ): AsyncGenerator<RegistryEvent, void, undefined> {
    for await (const item of interleave<WatchReply | Header>(replies, this.#beats(session, interest, signal))) {
      const changes = 'events' in item ? item.events : [];
      for (const change of changes) {
        const event = change.deleted ? roster.delete(change.key) : roster.put(change);
        if (event) yield event;
      }
      if (roster.size > this.#session.maxKeys) throw session.tooManyKeys();
      const heard = this.#heard(session, 'events' in item ? item.header : item);
      if (changes.length === 0) yield heard;
    }
  }

  /** A member that hangs, a cluster without quorum and a connection that only one side knows of all end here. */
  async *#beats(
    session: EtcdSession,
    interest: Interest,
    signal: AbortSignal,
  ): AsyncGenerator<Header, void, undefined> {
    const [range] = rangesOf(this.#session.prefix, interest);
    if (!range) return;
    let term: bigint | undefined;
    // The first one at once, to learn the leader.
    for (let delayMs = 0; !signal.aborted; delayMs = this.#heartbeatMs) {
      if (delayMs > 0) await sleep(this.#options.clock, delayMs, signal);
      const header = await session.probe(range);
      if (header.raftTerm !== term) this.#info = { ...this.#info, leader: await session.leader() };
      term = header.raftTerm;
      yield header;
    }
  }

  async #listAndWatch(session: EtcdSession, interest: Interest): Promise<WatchOpening> {
    const ranges = rangesOf(this.#session.prefix, interest);
    for (let attempt = 1; ; attempt += 1) {
      try {
        const opening = await this.#list(session, interest);
        return { ...opening, replies: await session.watch(ranges, opening.header.revision + 1n) };
      } catch (error) {
        if (!(error instanceof Compacted) || attempt === LIST_ATTEMPTS) throw error;
      }
    }
  }

  async #list(session: EtcdSession, interest: Interest): Promise<Opening> {
    const { prefix } = this.#session;
    for (let attempt = 1; ; attempt += 1) {
      const roster = new Roster({ prefix, interest, onSkip: this.#options.onSkip });
      const services = new Map<string, Instance[]>();
      try {
        const header = await session.list(rangesOf(prefix, interest), (pair) => {
          const entered = roster.enter(pair);
          if (!entered) return;
          const instances = services.get(entered.service);
          if (instances) instances.push(entered);
          else services.set(entered.service, [entered]);
        });
        return { session, header, roster, services };
      } catch (error) {
        if (!(error instanceof Compacted) || attempt === LIST_ATTEMPTS) throw error;
      }
    }
  }

  /** The first member that can do the work does it. A refusal counts for all of them: they share users and keys. */
  async #onSomeMember<T>(signal: AbortSignal, work: (session: EtcdSession) => Promise<T>): Promise<T> {
    const { endpoints } = this.#options;
    setMaxListeners(0, signal);
    const tls = await this.#options.tls?.();
    const failures: RegistryUnreachable[] = [];
    const start = this.#preferred;
    for (let turn = 0; turn < endpoints.length; turn += 1) {
      const endpoint = endpoints[(start + turn) % endpoints.length] ?? '';
      let session: EtcdSession | undefined;
      try {
        session = await EtcdSession.open(endpoint, tls, this.#session, signal);
        const done = await work(session);
        this.#preferred = start + turn;
        return done;
      } catch (error) {
        session?.close();
        if (signal.aborted) throw abortReason(signal);
        if (!(error instanceof RegistryUnreachable)) throw error;
        failures.push(error);
      }
    }
    const [first] = failures;
    throw first && failures.length === 1 ? first : new AllEndpointsFailed(this.#session, failures);
  }

  #heard(session: EtcdSession, header: Header): RegistryEvent {
    const revision = String(header.revision);
    this.#info = { ...this.#info, endpoint: session.endpoint, revision };
    return { kind: 'synced', revision };
  }
}
