import { setMaxListeners } from 'node:events';
import { setImmediate } from 'node:timers/promises';
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
import { interleave } from '../interleave.ts';
import { RegistryUnreachable } from '../network-fault.ts';
import { stoppable } from '../stoppable.ts';
import { KubernetesApi, type Scope, type SliceEvents } from './api.ts';
import type { ClusterAccess } from './credentials.ts';
import { Naming, selectorFor } from './naming.ts';
import { SliceRoster } from './roster.ts';
import type { PortChoice } from './slice.ts';
import { Expired } from './verdict.ts';

export interface KubernetesOptions {
  /** The registry's name in the configuration; messages carry it. */
  readonly name: string;
  readonly access: ClusterAccess;
  /** Services of the first one keep their plain name; those of others are called `name.namespace`. */
  readonly namespaces: readonly string[];
  /** More than the label that every slice of a service has. */
  readonly labelSelector?: string | undefined;
  /** Name or number of the port that gets the traffic; undefined = the first one that speaks TCP. */
  readonly port?: PortChoice;
  readonly connectMs?: number | undefined;
  /** Until the head of an answer, and longest silence inside a list. Default 10000. */
  readonly requestMs?: number | undefined;
  /**
   * A watch that is silent for so long is asked for anew. Bookmarks come about every minute; less than that costs a
   * request each time. A dead connection is found after this and `requestMs`. Default 75000.
   */
  readonly idleMs?: number | undefined;
  /** Tokens and certificates are read again when they are older than this. Default 60000. */
  readonly credentialsMs?: number | undefined;
  /** Slices per page of a list. Default 500. */
  readonly pageSlices?: number | undefined;
  /** More slices than this in one namespace are refused, not kept. Default 100,000. */
  readonly maxSlices?: number | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly onSkip: OnSkip;
}

/** One namespace: its slices, and the revision up to which they are known. */
interface Opening {
  readonly scope: Scope;
  readonly roster: SliceRoster;
  resourceVersion: string;
}

/** Instances told without letting anything else run. */
const BREATH_INSTANCES = 1000;
/** How often a list that expires under our hands is begun again; the last time all at once, which cannot expire. */
const LIST_ATTEMPTS = 3;
/** How often in a row the server may have forgotten what it has just told us. */
const MAX_EXPIRIES = 3;
/** Drawn anew for every watch, so that a fleet of gateways does not come back in one instant. Seconds. */
const MIN_WATCH_S = 300;
const MAX_WATCH_S = 600;
const SHORTEST_WATCH_MS = 1000;

/**
 * Kubernetes: a list of the EndpointSlices of each namespace, and a watch from the list's revision on.
 *
 * The server ends every watch after some minutes: then the next one goes on from the last revision seen. Where the
 * server has forgotten that revision, a list comes inside the same watch. Everything else that ends a watch is a loss.
 */
export class KubernetesBackend implements RegistryBackend {
  readonly type = 'kubernetes';
  readonly maxSilenceMs: number;
  readonly #options: KubernetesOptions;
  readonly #naming: Naming;
  readonly #connectMs: number;
  readonly #requestMs: number;
  readonly #idleMs: number;
  #info: RegistryInfo = { endpoint: undefined, leader: undefined, revision: undefined };

  constructor(options: KubernetesOptions) {
    this.#options = options;
    this.#naming = new Naming(options.namespaces);
    this.#connectMs = options.connectMs ?? 3000;
    this.#requestMs = options.requestMs ?? 10_000;
    this.#idleMs = options.idleMs ?? 75_000;
    // A 401 makes two requests out of one.
    this.maxSilenceMs = 2 * this.#idleMs + 4 * (this.#connectMs + this.#requestMs);
  }

  watch(interest: Interest, signal: AbortSignal): AsyncIterable<RegistryEvent> {
    return stoppable(signal, (inner) => this.#watch(interest, inner));
  }

  async list(interest: Interest, signal: AbortSignal): Promise<ReadonlyMap<string, readonly Instance[]>> {
    setMaxListeners(0, signal);
    signal.throwIfAborted();
    const api = this.#api();
    try {
      const openings = await this.#listAll(api, interest, signal);
      return new Map(openings.flatMap(({ roster }) => [...roster.tellAll()]));
    } finally {
      api.close();
    }
  }

  info(): RegistryInfo {
    return this.#info;
  }

  async *#watch(interest: Interest, signal: AbortSignal): AsyncGenerator<RegistryEvent, void, undefined> {
    setMaxListeners(0, signal);
    const api = this.#api();
    try {
      const openings = await this.#listAll(api, interest, signal);
      const gone = new Set(interest.kind === 'services' ? interest.names : []);
      for (const { roster } of openings) yield* this.#tell(roster, gone);
      for (const service of gone) yield { kind: 'absent', service };
      yield this.#heard(api, openings[0]?.resourceVersion);
      yield* interleave(...openings.map((opening) => this.#follow(api, opening, interest, signal)));
      // An interest that lies in none of the namespaces: there is nothing to ask for.
      while (!signal.aborted) {
        await sleep(this.#options.clock, this.#idleMs, signal);
        yield { kind: 'synced', revision: undefined };
      }
    } finally {
      api.close();
    }
  }

  /** The whole truth about every service of one namespace; takes them out of `gone`. */
  async *#tell(roster: SliceRoster, gone: Set<string>): AsyncGenerator<RegistryEvent, void, undefined> {
    let told = 0;
    for (const [service, instances] of roster.tellAll()) {
      gone.delete(service);
      yield { kind: 'reset', service, instances };
      told += instances.length;
      if (told < BREATH_INSTANCES) continue;
      told = 0;
      await setImmediate();
    }
  }

  /** Changes and signs of life of one namespace, until something throws. */
  async *#follow(
    api: KubernetesApi,
    first: Opening,
    interest: Interest,
    signal: AbortSignal,
  ): AsyncGenerator<RegistryEvent, void, undefined> {
    let opening = first;
    let expiries = 0;
    while (!signal.aborted) {
      const before = opening.resourceVersion;
      try {
        yield* this.#watchOnce(api, opening, signal);
      } catch (error) {
        if (!(error instanceof Expired)) throw error;
        expiries = opening.resourceVersion === before ? expiries + 1 : 1;
        if (expiries > MAX_EXPIRIES) throw error;
        // Nothing is lost: what happened since is in the list, and nobody needs to be told that the registry was away.
        const gone = new Set(opening.roster.services);
        opening = await this.#list(api, opening.scope.namespace, interest, signal);
        yield* this.#tell(opening.roster, gone);
        for (const service of gone) yield { kind: 'absent', service };
        yield this.#heard(api, opening.resourceVersion);
      }
    }
  }

  /** One watch request, from its beginning to its orderly end; or to a silence, after which the next one tells. */
  async *#watchOnce(
    api: KubernetesApi,
    opening: Opening,
    signal: AbortSignal,
  ): AsyncGenerator<RegistryEvent, void, undefined> {
    const { clock, random } = this.#options;
    const timeoutS = Math.round(MIN_WATCH_S + random() * (MAX_WATCH_S - MIN_WATCH_S));
    const events = await api.watch(opening.scope, opening.resourceVersion, timeoutS, signal);
    const startMs = clock.now();
    let any = false;
    yield this.#heard(api, opening.resourceVersion);
    try {
      for await (const event of this.#applied(api, opening, events)) {
        any = true;
        yield event;
      }
    } catch (error) {
      // A server that has seen no change since its own start sends no bookmarks. Whether it lives shows when it is asked.
      if (error instanceof RegistryUnreachable && error.fault === 'timeout') return;
      throw error;
    }
    if (!any && clock.now() - startMs < SHORTEST_WATCH_MS) throw api.lost('ended a watch as soon as it began');
  }

  async *#applied(
    api: KubernetesApi,
    opening: Opening,
    events: SliceEvents,
  ): AsyncGenerator<RegistryEvent, void, undefined> {
    for await (const event of events) {
      const changes =
        event.kind === 'bookmark'
          ? []
          : event.kind === 'put'
            ? opening.roster.put(event.object)
            : opening.roster.delete(event.object);
      if (opening.roster.size > this.#maxSlices) throw this.#tooManySlices(api, opening.scope);
      yield* changes;
      // Only now: what was not told yet must come again if this watch breaks here.
      opening.resourceVersion = event.resourceVersion ?? opening.resourceVersion;
      const heard = this.#heard(api, opening.resourceVersion);
      if (changes.length === 0) yield heard;
    }
  }

  async #listAll(api: KubernetesApi, interest: Interest, signal: AbortSignal): Promise<readonly Opening[]> {
    const wanted = [...new Set(this.#options.namespaces)].filter((namespace) => {
      const names = this.#naming.wantedIn(namespace, interest);
      return names === 'all' || names.size > 0;
    });
    return Promise.all(wanted.map((namespace) => this.#list(api, namespace, interest, signal)));
  }

  async #list(api: KubernetesApi, namespace: string, interest: Interest, signal: AbortSignal): Promise<Opening> {
    const { labelSelector, port, onSkip, pageSlices = 500 } = this.#options;
    const wanted = this.#naming.wantedIn(namespace, interest);
    const scope = { namespace, labelSelector: selectorFor(wanted, labelSelector) };
    for (let attempt = 1; ; attempt += 1) {
      const roster = new SliceRoster({ namespace, naming: this.#naming, wanted, port, onSkip });
      const limit = attempt < LIST_ATTEMPTS ? pageSlices : 0;
      try {
        let rest = '';
        do {
          const page = await api.list(scope, limit, rest, signal);
          for (const item of page.items) roster.enter(item);
          if (roster.size > this.#maxSlices) throw this.#tooManySlices(api, scope);
          if (page.continueToken === '') return { scope, roster, resourceVersion: page.resourceVersion };
          if (page.items.length === 0) throw api.lost('answered an empty page of a list, and that more would follow');
          rest = page.continueToken;
        } while (rest !== '');
      } catch (error) {
        if (!(error instanceof Expired) || attempt === LIST_ATTEMPTS) throw error;
      }
    }
  }

  get #maxSlices(): number {
    return this.#options.maxSlices ?? 100_000;
  }

  #tooManySlices(api: KubernetesApi, { namespace }: Scope): RegistryRefusal {
    const where = `registry "${this.#options.name}" at ${api.endpoint ?? ''}`;
    const why = `more than ${this.#maxSlices} EndpointSlices in namespace ${namespace}`;
    return new RegistryRefusal(`${where} has ${why}: narrow registries[].labelSelector`);
  }

  #api(): KubernetesApi {
    const { name, access, credentialsMs = 60_000, clock, namespaces } = this.#options;
    return new KubernetesApi({
      registry: name,
      addressSetting: 'kubeconfig',
      access,
      credentialsMs,
      connectMs: this.#connectMs,
      requestMs: this.#requestMs,
      idleMs: this.#idleMs,
      // One for the watch of each namespace, and some for lists.
      maxConnections: namespaces.length + 4,
      clock,
    });
  }

  #heard(api: KubernetesApi, revision: string | undefined): RegistryEvent {
    this.#info = { ...this.#info, endpoint: api.endpoint ?? this.#info.endpoint, revision };
    return { kind: 'synced', revision };
  }
}
