import { sleep } from '../../core/clock.ts';
import { RegistryRefusal, type Interest, type RegistryEvent } from '../backend.ts';
import { RegistryUnreachable, type RegistryLabel } from '../network-fault.ts';
import type { ConsulApi } from './api.ts';
import { wantedNames } from './catalog.ts';
import { Changes } from './changes.ts';
import { Cursor } from './cursor.ts';
import { Mailbox, type Truth } from './mailbox.ts';
import { ServiceLoops, type ServiceLoopsOptions } from './service-loops.ts';
import { TokenBucket, type Rate } from './token-bucket.ts';

export interface ConsulWatchOptions extends RegistryLabel, Omit<ServiceLoopsOptions, 'onAnswer' | 'onError'> {
  readonly interest: Interest;
  readonly tags: readonly string[];
  readonly heartbeatMs: number;
  readonly maxServices: number;
  /** Reads may be answered without a leader (`stale`). */
  readonly mayLackLeader: boolean;
  readonly onInfo: (info: { endpoint: string; leader: string | undefined; revision: string | undefined }) => void;
}

/** Every registration anywhere wakes the catalog, and its answer names all services. */
const CATALOG_RATE: Rate = { burst: 20, perSecond: 2 };

/**
 * One watch: the services of the interest, and with interest in all, the catalog for names that come and go. Whatever
 * fails fails the watch.
 */
export class ConsulWatch {
  readonly #api: ConsulApi;
  readonly #options: ConsulWatchOptions;
  readonly #signal: AbortSignal;
  readonly #mailbox = new Mailbox();
  readonly #loops: ServiceLoops;
  /** Names in the catalog just now; undefined = the interest names the services. */
  #catalog: ReadonlySet<string> | undefined;
  /** Services whose first answer the first `synced` waits for; undefined = it is not known yet which. */
  #pending: Set<string> | undefined;
  #isSynced = false;
  #revision = 0n;
  #leader: string | undefined;

  /** `signal` ends every loop. */
  constructor(api: ConsulApi, options: ConsulWatchOptions, signal: AbortSignal) {
    this.#api = api;
    this.#options = options;
    this.#signal = signal;
    const onAnswer = (service: string, index: bigint, news: Truth | undefined): void =>
      this.#onAnswer(service, index, news);
    this.#loops = new ServiceLoops(api, { ...options, onAnswer, onError: (error) => this.#mailbox.fail(error) });
  }

  /** For one reader, once. */
  async *events(): AsyncGenerator<RegistryEvent, void, undefined> {
    const onAbort = (): void => {
      this.#loops.close();
      this.#mailbox.fail(this.#signal.reason);
    };
    this.#signal.addEventListener('abort', onAbort, { once: true });
    try {
      this.#run(this.#beat());
      if (this.#options.interest.kind === 'all') this.#run(this.#followCatalog());
      else this.#open(this.#options.interest.names);
      const changes = new Changes();
      for await (const event of this.#mailbox.read()) {
        if (event.kind === 'synced') yield event;
        else yield* changes.of(event);
      }
    } finally {
      this.#signal.removeEventListener('abort', onAbort);
      this.#loops.close();
    }
  }

  #run(loop: Promise<void>): void {
    loop.catch((error: unknown) => this.#mailbox.fail(error));
  }

  /** The services that the first `synced` waits for. */
  #open(names: ReadonlySet<string>): void {
    this.#pending = new Set(names);
    for (const name of names) this.#follow(name);
    this.#syncWhenRead();
  }

  #follow(name: string): void {
    const { registry, maxServices } = this.#options;
    if (this.#loops.size >= maxServices) {
      const who = `registry "${registry}" at ${this.#api.endpoint}`;
      throw new RegistryRefusal(
        `${who} has more than ${maxServices} services: name those you want in registries[].services`,
      );
    }
    this.#loops.add(name);
  }

  #onAnswer(service: string, index: bigint, news: Truth | undefined): void {
    if (news) this.#mailbox.put(news);
    this.#pending?.delete(service);
    this.#heard(index);
    this.#syncWhenRead();
    // One that is gone from the catalog is gone when its own answer says so, and not before.
    if (news?.kind === 'absent' && this.#catalog?.has(service) === false) this.#loops.dropIfAbsent(service);
  }

  async #followCatalog(): Promise<void> {
    const { clock, waitMs, random } = this.#options;
    const bucket = new TokenBucket(CATALOG_RATE, clock);
    const cursor = new Cursor();
    while (!this.#signal.aborted) {
      const wait = { index: cursor.index, waitMs: waitMs * (0.9 + 0.2 * random()) };
      const answer = await this.#api.services(wait, this.#signal);
      if (cursor.advance(answer)) this.#compareCatalog(answer.index, answer.body);
      await bucket.take(this.#signal);
    }
  }

  #compareCatalog(index: bigint, services: ReadonlyMap<string, unknown>): void {
    const known = this.#catalog;
    const wanted = wantedNames(services, this.#options.tags, (name, why) => {
      // Once is enough: the catalog comes again with every registration anywhere.
      if (!known) this.#options.onSkip({ service: '', id: '', why: `service ${name}: ${why}` });
    });
    this.#catalog = wanted;
    if (!known) this.#open(wanted);
    else for (const name of wanted) if (!known.has(name)) this.#follow(name);
    for (const name of known ?? []) if (!wanted.has(name)) this.#loops.dropIfAbsent(name);
    this.#heard(index);
  }

  /** Waiting reads are silent for a minute: this finds out sooner that nobody is there any more. */
  async #beat(): Promise<void> {
    const { clock, heartbeatMs, mayLackLeader } = this.#options;
    let endpoint: string | undefined;
    for (let leaderless = 0; !this.#signal.aborted;) {
      this.#leader = await this.#api.leader(this.#signal);
      endpoint ??= this.#api.endpoint;
      // Reads that wait at the old one would not notice before their deadline.
      if (endpoint !== this.#api.endpoint) throw this.#lost(endpoint, `stopped answering; ${this.#api.endpoint} does`);
      leaderless = this.#leader === undefined ? leaderless + 1 : 0;
      if (leaderless > 1 && !mayLackLeader) throw this.#lost(endpoint, 'has no leader; is its cluster healthy?');
      if (this.#isSynced) this.#sync();
      await sleep(clock, heartbeatMs, this.#signal);
    }
  }

  #heard(index: bigint): void {
    if (index > this.#revision) this.#revision = index;
    if (this.#isSynced) this.#sync();
  }

  #syncWhenRead(): void {
    if (this.#isSynced || this.#pending?.size !== 0) return;
    this.#isSynced = true;
    this.#sync();
  }

  #sync(): void {
    const revision = this.#revision === 0n ? undefined : String(this.#revision);
    this.#options.onInfo({ endpoint: this.#api.endpoint, leader: this.#leader, revision });
    this.#mailbox.sync(revision);
  }

  #lost(endpoint: string, text: string): RegistryUnreachable {
    return new RegistryUnreachable(this.#options, endpoint, { fault: 'unwell', text });
  }
}
