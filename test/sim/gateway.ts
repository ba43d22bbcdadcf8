import { AddressPolicy } from '../../src/core/address.ts';
import type { ServicePolicy } from '../../src/core/policy.ts';
import type { Random } from '../../src/core/random.ts';
import { SocketBudget } from '../../src/core/socket-budget.ts';
import { Outliers } from '../../src/gateway/outliers.ts';
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
import { load } from '../config/load-text.ts';
import { DataThreads, ThreadBarrier } from '../../src/worker/threads.ts';
import { MemoryBackend, type MemoryRegistry } from '../contract/memory-backend.ts';
import type { Network } from './process.ts';
import { SimThreads } from './threads.ts';
import type { OwnedClock, VirtualTime } from './virtual-clock.ts';

export const SERVICE = 'web';
/** Slots: more than any run needs at once, leaving ones included. */
export const CAPACITY = 64;
const CONFIG = load('');
const SERVICE_ROWS = 8;
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
  readonly time: VirtualTime;
  /** Of the control thread. */
  readonly clock: OwnedClock;
  readonly random: Random;
  readonly policy: ServicePolicy;
  readonly network: Network;
  readonly registry: MemoryRegistry;
  /** Data-plane threads, and how long a message from one thread to another takes. */
  readonly dataPlanes: number;
  readonly messageMs: number;
}

/**
 * The whole gateway without sockets, files and an admin API: everything between a registry's backend, a probe's answer
 * and the bytes of a connection is the real thing, put together as `src/gateway/gateway.ts` does it. Its threads are this one.
 */
export class SimGateway {
  readonly fleet: Fleet;
  readonly figures = new Figures(CAPACITY);
  readonly threads: SimThreads;
  /** What all threads say to have open. */
  readonly sockets: SocketBudget;
  /** Data-plane threads that have ended before their time. */
  deaths = 0;
  readonly source: RegistrySource;
  readonly #options: SimGatewayOptions;
  readonly #metrics: Metrics;
  readonly #probing: Probing;
  readonly #row: number;
  readonly #suspects: Suspects;
  readonly #outliers: Outliers;
  readonly #cells: Int32Array;
  readonly #dataThreads: DataThreads;

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
    this.fleet = new Fleet({ clock, random, figures: this.figures, barrier, defaultPolicy: policy });
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
    this.#outliers = new Outliers({ ...parts, onOutlier: () => undefined });
    this.#cells = SocketBudget.cells(options.dataPlanes + 1);
    this.sockets = new SocketBudget({ openFiles: undefined, cells: this.#cells, row: 0 });
    this.threads = new SimThreads(options);
    this.#suspects = new Suspects(this.fleet, clock);
    this.#dataThreads = this.#startThreads(barrier);
  }

  /** Requests under way on the threads that live. */
  get requests(): number {
    let requests = 0;
    for (const { thread } of this.threads.alive.values()) requests += thread.dataPlane.proxy.requests;
    return requests;
  }

  get inflight(): number {
    return this.figures.inflight.reduce((sum, count) => sum + count, 0);
  }

  /** Connections to instances that are kept idle. */
  get idleUpstream(): number {
    let idle = 0;
    for (const { thread } of this.threads.alive.values()) idle += thread.dataPlane.pool.idleCount;
    return idle;
  }

  /** Timers of all its threads. */
  get timers(): number {
    return this.#options.clock.pending + this.threads.pending;
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

  /** In the order of the real one. What is left afterwards is a leak. */
  async close(): Promise<void> {
    await this.#dataThreads.close();
    await this.source.stop();
    this.#suspects.close();
    this.#outliers.close();
    this.#probing.close();
    this.fleet.close();
  }

  #cell(cell: number): number {
    let sum = 0;
    for (const { cells } of this.#dataThreads.meters) sum += cells[this.#row * ROW_CELLS + cell]!;
    return sum;
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
    const threads = new DataThreads({
      clock,
      fleet: this.fleet,
      barrier,
      log: QUIET,
      count: dataPlanes,
      reusePort: true,
      sockets: { openFiles: undefined, cells: this.#cells },
      settings: { gateway: CONFIG.gateway, hosts: [], ownListeners: [], accessLog: false },
      serviceRows: SERVICE_ROWS,
      rowOf: (service) => this.#metrics.serviceRow(service),
      spawn: this.threads.spawn,
      onSuspect: (slot, cause, unreachable) => {
        this.#suspects.eject(slot, cause, unreachable);
      },
      onRefused: (reason) => {
        throw new Error(`a request was refused: ${reason}`);
      },
      onLines: () => undefined,
      onDied: () => {
        this.deaths++;
      },
    });
    for (const meters of threads.meters) this.#metrics.addThread(meters);
    return threads;
  }
}
