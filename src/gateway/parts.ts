import type { NotReady, ReloadOutcome, UpgradeOutcome } from '../admin/deps.ts';
import type { Config } from '../config/config.ts';
import type { LoadResult } from '../config/load.ts';
import { AddressPolicy } from '../core/address.ts';
import type { Clock } from '../core/clock.ts';
import type { Random } from '../core/random.ts';
import { SocketBudget } from '../core/socket-budget.ts';
import type { EventLog } from '../telemetry/log.ts';
import { watchLoopLag } from '../telemetry/loop-lag.ts';
import { Metrics } from '../telemetry/metrics.ts';
import { Timeline } from '../telemetry/timeline.ts';
import { Figures } from '../upstream/figures.ts';
import { Fleet } from '../upstream/fleet.ts';
import { type DataThreads, ThreadBarrier } from '../worker/threads.ts';
import { adminApi } from './admin-api.ts';
import { AdminListener } from './admin-listener.ts';
import { BoundsWatch } from './bounds.ts';
import { ConfigWatch } from './config-watch.ts';
import { descriptorLimit } from './descriptors.ts';
import { Listeners } from './listeners.ts';
import { Logs } from './logs.ts';
import { metricSources } from './metric-sources.ts';
import { observeFleet, observeOutliers } from './observing.ts';
import type { GatewayOptions } from './options.ts';
import { Outliers } from './outliers.ts';
import { Probing } from './probing.ts';
import { Registries } from './registries.ts';
import { Reloader } from './reload.ts';
import { FleetRouter } from './router.ts';
import { hostTable, servicePolicies } from './service-policies.ts';
import { addressRules, dataPlaneSettings } from './settings.ts';
import { startThreads } from './start-threads.ts';
import { Suspects } from './suspects.ts';
import { drainedOf, handOver } from './take-over.ts';
import { Upgrade } from './upgrade.ts';
import type { WorkerPlan } from './worker-plan.ts';

/** What nearly every part of the gateway works with. */
interface Shared {
  readonly clock: Clock;
  readonly random: Random;
  readonly fleet: Fleet;
  readonly metrics: Metrics;
  readonly sockets: SocketBudget;
  readonly log: EventLog;
  readonly timeline: Timeline;
}

/** What parts ask of the gateway as a whole. */
interface GatewayHooks {
  readonly notReady: () => NotReady[];
  readonly reload: () => Promise<ReloadOutcome>;
  readonly upgrade: () => Promise<UpgradeOutcome>;
  /** An upgrade begins, or has failed: see `Upgrade`. */
  readonly holdReloads: () => Promise<void>;
  readonly allowReloads: (asked: boolean) => Promise<void>;
}

/** Everything that a gateway is made of, joined; nothing is listened on and nobody asked yet. */
export class GatewayParts {
  readonly logs: Logs;
  readonly log: EventLog;
  readonly fleet: Fleet;
  readonly bounds: BoundsWatch;
  readonly probing: Probing;
  readonly registries: Registries;
  readonly threads: DataThreads;
  readonly listeners: Listeners;
  readonly admin: AdminListener;
  readonly reloader: Reloader;
  readonly watch: ConfigWatch;
  readonly upgrade: Upgrade;
  readonly #options: GatewayOptions;
  readonly #hooks: GatewayHooks;
  readonly #metrics: Metrics;
  readonly #timeline: Timeline;
  readonly #router: FleetRouter;
  readonly #outliers: Outliers;
  readonly #suspects: Suspects;
  readonly #addresses: AddressPolicy;
  readonly #stopLoopWatch: () => void;

  /** Opens log files, and nothing else that could fail. */
  constructor(options: GatewayOptions, workers: WorkerPlan, hooks: GatewayHooks) {
    const { config, clock, random } = options;
    this.#options = options;
    this.#hooks = hooks;
    this.logs = new Logs(clock, config);
    this.log = this.logs.event;
    this.#metrics = metricsOf(options);
    this.#timeline = new Timeline({ clock });
    const figures = new Figures(config.gateway.limits.instances);
    const barrier = new ThreadBarrier();
    this.fleet = new Fleet({
      clock,
      random,
      figures,
      barrier,
      defaultPolicy: config.defaultPolicy,
      maxServices: config.gateway.limits.services,
    });
    const budget = { openFiles: descriptorLimit(), cells: SocketBudget.cells(workers.count + 1) };
    const sockets = new SocketBudget({ ...budget, row: 0 });
    const limits = (): Config['gateway']['limits'] => this.reloader.config.gateway.limits;
    const refusedRequests = (): number => this.threads.sum('refusedRequests');
    this.bounds = new BoundsWatch({ clock, log: this.log, sockets, limits, refusedRequests });
    const shared: Shared = {
      clock,
      random,
      fleet: this.fleet,
      metrics: this.#metrics,
      sockets,
      log: this.log,
      timeline: this.#timeline,
    };
    this.#router = new FleetRouter({ ...shared, hosts: hostTable(config) });
    observeFleet({
      ...shared,
      router: this.#router,
      reasonOf: (service, id) => this.registries.takeReason(service, id),
    });
    const addresses = (this.#addresses = new AddressPolicy(addressRules(config)));
    this.probing = new Probing({
      ...shared,
      router: this.#router,
      addresses,
      script: options.script,
      reportsItself: (instance) => this.registries.hearsFrom(instance),
    });
    this.#outliers = new Outliers({ ...shared, onOutlier: observeOutliers({ ...shared, router: this.#router }) });
    this.registries = this.#makeRegistries(shared);
    this.#suspects = new Suspects(this.fleet, clock);
    this.threads = startThreads({
      ...shared,
      config,
      workers,
      sockets: budget,
      barrier,
      suspects: this.#suspects,
      logs: this.logs,
    });
    this.listeners = new Listeners(this.threads);
    this.admin = this.#makeAdmin(shared);
    this.#stopLoopWatch = watchLoopLag(clock, (lagMs) => {
      this.#metrics.loopLag(lagMs);
    });
    const measured = { registries: this.registries, threads: this.threads, bounds: this.bounds, logs: this.logs };
    this.#metrics.connect(metricSources({ ...shared, ...measured }));
    for (const [name, policy] of config.services) this.fleet.configure(name, policy);
    const { path, seen } = options;
    this.watch = new ConfigWatch({ clock, log: this.log, path, seen, reload: hooks.reload });
    this.reloader = this.#makeReloader(shared);
    this.upgrade = this.#makeUpgrade();
  }

  #makeRegistries(shared: Shared): Registries {
    const { config, owner, cluster } = this.#options;
    return new Registries({
      ...shared,
      onReport: (service, id, { status, output }) => {
        this.probing.report(service, id, RESULTS[status], output);
      },
      addresses: this.#addresses,
      stateDir: config.gateway.stateDir,
      limits: config.gateway.limits,
      owner,
      cluster,
    });
  }

  #makeAdmin(shared: Shared): AdminListener {
    const { clock, version, nodeVersion } = this.#options;
    const api = adminApi({
      ...shared,
      build: { version, node: nodeVersion },
      router: this.#router,
      probing: this.probing,
      registries: this.registries,
      ...this.#hooks,
    });
    return new AdminListener(clock, api);
  }

  #makeReloader({ log, metrics, timeline }: Shared): Reloader {
    const { clock, config, load, file } = this.#options;
    const policies = servicePolicies({ fleet: this.fleet, router: this.#router, probing: this.probing });
    const settings = dataPlaneSettings(this.#addresses, this.threads);
    // What may be registered, and who is who, before registries bring instances by a changed configuration.
    const parts = [this.logs, this.listeners, this.admin, settings, policies, this.registries, this.watch];
    const noted = async (): Promise<LoadResult> => {
      await this.watch.note();
      return load();
    };
    return new Reloader({ clock, log, metrics, timeline, config, load: noted, file, parts });
  }

  #makeUpgrade(): Upgrade {
    const { clock, spawnSuccessor } = this.#options;
    return new Upgrade({
      clock,
      log: this.log,
      spawn: spawnSuccessor,
      sockets: () => [...this.listeners.sockets, ...this.admin.sockets, ...this.registries.sockets],
      drained: () => drainedOf(this.fleet),
      handOver: () => handOver(this.registries, this.probing),
      onServing: () => {
        this.admin.handOn();
      },
      holdReloads: this.#hooks.holdReloads,
      allowReloads: this.#hooks.allowReloads,
    });
  }

  /** Ends everything at once, what could begin anew first. */
  async close(): Promise<void> {
    this.#stopLoopWatch();
    this.bounds.close();
    this.watch.set(false);
    await this.threads.close();
    this.#suspects.close();
    await this.admin.close();
    await this.registries.close();
    this.#outliers.close();
    this.probing.close();
    this.fleet.close();
    await this.logs.close();
  }
}

function metricsOf({ clock, version, nodeVersion, config }: GatewayOptions): Metrics {
  return new Metrics({
    clock,
    version,
    nodeVersion,
    instanceSeries: { enabled: config.metrics.perInstance, limit: INSTANCE_SERIES },
    serviceRows: config.gateway.limits.services + 2,
    processMetrics: true,
  });
}

/** What an instance says of itself, in the words of probes. */
const RESULTS = { passing: 'pass', degraded: 'degraded', failing: 'fail' } as const;

const INSTANCE_SERIES = 20_000;
