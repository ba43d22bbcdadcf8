import { createHash } from 'node:crypto';
import type { EmbeddedRegistryConfig, RegistryConfig } from '../config/config.ts';
import type { AddressPolicy } from '../core/address.ts';
import type { Clock } from '../core/clock.ts';
import type { Instance } from '../core/instance.ts';
import type { Random } from '../core/random.ts';
import type { OnSkip, RegistryBackend } from '../registry/backend.ts';
import { createRegistryApp } from '../registry/embedded/api/app.ts';
import type { InstanceStatus } from '../registry/embedded/api/views.ts';
import { EmbeddedBackend } from '../registry/embedded/backend.ts';
import type { LockOwner } from '../registry/embedded/data-lock.ts';
import { EmbeddedRegistry } from '../registry/embedded/registry.ts';
import type { ServiceMapping } from '../registry/mapping.ts';
import { RegistryMerge } from '../registry/merge.ts';
import { RegistrySource, type SourceStatus } from '../registry/source.ts';
import type { DeregistrationReason } from '../telemetry/closed-sets.ts';
import type { Logger } from '../telemetry/log.ts';
import { type InstanceStanding, isUp, standingOf } from '../telemetry/fleet-source.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Timeline } from '../telemetry/timeline.ts';
import type { Fleet } from '../upstream/fleet.ts';
import { type ClusterAddress, createBackend, type RemoteRegistryConfig } from './backends.ts';
import { observeSource } from './observe-source.ts';
import { fingerprint, same } from './same-config.ts';
import { type ServedApp, serveApp } from './serve-app.ts';

export interface RegistriesOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly fleet: Fleet;
  readonly metrics: Metrics;
  readonly timeline: Timeline;
  readonly log: Logger;
  readonly addresses: () => AddressPolicy;
  readonly stateDir: string | undefined;
  readonly owner: LockOwner;
  readonly cluster: ClusterAddress;
}

const STATUS_WORDS: Readonly<Record<InstanceStanding, string>> = {
  available: 'up',
  degraded: 'degraded',
  down: 'down',
  drained: 'draining',
  ejected: 'ejected',
  'breaker-open': 'ejected',
  unknown: 'starting',
  failing: 'failing',
  'half-open': 'recovering',
};

/** Kept between an instance's departure from its registry and from the fleet, which the guard may delay. */
const MAX_REASONS = 10_000;

/** One configured registry with what belongs to it. */
interface Running {
  readonly config: RegistryConfig;
  readonly source: RegistrySource;
  readonly close: () => Promise<void>;
}

interface Opened {
  readonly backend: (onSkip: OnSkip) => RegistryBackend;
  readonly close: () => Promise<void>;
}

/** All registries of the configuration, merged into the fleet. */
export class Registries {
  readonly merge: RegistryMerge;
  readonly #options: RegistriesOptions;
  readonly #running = new Map<string, Running>();
  /** Why instances went that are about to leave the fleet. */
  readonly #reasons = new Map<string, DeregistrationReason>();

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
  }

  /** Rejects where an embedded registry cannot open its directory or its listener: nothing else keeps the gateway down. */
  async start(configs: readonly RegistryConfig[]): Promise<void> {
    for (const config of configs) await this.#start(config);
  }

  /** Resolves when every registry has answered once, or has a saved set in use. */
  async ready(): Promise<void> {
    await Promise.all([...this.#running.values()].map(({ source }) => source.ready));
    this.merge.settle();
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

  /** Takes over a changed list: what stays the same is not touched. Returns what changed, for people. */
  async reload(configs: readonly RegistryConfig[]): Promise<string[]> {
    const changes: string[] = [];
    const wanted = new Map(configs.map((config) => [config.name, config]));
    for (const [name, running] of [...this.#running]) {
      const next = wanted.get(name);
      if (next && same(next, running.config)) continue;
      changes.push(next ? `registry ${name} changed` : `registry ${name} removed`);
      this.#running.delete(name);
      await running.source.stop();
      await running.close();
      if (next) {
        await this.#start(next);
        await this.#replaced(name);
      }
      running.source.withdraw();
      if (!next) this.#options.metrics.registries.forget(name);
    }
    for (const config of configs) {
      if (this.#running.has(config.name)) continue;
      changes.push(`registry ${config.name} added`);
      await this.#start(config);
    }
    return changes;
  }

  /** Once per instance that left an embedded registry. */
  takeReason(service: string, id: string): DeregistrationReason | undefined {
    const key = `${service}/${id}`;
    const reason = this.#reasons.get(key);
    this.#reasons.delete(key);
    return reason;
  }

  async stop(): Promise<void> {
    const running = [...this.#running.values()];
    this.#running.clear();
    await Promise.all(running.map(async ({ source }) => source.stop()));
    await Promise.all(running.map(async ({ close }) => close()));
  }

  /** A successor should have answered before what its predecessor knew goes, but a broken one must not hold a reload. */
  async #replaced(name: string): Promise<void> {
    const ready = this.#running.get(name)?.source.ready;
    await Promise.race([ready, new Promise<void>((resolve) => void this.#options.clock.after(10_000, resolve))]);
  }

  async #start(config: RegistryConfig): Promise<void> {
    const { clock, random, stateDir, fleet } = this.#options;
    const opened = config.type === 'embedded' ? await this.#open(config) : this.#connect(config);
    const source = new RegistrySource({
      name: config.name,
      backend: opened.backend,
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
    this.#running.set(config.name, { config, source, close: opened.close });
    source.start();
  }

  /** The gateway's word on an instance, in place of the registry's own. */
  #statusOf(service: string, id: string): InstanceStatus | undefined {
    const member = this.#options.fleet.find(service, id);
    if (!member) return undefined;
    const standing = standingOf(member.health);
    return { status: STATUS_WORDS[standing], healthy: isUp(standing), reason: member.instance.stateReason };
  }

  #connect(config: RemoteRegistryConfig): Opened {
    const { clock, random, cluster } = this.#options;
    return {
      backend: (onSkip) => createBackend(config, { clock, random, cluster, onSkip }),
      close: () => Promise.resolve(),
    };
  }

  async #open(config: EmbeddedRegistryConfig): Promise<Opened> {
    const { clock, random, log, fleet, addresses } = this.#options;
    const say = (level: 'info' | 'warn' | 'error', event: string, fields?: Record<string, unknown>): void => {
      log[level](event, { registry: config.name, ...fields });
    };
    const registry = await EmbeddedRegistry.open({
      dataDir: config.dataDir,
      owner: this.#options.owner,
      clock,
      log: say,
    });
    const served: ServedApp[] = [];
    try {
      for (const { host, port } of config.listen) {
        const app = createRegistryApp({
          registry,
          addresses,
          clock,
          random,
          log: say,
          token: config.token,
          statusOf: (service, id) => this.#statusOf(service, id),
        });
        served.push(await serveApp(app, host, port, `registries.${config.name}.listen`));
      }
    } catch (error) {
      await registry.close();
      throw error;
    }
    const unlisten = fleet.listen({
      transition: (member) => {
        registry.statusChanged({ service: member.service.name, id: member.instance.id });
      },
    });
    const unsubscribe = registry.subscribe((change) => {
      if (change.kind !== 'remove' || this.#reasons.size >= MAX_REASONS) return;
      this.#reasons.set(`${change.instance.service}/${change.instance.id}`, change.reason);
    });
    const [first] = config.listen;
    return {
      backend: () => new EmbeddedBackend(registry, first && `${first.host}:${first.port}`),
      close: async () => {
        unlisten();
        unsubscribe();
        await registry.close();
        await Promise.all(served.map(async (each) => each.close()));
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

function mappingOf(config: RegistryConfig): ServiceMapping {
  // What is configured by name already is named as wanted.
  if (config.type === 'static' || config.type === 'dns') return { kind: 'all', prefix: '' };
  return config.services;
}
