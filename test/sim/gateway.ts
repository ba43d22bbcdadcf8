import { AddressPolicy } from '../../src/core/address.ts';
import type { Clock } from '../../src/core/clock.ts';
import type { ServicePolicy } from '../../src/core/policy.ts';
import type { Random } from '../../src/core/random.ts';
import { SocketBudget } from '../../src/core/socket-budget.ts';
import { Probing } from '../../src/gateway/probing.ts';
import { FleetRouter } from '../../src/gateway/router.ts';
import { Suspects } from '../../src/gateway/suspects.ts';
import type { CreateProbe } from '../../src/health/probe.ts';
import { RegistryMerge } from '../../src/registry/merge.ts';
import { RegistrySource } from '../../src/registry/source.ts';
import { HostTable } from '../../src/routing/hosts.ts';
import type { Logger } from '../../src/telemetry/log.ts';
import { Metrics } from '../../src/telemetry/metrics.ts';
import { ROW, ROW_CELLS } from '../../src/telemetry/traffic.ts';
import { RETRY_REASONS } from '../../src/telemetry/closed-sets.ts';
import { Figures } from '../../src/upstream/figures.ts';
import { Fleet } from '../../src/upstream/fleet.ts';
import type { DataPlane } from '../../src/worker/data-plane.ts';
import { DataThread } from '../../src/worker/data-thread.ts';
import { DataThreads, ThreadBarrier } from '../../src/worker/threads.ts';
import type { SpawnThread } from '../../src/worker/worker-thread.ts';
import { load } from '../config/load-text.ts';
import { MemoryBackend, type MemoryRegistry } from '../contract/memory-backend.ts';
import type { Network } from './process.ts';

export const SERVICE = 'web';
/** Slots: more than any run needs at once, leaving ones included. */
export const CAPACITY = 64;
const SERVICE_ROWS = 8;
const CONFIG = load('').gateway;
const ADDRESSES = new AddressPolicy({});

/** How the registry is followed: as in production, only faster. */
export const REGISTRY_TIMES = {
  backoffMaxMs: 1000,
  silenceMs: 3000,
  syncMs: 1500,
  relistMs: 10_000,
  listMs: 1500,
  holdMs: 4000,
} as const;

const QUIET: Logger = {
  trace: () => undefined,
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => QUIET,
};

export interface SimGatewayOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly policy: ServicePolicy;
  readonly network: Network;
  readonly registry: MemoryRegistry;
  /** Data planes that share the fleet and its figures. */
  readonly dataPlanes: number;
}

/**
 * The whole gateway without sockets, files and an admin API: everything between a registry's backend, a probe's answer
 * and the bytes of a connection is the real thing, put together as `src/gateway` does it.
 */
export class SimGateway {
  readonly fleet: Fleet;
  readonly figures = new Figures(CAPACITY);
  readonly dataPlanes: DataPlane[] = [];
  readonly #threads: DataThreads;
  readonly source: RegistrySource;
  readonly #options: SimGatewayOptions;
  readonly #metrics: Metrics;
  readonly #probing: Probing;
  readonly #suspects: Suspects;
  readonly #row: number;

  constructor(options: SimGatewayOptions) {
    const { clock, random, policy } = options;
    this.#options = options;
    this.#metrics = new Metrics({
      clock,
      version: '0',
      nodeVersion: '0',
      instanceSeries: { enabled: false, limit: 1 },
      serviceRows: SERVICE_ROWS,
    });
    const barrier = new ThreadBarrier();
    this.fleet = new Fleet({ clock, random, barrier, figures: this.figures, defaultPolicy: policy });
    this.#suspects = new Suspects(this.fleet, clock);
    const parts = { clock, random, fleet: this.fleet, metrics: this.#metrics, log: QUIET };
    const router = new FleetRouter({ ...parts, hosts: new HostTable([], 'localhost') });
    this.#probing = new Probing({
      ...parts,
      router,
      addresses: ADDRESSES,
      script: { path: '', kill: () => undefined },
      createProbe: this.#createProbe,
    });
    this.fleet.configure(SERVICE, policy);
    this.#row = this.#metrics.serviceRow(SERVICE);
    this.source = this.#follow();
    this.#threads = this.#startThreads(barrier);
  }

  get requests(): number {
    return this.dataPlanes.reduce((sum, { proxy }) => sum + proxy.requests, 0);
  }

  get inflight(): number {
    return this.figures.inflight.reduce((sum, count) => sum + count, 0);
  }

  /** Connections to instances that are kept idle. */
  get idleUpstream(): number {
    return this.dataPlanes.reduce((sum, { pool }) => sum + pool.idleCount, 0);
  }

  get budgetExhausted(): number {
    return this.#cell(ROW.budgetExhausted);
  }

  /** Attempts that were moved because their instance was ejected: those are outside the budget. */
  get moved(): number {
    return this.#cell(ROW.retries + RETRY_REASONS.indexOf('ejected'));
  }

  start(): void {
    this.source.start();
  }

  async drain(): Promise<void> {
    await Promise.all(this.dataPlanes.map(({ proxy }) => proxy.drain()));
  }

  /** In the order of the real one. What is left afterwards is a leak. */
  async close(): Promise<void> {
    await this.#threads.close();
    await this.source.stop();
    this.#suspects.close();
    this.#probing.close();
    this.fleet.close();
  }

  #cell(cell: number): number {
    return this.#threads.meters.reduce((sum, { cells }) => sum + cells[this.#row * ROW_CELLS + cell]!, 0);
  }

  #follow(): RegistrySource {
    const { clock, random, registry } = this.#options;
    const { fleet } = this;
    const merge = new RegistryMerge(
      {
        upsert: (instance) => void fleet.upsert(instance),
        remove: (service, id) => void fleet.remove(service, id),
        known: (service, known) => {
          if (known) fleet.know(service);
        },
        flush: () => {
          fleet.flush();
        },
      },
      clock,
    );
    const { backoffMaxMs, silenceMs, syncMs, relistMs, listMs, holdMs } = REGISTRY_TIMES;
    return new RegistrySource({
      name: 'memory',
      backend: (onSkip) => new MemoryBackend(registry, { clock, silenceMs, listDelayMs: 100, onSkip }),
      merge,
      clock,
      random,
      guard: { confirmAfterMs: 300, deadlineMs: holdMs },
      follow: { backoffMinMs: 100, backoffMaxMs, syncMs, relistMs, listMs, driftMs: 500 },
      passes: (service, id) => {
        const probe = fleet.find(service, id)?.health.probe;
        return probe === 'passing' || probe === 'degraded';
      },
    });
  }

  readonly #createProbe: CreateProbe = ({ host, port }, { type }, report) => {
    const { clock, network } = this.#options;
    let cancel: (() => void) | undefined;
    const end = (): void => {
      cancel?.();
      cancel = undefined;
    };
    return {
      start: () => {
        const coming = network.at(host, port).probe(type);
        if (coming) cancel = clock.after(coming.afterMs, () => report(coming.answer));
      },
      abort: () => {
        end();
        return 'no answer';
      },
      close: end,
    };
  };

  #startThreads(barrier: ThreadBarrier): DataThreads {
    const { clock, dataPlanes } = this.#options;
    return new DataThreads({
      clock,
      fleet: this.fleet,
      barrier,
      log: QUIET,
      count: dataPlanes,
      reusePort: true,
      sockets: { openFiles: undefined, cells: SocketBudget.cells(dataPlanes + 1) },
      settings: { gateway: CONFIG, hosts: [], ownListeners: [], accessLog: false },
      serviceRows: SERVICE_ROWS,
      rowOf: (service) => this.#metrics.serviceRow(service),
      spawn: this.#spawn,
      onSuspect: (slot, cause, unreachable) => {
        this.#suspects.eject(slot, cause, unreachable);
      },
      onRefused: (reason) => {
        throw new Error(`a request was refused: ${reason}`);
      },
      onLines: () => undefined,
      onDied: () => undefined,
    });
  }

  /** A thread that is none: its messages are copied and come in order, after what is under way. */
  readonly #spawn: SpawnThread = (setup, { onMessage, onExit }) => {
    const { clock, random, network } = this.#options;
    const thread = new DataThread({
      setup,
      clock,
      random,
      connect: ({ host, port }, sink, done) => network.at(host, port).connect(sink, done),
      send: (message) => {
        const copy = structuredClone(message);
        queueMicrotask(() => {
          onMessage(copy);
        });
      },
    });
    this.dataPlanes.push(thread.dataPlane);
    return {
      post: (message) => {
        if (message.type === 'fail') return;
        const copy = structuredClone(message);
        queueMicrotask(() => {
          thread.receive(copy);
        });
      },
      terminate: async () => {
        await thread.close();
        onExit('ended');
      },
    };
  };
}
