import { setMaxListeners } from 'node:events';
import { Resolver as SystemResolver } from 'node:dns';
import { type Clock, sleep } from '../../core/clock.ts';
import type { Instance } from '../../core/instance.ts';
import type { Random } from '../../core/random.ts';
import {
  type Interest,
  type OnSkip,
  type RegistryBackend,
  type RegistryEvent,
  type RegistryInfo,
  RegistryRefusal,
} from '../backend.ts';
import { parseAddress } from '../address.ts';
import { interleave } from '../interleave.ts';
import { sameInstance } from '../same.ts';
import { stoppable } from '../stoppable.ts';
import { normalizeIp } from '../../core/address.ts';
import { lookUp, type DnsQuery, type Lookup } from './lookup.ts';
import { LookupFailed, Resolver } from './resolver.ts';
import type { NameServer } from './transport.ts';

export interface DnsOptions {
  /** The registry's name in the configuration; messages carry it. */
  readonly name: string;
  /** Tried in turn. Empty: those of the system, read anew for every watch. */
  readonly servers: readonly NameServer[];
  /** From the service to what is asked. Names are complete: no search list applies. */
  readonly services: ReadonlyMap<string, DnsQuery>;
  /** Ask by TCP at once. */
  readonly tcp: boolean;
  /** Nothing is asked more often than this. */
  readonly minTtlMs: number;
  /** Everything is asked at least this often, however long it may be kept. Default 60000. */
  readonly maxTtlMs?: number | undefined;
  /** For each try to ask one server. Default 2000. */
  readonly timeoutMs?: number | undefined;
  /** How long a first answer may be missing for one service while others have theirs. Default 20000. */
  readonly patienceMs?: number | undefined;
  /** Default 64. */
  readonly maxConcurrent?: number | undefined;
  /** Where the servers of the system come from. For tests. */
  readonly systemServers?: (() => readonly string[]) | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly onSkip: OnSkip;
}

/** What one look at one service came to. */
interface Outcome {
  readonly service: string;
  readonly result: Lookup | LookupFailed;
}

/** Of ± 10 %: instances of the gateway that began together do not go on asking together. */
const JITTER = 0.1;

/**
 * DNS: each service is asked for when its time to live is over, whether there is traffic or not.
 *
 * A name server that cannot say (SERVFAIL, REFUSED, silence) changes nothing; only NXDOMAIN and an empty answer mean
 * that there is nothing. One service that cannot be looked up keeps what it had, and is reported: the others go on. Only
 * when none can be looked up is the registry lost.
 */
export class DnsBackend implements RegistryBackend {
  readonly type = 'dns';
  readonly maxSilenceMs: number;
  readonly #options: DnsOptions;
  readonly #maxTtlMs: number;
  readonly #patienceMs: number;
  /** As last told, for services that cannot be looked up when a new watch begins (RFC 8767). */
  readonly #lastKnown = new Map<string, readonly Instance[] | undefined>();
  #info: RegistryInfo = { endpoint: undefined, leader: undefined, revision: undefined };

  constructor(options: DnsOptions) {
    this.#options = options;
    this.#maxTtlMs = Math.max(options.maxTtlMs ?? 60_000, options.minTtlMs);
    this.#patienceMs = options.patienceMs ?? 20_000;
    this.maxSilenceMs = 2 * this.#maxTtlMs + 60_000;
  }

  watch(interest: Interest, signal: AbortSignal): AsyncIterable<RegistryEvent> {
    return stoppable(signal, (inner) => this.#watch(interest, inner));
  }

  async list(interest: Interest, signal: AbortSignal): Promise<ReadonlyMap<string, readonly Instance[]>> {
    setMaxListeners(0, signal);
    signal.throwIfAborted();
    const resolver = this.#resolver();
    const listed = new Map<string, readonly Instance[]>();
    const asked = [...this.#wanted(interest)].map(async ([service, query]) => {
      const { instances } = await lookUp(service, query, resolver, this.#options.onSkip, signal);
      if (instances) listed.set(service, instances);
    });
    // All of them are awaited, so that none goes on behind the caller's back.
    const results = await Promise.allSettled(asked);
    const failed = results.find((each) => each.status === 'rejected');
    if (failed) throw this.#judge(failed.reason);
    return listed;
  }

  info(): RegistryInfo {
    return this.#info;
  }

  async *#watch(interest: Interest, signal: AbortSignal): AsyncGenerator<RegistryEvent, void, undefined> {
    setMaxListeners(0, signal);
    const wanted = this.#wanted(interest);
    if (interest.kind === 'services') {
      for (const service of interest.names) if (!wanted.has(service)) yield { kind: 'absent', service };
    }
    const round = new Round([...wanted.keys()]);
    const startMs = this.#options.clock.now();
    if (wanted.size === 0) yield { kind: 'synced', revision: undefined };
    const resolver = this.#resolver();
    const loops = [...wanted].map(([service, query]) => this.#follow(service, query, resolver, signal));
    for await (const outcome of interleave<Outcome | undefined>(...loops, this.#beats(signal))) {
      if (outcome) yield* this.#take(outcome, round);
      else if (wanted.size === 0) yield { kind: 'synced', revision: undefined };
      if (round.isLost) throw this.#judge(round.anyFailure);
      if (round.synced || this.#options.clock.now() - startMs < this.#patienceMs) continue;
      yield* this.#fillIn(round);
    }
  }

  /** What one outcome tells. */
  *#take({ service, result }: Outcome, round: Round): Generator<RegistryEvent, void, undefined> {
    if (result instanceof LookupFailed) {
      round.failed.set(service, result);
      const kept = round.told.has(service) ? '; what was known is kept' : '';
      this.#options.onSkip({ service, id: '*', why: `${result.message}${kept}` });
      return;
    }
    round.failed.delete(service);
    this.#info = { ...this.#info, endpoint: result.endpoint };
    const { instances } = result;
    const isNews = !round.told.has(service) || !same(round.told.get(service), instances);
    if (isNews) yield this.#tell(service, instances, round);
    if (round.synced && isNews) return;
    if (round.complete) {
      round.synced = true;
      yield { kind: 'synced', revision: undefined };
    }
  }

  /** Patience is over: services without an answer are given what was last known of them, if anything was. */
  *#fillIn(round: Round): Generator<RegistryEvent, void, undefined> {
    for (const service of round.services) {
      if (round.told.has(service)) continue;
      const failure = round.failed.get(service);
      if (!this.#lastKnown.has(service)) {
        if (failure) throw this.#judge(failure);
        return;
      }
      yield this.#tell(service, this.#lastKnown.get(service), round);
    }
    round.synced = true;
    yield { kind: 'synced', revision: undefined };
  }

  #tell(service: string, instances: readonly Instance[] | undefined, round: Round): RegistryEvent {
    round.told.set(service, instances);
    this.#lastKnown.set(service, instances);
    return instances ? { kind: 'reset', service, instances } : { kind: 'absent', service };
  }

  /** Looks at one service again and again, each time when the answer before has expired. */
  async *#follow(
    service: string,
    query: DnsQuery,
    resolver: Resolver,
    signal: AbortSignal,
  ): AsyncGenerator<Outcome, void, undefined> {
    const { clock, random, onSkip, minTtlMs } = this.#options;
    while (!signal.aborted) {
      let ttlMs = minTtlMs;
      try {
        const result = await lookUp(service, query, resolver, onSkip, signal);
        ttlMs = Math.min(Math.max((result.ttlS ?? 0) * 1000, minTtlMs), this.#maxTtlMs);
        yield { service, result };
      } catch (error) {
        if (!(error instanceof LookupFailed)) throw error;
        yield { service, result: error };
      }
      // Never before its time: that would only fetch the same answer from a cache on the way.
      await sleep(clock, ttlMs * (1 + JITTER * random()), signal);
    }
  }

  /** Patience needs a clock of its own, since nothing may come; and so does a watch of nothing. */
  async *#beats(signal: AbortSignal): AsyncGenerator<undefined, void, undefined> {
    while (!signal.aborted) {
      await sleep(this.#options.clock, Math.min(this.#patienceMs, this.#maxTtlMs), signal);
      yield undefined;
    }
  }

  #wanted(interest: Interest): ReadonlyMap<string, DnsQuery> {
    const { services } = this.#options;
    if (interest.kind === 'all') return services;
    return new Map([...services].filter(([service]) => interest.names.has(service)));
  }

  #resolver(): Resolver {
    const { name, servers, tcp, timeoutMs = 2000, maxConcurrent = 64, clock } = this.#options;
    const read = this.#options.systemServers ?? ((): readonly string[] => new SystemResolver().getServers());
    return new Resolver({
      registry: name,
      addressSetting: 'servers',
      servers: servers.length > 0 ? servers : read().flatMap((text) => parseServer(text) ?? []),
      tcp,
      timeoutMs,
      maxConcurrent,
      clock,
    });
  }

  /** A server that answers, and will not answer us, needs an operator. */
  #judge(error: unknown): unknown {
    if (!(error instanceof LookupFailed) || !error.refused) return error;
    return new RegistryRefusal(
      `${error.message} (REFUSED: does it allow queries from here, and is it in charge of it?)`,
      {
        cause: error,
      },
    );
  }
}

/** How far one watch has come. */
class Round {
  readonly services: readonly string[];
  readonly told = new Map<string, readonly Instance[] | undefined>();
  /** Services whose latest look failed. */
  readonly failed = new Map<string, LookupFailed>();
  synced = false;

  constructor(services: readonly string[]) {
    this.services = services;
    this.synced = services.length === 0;
  }

  get complete(): boolean {
    return this.told.size === this.services.length;
  }

  /** No service could be looked up the last time. */
  get isLost(): boolean {
    return this.services.length > 0 && this.failed.size === this.services.length;
  }

  get anyFailure(): LookupFailed | undefined {
    return this.failed.values().next().value;
  }
}

function same(one: readonly Instance[] | undefined, other: readonly Instance[] | undefined): boolean {
  if (!one || !other) return one === other;
  return (
    one.length === other.length &&
    one.every((each, at) => {
      const counterpart = other[at];
      return counterpart !== undefined && sameInstance(each, counterpart);
    })
  );
}

/** As `getServers` writes them: `10.0.0.2`, `fd00::1`, `10.0.0.2:5353`, `[fd00::1]:5353`. */
function parseServer(text: string): NameServer | undefined {
  const ip = normalizeIp(text);
  if (ip !== undefined) return { host: ip, port: 53 };
  return parseAddress(text);
}
