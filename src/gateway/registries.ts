import { createHash } from 'node:crypto';
import type { Config, RegistryConfig } from '../config/config.ts';
import type { AddressPolicy } from '../core/address.ts';
import { type Clock, sleep } from '../core/clock.ts';
import type { Instance } from '../core/instance.ts';
import type { Random } from '../core/random.ts';
import type { Report } from '../registry/embedded/api/queries.ts';
import type { LockOwner } from '../registry/embedded/data-lock.ts';
import { RegistryMerge } from '../registry/merge.ts';
import { RegistrySource, type SourceStatus } from '../registry/source.ts';
import type { DeregistrationReason } from '../telemetry/closed-sets.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Timeline } from '../telemetry/timeline.ts';
import type { Fleet } from '../upstream/fleet.ts';
import { type ClusterAddress, createBackend } from './backends.ts';
import { DepartureReasons } from './departure-reasons.ts';
import { EmbeddedService, type EmbeddedServiceDeps } from './embedded-service.ts';
import { wordOn } from './instance-word.ts';
import { observeSource } from './observe-source.ts';
import { mappingOf, PoolNames } from './pool-names.ts';
import type { PreparedChange, Reloadable } from './reload.ts';
import { fingerprint, same } from './same-config.ts';
import type { InheritedSockets, NamedSocket } from './sockets.ts';

export interface RegistriesOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly fleet: Fleet;
  readonly metrics: Metrics;
  readonly timeline: Timeline;
  readonly log: Logger;
  readonly addresses: AddressPolicy;
  readonly stateDir: string | undefined;
  /** What the fleet has room for. */
  readonly limits?: { readonly instances: number; readonly services: number };
  readonly owner: LockOwner;
  readonly cluster: ClusterAddress;
  /** An instance of an embedded registry has said how it is. */
  readonly onReport?: (service: string, id: string, report: Report) => void;
}

/** What a successor of the same name may take to answer before what is known from its predecessor goes. */
const SUCCESSION_MS = 10_000;
/** What registrants have begun may take this long to end when another process takes over. */
const GRACE_MS = 2000;

/** One configured registry with what belongs to it. */
interface Running {
  readonly config: RegistryConfig;
  readonly source: RegistrySource;
  readonly embedded: EmbeddedService | undefined;
}

/** All registries of the configuration, merged into the fleet. */
export class Registries implements Reloadable {
  readonly merge: RegistryMerge;
  readonly #options: RegistriesOptions;
  readonly #running = new Map<string, Running>();
  /** What has been given to another process, and may have connections open. */
  readonly #handedOver: EmbeddedService[] = [];
  readonly #names: PoolNames;
  readonly #reasons = new DepartureReasons();

  constructor(options: RegistriesOptions) {
    this.#options = options;
    const { fleet, clock } = options;
    this.merge = new RegistryMerge(
      {
        upsert: (instance) => {
          fleet.upsert(instance);
        },
        remove: (service, id) => {
          fleet.remove(service, id);
        },
        known: (service, known) => {
          if (known) fleet.know(service);
        },
        flush: () => {
          fleet.flush();
        },
      },
      clock,
    );
    this.#names = new PoolNames(this.merge);
    fleet.listen({
      transition: ({ instance }) => {
        for (const { config, embedded } of this.#running.values()) {
          if (!embedded) continue;
          for (const { service, id } of this.#names.inRegistry(config, instance)) embedded.statusChanged(service, id);
        }
      },
    });
  }

  /** Rejects where an embedded registry cannot open its directory or its listener: nothing else keeps the gateway down. */
  async start(configs: readonly RegistryConfig[], inherited?: InheritedSockets): Promise<void> {
    for (const config of configs) this.#run(config, await this.#openEmbedded(config, inherited));
  }

  /** The order in which they are believed. */
  setOrder(configs: readonly RegistryConfig[]): void {
    this.merge.setOrder(configs.map(({ name }) => name));
  }

  /** Resolves when every registry that has been started has answered once, or has a saved set in use. */
  async answered(): Promise<void> {
    await Promise.all([...this.#running.values()].map(({ source }) => source.ready));
  }

  /** The same, when all have been started. */
  async ready(): Promise<void> {
    await this.answered();
    this.merge.settle();
  }

  /** Whether an embedded registry has the instance of the pool, and so hears from it. */
  hearsFrom(instance: Instance): boolean {
    return [...this.#running.values()].some(
      ({ config, embedded }) =>
        embedded && this.#names.inRegistry(config, instance).some(({ service, id }) => embedded.has(service, id)),
    );
  }

  statuses(): SourceStatus[] {
    return [...this.#running.values()].map(({ source }) => source.status());
  }

  /** What one registry has; undefined where there is none of this name. */
  tableOf(name: string): ReadonlyMap<string, readonly Instance[]> | undefined {
    const source = this.#running.get(name)?.source;
    if (!source) return undefined;
    return new Map(
      source.services().map((service) => [service, source.tableOf(service).map(({ instance }) => instance)]),
    );
  }

  /** Opens what embedded registries need anew. What stays the same in the configuration is not touched. */
  async prepare(next: Config): Promise<PreparedChange> {
    const opened = new Map<string, EmbeddedService>();
    const changed: PreparedChange[] = [];
    const abandon = async (): Promise<void> => {
      for (const change of changed) await change.abandon();
      for (const service of opened.values()) await service.close();
    };
    try {
      for (const config of next.registries) {
        const running = this.#running.get(config.name);
        if (config.type !== 'embedded' || (running && same(config, running.config))) continue;
        if (running?.embedded) changed.push(await running.embedded.prepare(config));
        else opened.set(config.name, await EmbeddedService.open(config, this.#embeddedDeps()));
      }
    } catch (error) {
      await abandon();
      throw error;
    }
    const commit = async (): Promise<string[]> => {
      for (const change of changed) await change.commit();
      return this.#take(next.registries, opened);
    };
    return { commit, abandon };
  }

  /** Listeners of embedded registries. */
  get sockets(): readonly NamedSocket[] {
    return [...this.#running.values()].flatMap(({ embedded }) => embedded?.sockets ?? []);
  }

  /**
   * Gives directories and listeners of embedded registries up to another process. What is known from them stays in use.
   * The returned function takes them back, for when that process fails.
   */
  async handOver(): Promise<() => Promise<void>> {
    const given = [...this.#running.values()].filter(({ embedded }) => embedded);
    for (const { config, source, embedded } of given) {
      this.#running.delete(config.name);
      await source.stop();
      if (!embedded) continue;
      this.#handedOver.push(embedded);
      await embedded.handOver(GRACE_MS);
    }
    return async () => {
      for (let next = given[0]; next; next = given[0]) {
        const { config, source } = next;
        this.#run(config, await this.#openEmbedded(config));
        given.shift();
        await this.#replaced(config.name);
        source.withdraw();
      }
    };
  }

  async #take(configs: readonly RegistryConfig[], opened: ReadonlyMap<string, EmbeddedService>): Promise<string[]> {
    const changes: string[] = [];
    const wanted = new Map(configs.map((config) => [config.name, config]));
    for (const [name, { config, source, embedded }] of [...this.#running]) {
      const next = wanted.get(name);
      if (next && same(next, config)) continue;
      changes.push(next ? `registry ${name} changed` : `registry ${name} removed`);
      this.#running.delete(name);
      await source.stop();
      const stays = next?.type === 'embedded';
      if (!stays) await embedded?.close(GRACE_MS);
      if (next) {
        this.#run(next, stays ? (embedded ?? opened.get(name)) : undefined);
        await this.#replaced(name);
      }
      source.withdraw();
      if (!next) this.#options.metrics.registries.forget(name);
    }
    for (const config of configs) {
      if (this.#running.has(config.name)) continue;
      changes.push(`registry ${config.name} added`);
      this.#run(config, opened.get(config.name));
    }
    if (changes.length > 0) this.setOrder(configs);
    return changes;
  }

  /** Once per instance that left an embedded registry. */
  takeReason(service: string, id: string): DeregistrationReason | undefined {
    return this.#reasons.take(service, id);
  }

  /** Follows none any more. What has been handed over passes on what is asked on its connections, until `close`. */
  async stop(): Promise<void> {
    const running = [...this.#running.values()];
    this.#running.clear();
    await Promise.all(running.map(async ({ source }) => source.stop()));
    await Promise.all(running.map(async ({ embedded }) => embedded?.close()));
  }

  /** What is asked of a directory that was handed over has `graceMs` to be answered. */
  async close(graceMs = 0): Promise<void> {
    await this.stop();
    await Promise.all(this.#handedOver.splice(0).map((embedded) => embedded.close(graceMs)));
  }

  /** A successor should have answered before what its predecessor knew goes, but a broken one must not hold a reload. */
  async #replaced(name: string): Promise<void> {
    const ready = this.#running.get(name)?.source.ready;
    const enough = new AbortController();
    await Promise.race([ready, sleep(this.#options.clock, SUCCESSION_MS, enough.signal)]);
    enough.abort();
  }

  /** `embedded`: that of a configuration of this type. */
  #run(config: RegistryConfig, embedded: EmbeddedService | undefined): void {
    const { clock, random, stateDir, fleet, cluster } = this.#options;
    const source = new RegistrySource({
      name: config.name,
      backend: (onSkip) => {
        if (config.type !== 'embedded') return createBackend(config, { clock, random, cluster, onSkip });
        if (embedded) return embedded.backend();
        throw new Error(`registry ${config.name} was not opened`);
      },
      merge: this.merge,
      clock,
      random,
      mapping: mappingOf(config),
      guard: config.guard,
      follow: { relistMs: config.relistIntervalMs },
      // The embedded registry and files are on disk themselves.
      ...(stateDir === undefined || isLocal(config)
        ? {}
        : { snapshot: { directory: stateDir, identity: identityOf(config) } }),
      passes: (service, id) => {
        const probe = fleet.find(service, id)?.health.probe;
        return probe === 'passing' || probe === 'degraded';
      },
      listener: observeSource(config.name, this.#options),
    });
    this.#running.set(config.name, { config, source, embedded });
    source.start();
  }

  async #openEmbedded(config: RegistryConfig, inherited?: InheritedSockets): Promise<EmbeddedService | undefined> {
    return config.type === 'embedded' ? EmbeddedService.open(config, this.#embeddedDeps(), inherited) : undefined;
  }

  #embeddedDeps(): EmbeddedServiceDeps {
    return {
      ...this.#options,
      statusOf: (config, instance) => wordOn(this.#options.fleet, this.#names.inPool(config, instance)),
      onReport: (config, instance, report) => {
        for (const { service, id } of this.#names.inPool(config, instance))
          this.#options.onReport?.(service, id, report);
      },
      onChange: (config, change) => {
        if (change.kind === 'absent') return;
        this.#reasons.note(change, () => this.#names.inPool(config, change.instance));
      },
    };
  }
}

/** A snapshot is of this registry and of what is taken from it; the configuration may hold secrets, a digest does not. */
function identityOf(config: RegistryConfig): string {
  return createHash('sha256')
    .update(fingerprint({ ...config, relistIntervalMs: 0 }))
    .digest('base64url');
}

function isLocal({ type }: RegistryConfig): boolean {
  return type === 'embedded' || type === 'static' || type === 'file';
}
