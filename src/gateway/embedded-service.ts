import type { Hono } from 'hono';
import type { EmbeddedRegistryConfig, HostPort } from '../config/config.ts';
import type { AddressPolicy } from '../core/address.ts';
import type { Clock } from '../core/clock.ts';
import type { Instance } from '../core/instance.ts';
import type { Random } from '../core/random.ts';
import type { RegistryBackend } from '../registry/backend.ts';
import { createRegistryApp } from '../registry/embedded/api/app.ts';
import type { Report } from '../registry/embedded/api/queries.ts';
import type { InstanceStatus, StatusOf } from '../registry/embedded/api/views.ts';
import { EmbeddedBackend } from '../registry/embedded/backend.ts';
import type { Change } from '../registry/embedded/changes.ts';
import { deregisterCritical } from '../registry/embedded/consul/critical.ts';
import type { LockOwner } from '../registry/embedded/data-lock.ts';
import { EmbeddedRegistry } from '../registry/embedded/registry.ts';
import type { Logger } from '../telemetry/log.ts';
import type { PreparedChange } from './reload.ts';
import { type ServedApp, serveApp } from './serve-app.ts';
import { compareAddresses, type InheritedSockets, type NamedSocket } from './sockets.ts';

export interface EmbeddedServiceDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly addresses: AddressPolicy;
  readonly owner: LockOwner;
  /** What the gateway can take in: beyond it registrations are refused. */
  readonly limits?: { readonly instances: number; readonly services: number };
  /** The gateway's word on an instance of the registry, in place of its own. */
  readonly statusOf: (registry: EmbeddedRegistryConfig, instance: Instance) => InstanceStatus | undefined;
  readonly onChange: (registry: EmbeddedRegistryConfig, change: Change) => void;
  /** An instance of the registry has said how it is. */
  readonly onReport: (registry: EmbeddedRegistryConfig, instance: Instance, report: Report) => void;
}

type Say = (level: 'info' | 'warn' | 'error', event: string, fields?: Record<string, unknown>) => void;

interface Served {
  readonly configured: HostPort;
  readonly app: ServedApp;
}

/** What registrants have begun when a listener closes may take this long to end. */
const GRACE_MS = 2000;

/** The embedded registry of one configuration entry: its directory and its listeners. */
export class EmbeddedService {
  #config: EmbeddedRegistryConfig;
  #registry: EmbeddedRegistry;
  #unsubscribe: () => void;
  readonly #deps: EmbeddedServiceDeps;
  #served: Served[] = [];

  private constructor(config: EmbeddedRegistryConfig, deps: EmbeddedServiceDeps, registry: EmbeddedRegistry) {
    this.#config = config;
    this.#deps = deps;
    this.#registry = registry;
    this.#unsubscribe = this.#attend(registry);
  }

  /** Rejects, with nothing left open, where the directory or a listener cannot be had. */
  static async open(
    config: EmbeddedRegistryConfig,
    deps: EmbeddedServiceDeps,
    inherited?: InheritedSockets,
  ): Promise<EmbeddedService> {
    const service = new EmbeddedService(config, deps, await openRegistry(config, deps));
    try {
      service.#served = await service.#serve(config.listen, service.#app(config, service.#registry), inherited);
    } catch (error) {
      await service.close();
      throw error;
    }
    return service;
  }

  get sockets(): readonly NamedSocket[] {
    return this.#served.flatMap(({ configured, app: { fd } }) =>
      fd === undefined ? [] : [{ setting: settingOf(this.#config), ...configured, fd }],
    );
  }

  backend(): RegistryBackend {
    const [first] = this.#config.listen;
    return new EmbeddedBackend(this.#registry, first && `${first.host}:${first.port}`);
  }

  /** Whether it has the instance, and so hears from it. */
  has(service: string, id: string): boolean {
    return this.#registry.find({ service, id }) !== undefined;
  }

  /** What the gateway says of an instance has changed. */
  statusChanged(service: string, id: string): void {
    this.#registry.statusChanged({ service, id });
  }

  /** Another configuration of the same registry. What it keeps of directory and listeners is not touched. */
  async prepare(next: EmbeddedRegistryConfig): Promise<PreparedChange> {
    const moves = next.dataDir !== this.#config.dataDir;
    const registry = moves ? await openRegistry(next, this.#deps) : this.#registry;
    const app = this.#app(next, registry);
    const { kept, gone, added } = compareAddresses(this.#served, next.listen);
    const opened = await this.#serve(added, app).catch(async (error: unknown) => {
      if (moves) await registry.close();
      throw error;
    });
    return {
      commit: async () => {
        for (const each of kept) each.app.replace(app);
        for (const each of gone) void each.app.close(GRACE_MS);
        this.#served = [...kept, ...opened];
        this.#config = next;
        if (moves) await this.#moveTo(registry);
        return [];
      },
      abandon: async () => {
        await closeAll(opened);
        if (moves) await registry.close();
      },
    };
  }

  /**
   * Answers what has been asked, and gives the directory back: another process takes it and the listeners. What is asked
   * on connections that are open here is passed on to it, until `close`.
   */
  async handOver(graceMs: number): Promise<void> {
    this.#registry.endWaits();
    await Promise.all(this.#served.map(({ app }) => app.handOn(graceMs)));
    this.#unsubscribe();
    await this.#registry.close();
  }

  /** Accepts no more, lets what is under way end, and gives the directory back. */
  async close(graceMs = 0): Promise<void> {
    this.#unsubscribe();
    const closing = closeAll(this.#served, graceMs);
    await this.#registry.close();
    await closing;
  }

  async #moveTo(registry: EmbeddedRegistry): Promise<void> {
    const before = this.#registry;
    this.#unsubscribe();
    this.#registry = registry;
    this.#unsubscribe = this.#attend(registry);
    await before.close();
  }

  #attend(registry: EmbeddedRegistry): () => void {
    const { clock, log, onChange } = this.#deps;
    // Ends with the registry.
    void deregisterCritical({
      registry,
      clock,
      statusOf: this.#wordOn(registry),
      log: sayingOf(this.#config.name, log),
    });
    return registry.subscribe((change) => {
      onChange(this.#config, change);
    });
  }

  /** Of the configuration that is in use when it is asked: what services are called here may change. */
  #wordOn(registry: EmbeddedRegistry): StatusOf {
    return (service, id) => {
      const entry = registry.find({ service, id });
      return entry && this.#deps.statusOf(this.#config, entry.instance);
    };
  }

  #app({ name, token }: EmbeddedRegistryConfig, registry: EmbeddedRegistry): Hono {
    const { addresses, clock, random, log, onReport } = this.#deps;
    return createRegistryApp({
      registry,
      addresses,
      clock,
      random,
      log: sayingOf(name, log),
      token,
      statusOf: this.#wordOn(registry),
      onHeartbeat: (service, id, report) => {
        const entry = registry.find({ service, id });
        if (entry) onReport(this.#config, entry.instance, report);
      },
    });
  }

  async #serve(addresses: readonly HostPort[], app: Hono, inherited?: InheritedSockets): Promise<Served[]> {
    const opened: Served[] = [];
    const setting = settingOf(this.#config);
    try {
      for (const configured of addresses) {
        const fd = inherited?.take(setting, configured);
        const { clock } = this.#deps;
        opened.push({ configured, app: await serveApp(app, { ...configured, fd, setting, clock }) });
      }
    } catch (error) {
      await closeAll(opened);
      throw error;
    }
    return opened;
  }
}

/** What a registration may wait for others in a storm of them. */
const COMMIT_EVERY_MS = 5;

function settingOf({ name }: EmbeddedRegistryConfig): string {
  return `registries.${name}.listen`;
}

async function openRegistry(
  { name, dataDir }: EmbeddedRegistryConfig,
  { owner, clock, log, limits }: EmbeddedServiceDeps,
): Promise<EmbeddedRegistry> {
  return EmbeddedRegistry.open({
    dataDir,
    owner,
    clock,
    log: sayingOf(name, log),
    commitEveryMs: COMMIT_EVERY_MS,
    ...(limits && { limits: { instances: limits.instances, services: limits.services } }),
  });
}

function sayingOf(registry: string, log: Logger): Say {
  return (level, event, fields) => {
    log[level](event, { registry, ...fields });
  };
}

async function closeAll(served: readonly Served[], graceMs = 0): Promise<void> {
  await Promise.all(served.map(({ app }) => app.close(graceMs)));
}
