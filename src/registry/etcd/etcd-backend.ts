import { sleep, type Clock } from '../../core/clock.ts';
import type { Instance } from '../../core/instance.ts';
import type { Interest, OnSkip, RegistryBackend, RegistryEvent, RegistryInfo } from '../backend.ts';
import { interleave } from '../interleave.ts';
import { stoppable } from '../stoppable.ts';
import type { TlsMaterial } from '../tls-material.ts';
import { normalizePrefix, rangesOf } from './keys.ts';
import type { Layout } from './layout.ts';
import type { Header, KeyRange, KeyValue, WatchReply } from './messages.ts';
import { Members } from './members.ts';
import { Roster } from './roster.ts';
import type { EtcdSession, Page, SessionOptions } from './session.ts';
import { Compacted, type WatchReplies } from './watch-replies.ts';

export interface EtcdOptions {
  /** The registry's name in the configuration; messages carry it. */
  readonly name: string;
  /** `http://host:port`, or `https://…` for TLS; tried in turn, and the one that served last is tried first. */
  readonly endpoints: readonly string[];
  /** Keys are `<prefix><service>/<instance>`. A missing final slash is added; empty = the whole store. */
  readonly prefix: string;
  /** Default `auto`. */
  readonly layout?: Layout | undefined;
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

/** A list that has begun well: its first page is there. */
interface Reading {
  readonly session: EtcdSession;
  readonly roster: Roster;
  readonly first: Page;
  readonly rest: AsyncIterable<Page>;
}

/** How often a list that is compacted away under our hands is begun again before the registry counts as lost. */
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
  readonly #members: Members;
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
    this.#members = new Members(options.endpoints, options.tls, this.#session);
    this.maxSilenceMs = 2 * (this.#heartbeatMs + this.#session.requestMs) + this.#session.connectMs;
  }

  watch(interest: Interest, signal: AbortSignal): AsyncIterable<RegistryEvent> {
    return stoppable(signal, (inner) => this.#watch(interest, inner));
  }

  list(interest: Interest, signal: AbortSignal): Promise<ReadonlyMap<string, readonly Instance[]>> {
    return this.#members.use(signal, async (session) => {
      try {
        return await this.#listAll(session, interest);
      } finally {
        session.close();
      }
    });
  }

  info(): RegistryInfo {
    return this.#info;
  }

  async *#watch(interest: Interest, signal: AbortSignal): AsyncGenerator<RegistryEvent, void, undefined> {
    let reading = await this.#members.use(signal, (member) => this.#begin(member, interest));
    const { session } = reading;
    /** Services that must be called absent unless the list has them. */
    const owed = new Set(interest.kind === 'services' ? interest.names : []);
    try {
      for (let attempt = 1; ; attempt += 1) {
        try {
          const header = yield* this.#tell(reading, owed);
          const replies = await session.watch(this.#ranges(interest), header.revision + 1n);
          yield this.#heard(session, header);
          attempt = 0;
          yield* this.#follow(session, reading.roster, replies, interest, signal);
        } catch (error) {
          if (!(error instanceof Compacted) || attempt === LIST_ATTEMPTS) throw error;
        }
        // We were too slow for the history that is kept. The same member lists it all again: nothing is lost, and
        // nobody needs to be told that the registry was.
        for (const service of reading.roster.services) owed.add(service);
        reading = await this.#begin(session, interest);
      }
    } catch (error) {
      if (!signal.aborted) this.#members.demote();
      throw error;
    } finally {
      session.close();
    }
  }

  /** The whole truth, service by service as the pages come in; the answer is the revision it holds at. */
  async *#tell({ roster, first, rest }: Reading, owed: Set<string>): AsyncGenerator<RegistryEvent, Header, undefined> {
    let service = '';
    let instances: Instance[] = [];
    for await (const pairs of pairsOf(first, rest)) {
      for (const pair of pairs) {
        const entered = roster.enter(pair);
        if (!entered) continue;
        // Keys of one service have a prefix in common, so they come one after another.
        if (entered.service !== service && instances.length > 0) {
          yield { kind: 'reset', service, instances };
          instances = [];
        }
        service = entered.service;
        instances.push(entered);
      }
    }
    if (instances.length > 0) yield { kind: 'reset', service, instances };
    for (const each of owed) if (!roster.has(each)) yield { kind: 'absent', service: each };
    owed.clear();
    return first.header;
  }

  /** Changes and signs of life, until something throws. */
  async *#follow(
    session: EtcdSession,
    roster: Roster,
    replies: WatchReplies,
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
    const [range] = this.#ranges(interest);
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

  async #begin(session: EtcdSession, interest: Interest): Promise<Reading> {
    const { prefix } = this.#session;
    const { layout = 'auto', onSkip } = this.#options;
    const rest = session.pages(this.#ranges(interest));
    const first = await rest.next();
    if (first.done === true) throw new Error('a list has no page');
    return { session, roster: new Roster({ prefix, interest, layout, onSkip }), first: first.value, rest };
  }

  async #listAll(session: EtcdSession, interest: Interest): Promise<ReadonlyMap<string, readonly Instance[]>> {
    for (let attempt = 1; ; attempt += 1) {
      const services = new Map<string, readonly Instance[]>();
      try {
        const reading = await this.#begin(session, interest);
        for await (const event of this.#tell(reading, new Set())) {
          if (event.kind === 'reset') services.set(event.service, event.instances);
        }
        return services;
      } catch (error) {
        if (!(error instanceof Compacted) || attempt === LIST_ATTEMPTS) throw error;
      }
    }
  }

  #ranges(interest: Interest): readonly KeyRange[] {
    return rangesOf(this.#session.prefix, interest);
  }

  #heard(session: EtcdSession, header: Header): RegistryEvent {
    const revision = String(header.revision);
    this.#info = { ...this.#info, endpoint: session.endpoint, revision };
    return { kind: 'synced', revision };
  }
}

async function* pairsOf(first: Page, rest: AsyncIterable<Page>): AsyncGenerator<readonly KeyValue[], void, undefined> {
  yield first.pairs;
  for await (const page of rest) yield page.pairs;
}
