import { setMaxListeners } from 'node:events';
import { setImmediate } from 'node:timers/promises';
import { sleep, type Clock } from '../../core/clock.ts';
import type { Instance } from '../../core/instance.ts';
import { isName } from '../../core/names.ts';
import type { Random } from '../../core/random.ts';
import type { Interest, OnSkip, RegistryBackend, RegistryEvent, RegistryInfo } from '../backend.ts';
import { RegistryUnreachable, type RegistryLabel } from '../network-fault.ts';
import { stoppable } from '../stoppable.ts';
import type { TlsMaterial } from '../tls-material.ts';
import { EurekaClient, type Answer } from './client.ts';
import { RegistrySet, reportName } from './registry-set.ts';
import { Spellings, Told } from './told.ts';

export interface EurekaOptions {
  /** The registry's name in the configuration; messages carry it. */
  readonly name: string;
  /** Base URLs, `…/eureka` or `…/eureka/v2`, with `user:password@` where they ask for it. Tried in turn. */
  readonly urls: readonly string[];
  /** Only instances of this zone. */
  readonly zone?: string | undefined;
  /** Take instances by their secure port, where they enable it. */
  readonly useSecurePort: boolean;
  /** Between two questions for changes, give or take a tenth. */
  readonly pollIntervalMs: number;
  /** Everything is fetched anew this often, whatever the hash says. Default 600000. */
  readonly fullIntervalMs?: number | undefined;
  /** How long a server that has forgotten everything is not believed. Default 300000, as Eureka itself waits. */
  readonly emptyGraceMs?: number | undefined;
  /** Asked for at every watch and list, so that rotated certificates are used. Only for `https://` URLs. */
  readonly tls?: (() => Promise<TlsMaterial>) | undefined;
  /** Default 3000. */
  readonly connectMs?: number | undefined;
  /** Until an answer begins, and between its parts. Default 10000. */
  readonly requestMs?: number | undefined;
  /** A larger answer is refused, not read. Default 64 MiB. */
  readonly maxBodyBytes?: number | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly onSkip: OnSkip;
}

/** The whole registry as one server showed it. */
interface Fetched {
  readonly set: RegistrySet;
  readonly endpoint: string;
  readonly atMs: number;
}

/**
 * Eureka, which has no watch: everything once, then deltas, each proven by the hash of the whole registry. Where the
 * hash does not match, where another server answers, and every ten minutes, everything again.
 *
 * A server that restarts without its peers knows nothing, and says so as if it were true. Netflix's answers 403 for
 * five minutes then; Spring's does not by default. So an empty registry that no delta announced is taken for a loss
 * until `emptyGraceMs` is over: by then every living instance has registered again.
 */
export class EurekaBackend implements RegistryBackend {
  readonly type = 'eureka';
  readonly maxSilenceMs: number;
  readonly #options: EurekaOptions;
  readonly #label: RegistryLabel;
  /** The server that answered last. */
  #preferred = 0;
  /** Registrations at the last answer that was believed. */
  #known = 0;
  #forgottenSinceMs: number | undefined;
  #info: RegistryInfo = { endpoint: undefined, leader: undefined, revision: undefined };

  constructor(options: EurekaOptions) {
    this.#options = options;
    this.#label = { registry: options.name, addressSetting: 'urls' };
    const { connectMs = 3000, requestMs = 10_000 } = options;
    // A delta, and then everything from every server in turn, each as slow as it may be.
    const roundMs = (options.urls.length + 1) * (connectMs + 3 * requestMs);
    this.maxSilenceMs = 2 * options.pollIntervalMs + roundMs;
  }

  watch(interest: Interest, signal: AbortSignal): AsyncIterable<RegistryEvent> {
    return stoppable(signal, (inner) => this.#watch(interest, inner));
  }

  async list(interest: Interest, signal: AbortSignal): Promise<ReadonlyMap<string, readonly Instance[]>> {
    signal.throwIfAborted();
    const client = await this.#client(signal);
    try {
      const { set } = await this.#fetchAll(client, interest, signal);
      const spellings = new Spellings(interest);
      const listed = set.apps.flatMap((app) => {
        const instances = [...(set.instances(app)?.values() ?? [])];
        return spellings.of(app).map((service) => [service, instances.map((each) => ({ ...each, service }))] as const);
      });
      return new Map(listed);
    } finally {
      client.close();
    }
  }

  info(): RegistryInfo {
    return this.#info;
  }

  async *#watch(interest: Interest, signal: AbortSignal): AsyncGenerator<RegistryEvent, void, undefined> {
    const { clock, random, pollIntervalMs } = this.#options;
    const client = await this.#client(signal);
    try {
      let fetched = await this.#fetchAll(client, interest, signal);
      const told = new Told(new Spellings(interest));
      yield* inBreaths(told.tell(fetched.set));
      yield this.#heard(fetched);
      while (!signal.aborted) {
        // Many gateways must not ask in the same moment for ever.
        await sleep(clock, pollIntervalMs * (0.9 + 0.2 * random()), signal);
        signal.throwIfAborted();
        fetched = await this.#poll(client, fetched, interest, signal);
        yield* inBreaths(told.tell(fetched.set));
        yield this.#heard(fetched);
      }
    } finally {
      client.close();
    }
  }

  async #poll(client: EurekaClient, last: Fetched, interest: Interest, signal: AbortSignal): Promise<Fetched> {
    const { clock, fullIntervalMs = 600_000 } = this.#options;
    if (clock.now() - last.atMs < fullIntervalMs) {
      // Of the same server as what it is applied to: the client changes servers only to fetch everything.
      const delta = await client.delta(signal);
      if (delta) {
        for (const each of delta.registrations) last.set.apply(each);
        if (delta.hash === last.set.hash()) {
          // Announced piece by piece: an empty registry is no surprise now.
          this.#known = last.set.size;
          this.#forgottenSinceMs = undefined;
          return last;
        }
      }
    }
    return this.#fetchAll(client, interest, signal);
  }

  async #fetchAll(client: EurekaClient, interest: Interest, signal: AbortSignal): Promise<Fetched> {
    const { useSecurePort, zone, onSkip, clock } = this.#options;
    const answer = await client.full((each) => this.#refuseForgetful(each), signal);
    this.#preferred = client.current;
    this.#known = answer.registrations.length;
    this.#forgottenSinceMs = undefined;
    const { isWanted } = new Spellings(interest);
    const set = new RegistrySet({ rules: { useSecurePort, zone }, isWanted, onSkip });
    for (const each of answer.registrations) set.apply(each);
    if (answer.nameless > 0)
      onSkip({ service: '', id: '', why: `${answer.nameless} registrations have no name or no id` });
    if (interest.kind === 'all') {
      for (const app of new Set(answer.registrations.map((each) => each.app)))
        if (!isName(app)) reportName(app, onSkip);
    }
    return { set, endpoint: answer.endpoint, atMs: clock.now() };
  }

  #refuseForgetful({ registrations, nameless, endpoint }: Answer): void {
    const { clock, emptyGraceMs = 300_000 } = this.#options;
    if (registrations.length + nameless > 0 || this.#known === 0) return;
    this.#forgottenSinceMs ??= clock.now();
    const leftMs = emptyGraceMs - (clock.now() - this.#forgottenSinceMs);
    if (leftMs <= 0) return;
    const text = `has forgotten all ${this.#known} registrations without a word: it has restarted empty; not believed for another ${Math.ceil(leftMs / 1000)} s, while they register again`;
    throw new RegistryUnreachable(this.#label, endpoint, { fault: 'unwell', text });
  }

  async #client(signal: AbortSignal): Promise<EurekaClient> {
    const { urls, tls, connectMs = 3000, requestMs = 10_000, maxBodyBytes = 67_108_864, clock } = this.#options;
    setMaxListeners(0, signal);
    const material = await tls?.();
    const limits = { connectMs, requestMs, maxBodyBytes, clock };
    return new EurekaClient({ ...this.#label, urls, tls: material, ...limits }, this.#preferred);
  }

  #heard({ set, endpoint }: Fetched): RegistryEvent {
    const revision = set.hash();
    this.#info = { endpoint, leader: undefined, revision };
    return { kind: 'synced', revision };
  }
}

/** Events told without letting anything else run: nothing else waits for the network while a table is handed over. */
const BREATH_EVENTS = 1000;

async function* inBreaths(events: Iterable<RegistryEvent>): AsyncGenerator<RegistryEvent, void, undefined> {
  let told = 0;
  for (const event of events) {
    yield event;
    told += event.kind === 'reset' ? 1 + event.instances.length : 1;
    if (told < BREATH_EVENTS) continue;
    told = 0;
    await setImmediate();
  }
}
