import { setMaxListeners } from 'node:events';
import type { Clock } from '../../core/clock.ts';
import type { Instance } from '../../core/instance.ts';
import type { Random } from '../../core/random.ts';
import type { Interest, OnSkip, RegistryBackend, RegistryEvent, RegistryInfo } from '../backend.ts';
import { endpointName, parseEndpoint } from '../endpoint.ts';
import type { RegistryLabel } from '../network-fault.ts';
import { stoppable } from '../stoppable.ts';
import type { TlsMaterial } from '../tls-material.ts';
import { ConsulApi, NO_WAIT, type ConsulScope } from './api.ts';
import { wantedNames } from './catalog.ts';
import { ConsulWatch } from './consul-watch.ts';
import { Gate } from './gate.ts';
import { readHealth } from './health.ts';

export interface ConsulOptions extends Partial<ConsulScope> {
  /** The registry's name in the configuration; messages carry it. */
  readonly name: string;
  /** `http://host:port` or `https://…` of agents or servers of one datacenter; tried in turn. */
  readonly addresses: readonly string[];
  /** Asked for at every watch and list, so that rotated certificates are used. Only for `https://` addresses. */
  readonly tls?: (() => Promise<TlsMaterial>) | undefined;
  /** Longest wait of a waiting read, ± 10 %. Consul allows up to 10 min. Default 55000. */
  readonly waitMs?: number | undefined;
  /** Between two proofs of life; a dead agent is found after this and `requestMs`. Default 10000. */
  readonly heartbeatMs?: number | undefined;
  readonly connectMs?: number | undefined;
  /** For each request that does not wait. Default 5000. */
  readonly requestMs?: number | undefined;
  /**
   * Services that hold a connection of their own; Consul allows one client 200 connections by default, and closes
   * further ones. Services beyond it are read in turn. Default 128.
   */
  readonly maxWatches?: number | undefined;
  /** Reads per second of services beyond `maxWatches`: n of them are seen within n / this. Default 50. */
  readonly pollsPerSecond?: number | undefined;
  /** More services than this are refused. Default 20000. */
  readonly maxServices?: number | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly onSkip: OnSkip;
}

/** Connections beside those of watches: first reads, polls, heartbeat, catalog. */
const SPARE_CONNECTIONS = 24;
const LIST_READS = 16;

/** Consul, by waiting reads of its health API: every check counts, so warnings and maintenance are seen. */
export class ConsulBackend implements RegistryBackend {
  readonly type = 'consul';
  readonly maxSilenceMs: number;
  readonly #options: ConsulOptions;
  readonly #label: RegistryLabel;
  readonly #heartbeatMs: number;
  readonly #connectMs: number;
  readonly #requestMs: number;
  /** The address that answered last. */
  #preferred: string | undefined;
  #info: RegistryInfo = { endpoint: undefined, leader: undefined, revision: undefined };

  constructor(options: ConsulOptions) {
    this.#options = options;
    this.#label = {
      registry: options.name,
      addressSetting: 'address',
      resetHint:
        'if it works for few services, raise its limits.http_max_conns_per_client, or name fewer in registries[].services',
    };
    this.#heartbeatMs = options.heartbeatMs ?? 10_000;
    this.#connectMs = options.connectMs ?? 3000;
    this.#requestMs = options.requestMs ?? 5000;
    this.maxSilenceMs = 2 * (this.#heartbeatMs + this.#connectMs + this.#requestMs) * options.addresses.length;
  }

  watch(interest: Interest, signal: AbortSignal): AsyncIterable<RegistryEvent> {
    return stoppable(signal, (inner) => this.#watch(interest, inner));
  }

  async list(interest: Interest, signal: AbortSignal): Promise<ReadonlyMap<string, readonly Instance[]>> {
    signal.throwIfAborted();
    setMaxListeners(0, signal);
    const api = await this.#api(LIST_READS);
    try {
      const names = interest.kind === 'all' ? await this.#names(api, signal) : [...interest.names];
      const gate = new Gate(LIST_READS);
      const reads = names.map((name) =>
        gate.run(async () => [name, await this.#instances(api, name, signal)] as const),
      );
      const found = (await Promise.all(reads)).flatMap(([name, instances]) =>
        instances ? [[name, instances] as const] : [],
      );
      return new Map(found);
    } finally {
      this.#done(api);
    }
  }

  info(): RegistryInfo {
    return this.#info;
  }

  async *#watch(interest: Interest, signal: AbortSignal): AsyncGenerator<RegistryEvent, void, undefined> {
    const { tags = [], waitMs = 55_000, maxWatches = 128, maxServices = 20_000, pollsPerSecond = 50 } = this.#options;
    const { clock, random, onSkip, consistency } = this.#options;
    setMaxListeners(0, signal);
    const api = await this.#api(maxWatches + SPARE_CONNECTIONS);
    const onAbort = (): void => api.close();
    signal.addEventListener('abort', onAbort, { once: true });
    const limits = { waitMs, heartbeatMs: this.#heartbeatMs, maxWatches, maxServices, pollsPerSecond };
    const onInfo = (info: RegistryInfo): void => void (this.#info = info);
    const mayLackLeader = consistency === 'stale';
    const options = { ...this.#label, ...limits, interest, tags, mayLackLeader, clock, random, onSkip, onInfo };
    try {
      yield* new ConsulWatch(api, options, signal).events();
    } finally {
      signal.removeEventListener('abort', onAbort);
      this.#done(api);
    }
  }

  #done(api: ConsulApi): void {
    this.#preferred = api.endpoint;
    api.close();
  }

  async #names(api: ConsulApi, signal: AbortSignal): Promise<string[]> {
    const { body } = await api.services(NO_WAIT, signal);
    const { tags = [], onSkip } = this.#options;
    return [...wantedNames(body, tags, (name, why) => onSkip({ service: '', id: '', why: `service ${name}: ${why}` }))];
  }

  /** Undefined = the service is not there. */
  async #instances(api: ConsulApi, name: string, signal: AbortSignal): Promise<Instance[] | undefined> {
    const answer = await api.health(name, NO_WAIT, true, signal);
    const instances = readHealth(name, answer.body, this.#options.onSkip);
    if (!instances) throw api.malformed(answer.endpoint, `/v1/health/service/${name}`);
    return Array.isArray(answer.body) && answer.body.length === 0 ? undefined : instances;
  }

  /** Begins with the address that answered last. */
  async #api(maxConnections: number): Promise<ConsulApi> {
    const { addresses, token, datacenter, namespace, partition, tags, filter, consistency, tls, clock } = this.#options;
    const last = addresses.findIndex(
      (address) => endpointName(parseEndpoint(address, this.#label)) === this.#preferred,
    );
    return new ConsulApi({
      ...this.#label,
      addresses: last > 0 ? [...addresses.slice(last), ...addresses.slice(0, last)] : addresses,
      tls: await tls?.(),
      token: token === '' ? undefined : token,
      datacenter,
      namespace,
      partition,
      tags: tags ?? [],
      filter,
      consistency: consistency ?? 'default',
      maxConnections,
      connectMs: this.#connectMs,
      requestMs: this.#requestMs,
      clock,
    });
  }
}
