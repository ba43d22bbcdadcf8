import type { ReloadOutcome, UpgradeOutcome } from '../admin/deps.ts';
import type { Config, HostPort } from '../config/config.ts';
import type { LoadResult } from '../config/load.ts';
import { AddressPolicy } from '../core/address.ts';
import { type Clock, sleep } from '../core/clock.ts';
import type { Random } from '../core/random.ts';
import { SocketBudget } from '../core/socket-budget.ts';
import type { LockOwner } from '../registry/embedded/data-lock.ts';
import type { EventLog } from '../telemetry/log.ts';
import { watchLoopLag } from '../telemetry/loop-lag.ts';
import { Metrics } from '../telemetry/metrics.ts';
import { Timeline } from '../telemetry/timeline.ts';
import { Figures } from '../upstream/figures.ts';
import { Fleet } from '../upstream/fleet.ts';
import { type DataThreads, ThreadBarrier } from '../worker/threads.ts';
import { adminApi, reasonsNotReady } from './admin-api.ts';
import { ADMIN_SETTING, AdminListener } from './admin-listener.ts';
import type { ClusterAddress } from './backends.ts';
import { BoundsWatch } from './bounds.ts';
import type { SpawnSuccessor } from './channel.ts';
import { ConfigWatch, type FileLook } from './config-watch.ts';
import { descriptorLimit } from './descriptors.ts';
import type { Predecessor } from './handover.ts';
import { Listeners } from './listeners.ts';
import { Logs } from './logs.ts';
import { metricSources } from './metric-sources.ts';
import { observeFleet, observeOutliers } from './observing.ts';
import { Outliers } from './outliers.ts';
import { Probing } from './probing.ts';
import { Registries } from './registries.ts';
import { Reloader } from './reload.ts';
import { FleetRouter } from './router.ts';
import { hostTable, servicePolicies } from './service-policies.ts';
import { Suspects } from './suspects.ts';
import { addressRules, dataPlaneSettings } from './settings.ts';
import { startThreads } from './start-threads.ts';
import { InheritedSockets, type NamedSocket } from './sockets.ts';
import { drainedOf, handOver, serveInPlaceOf, takeOver } from './take-over.ts';
import { Upgrade } from './upgrade.ts';
import { planWorkers, type WorkerPlan } from './worker-plan.ts';

export interface GatewayOptions {
  readonly config: Config;
  /** Reads the configuration file again. */
  readonly load: () => Promise<LoadResult>;
  /** That file: as messages call it, and where it is. */
  readonly file: string;
  readonly path: string;
  /** As it was before `config` was read from it. */
  readonly seen: FileLook | undefined;
  /** As many data-plane threads there are where `workers` is `auto`. */
  readonly cores: number;
  /** That listened before this process began. */
  readonly sockets: readonly NamedSocket[];
  /** Whose place this process takes. */
  readonly predecessor: Predecessor | undefined;
  readonly spawnSuccessor: SpawnSuccessor;
  /** Everything is in place, but for clients: they are let in when it resolves. */
  readonly onReady: () => Promise<void>;
  readonly clock: Clock;
  readonly random: Random;
  readonly version: string;
  readonly nodeVersion: string;
  readonly owner: LockOwner;
  /** Where a registry of type kubernetes finds the API server of its own cluster. */
  readonly cluster: ClusterAddress;
  /** What script probes run with. */
  readonly script: { readonly path: string; readonly kill: (pid: number, signal: 'SIGKILL') => void };
}

/** Everything joined: the composition root. One object per process. */
export class Gateway {
  readonly #options: GatewayOptions;
  readonly #logs: Logs;
  readonly #log: EventLog;
  readonly #metrics: Metrics;
  readonly #timeline: Timeline;
  readonly #fleet: Fleet;
  readonly #router: FleetRouter;
  readonly #bounds: BoundsWatch;
  readonly #probing: Probing;
  readonly #outliers: Outliers;
  readonly #registries: Registries;
  readonly #suspects: Suspects;
  readonly #threads: DataThreads;
  readonly #listeners: Listeners;
  readonly #admin: AdminListener;
  readonly #addresses: AddressPolicy;
  readonly #stopLoopWatch: () => void;
  readonly #reloader: Reloader;
  readonly #watch: ConfigWatch;
  readonly #upgrade: Upgrade;
  #registriesAnswered = false;
  #stopping = false;

  /** Use `start`. Opens log files, and nothing else that could fail. */
  private constructor(options: GatewayOptions, workers: WorkerPlan) {
    const { config, clock, random } = options;
    this.#options = options;
    this.#logs = new Logs(clock, config);
    this.#log = this.#logs.event;
    this.#metrics = new Metrics({
      clock,
      version: options.version,
      nodeVersion: options.nodeVersion,
      instanceSeries: { enabled: config.metrics.perInstance, limit: INSTANCE_SERIES },
      serviceRows: config.gateway.limits.services + 2,
      processMetrics: true,
    });
    this.#timeline = new Timeline({ clock });
    const figures = new Figures(config.gateway.limits.instances);
    const barrier = new ThreadBarrier();
    this.#fleet = new Fleet({
      clock,
      random,
      figures,
      barrier,
      defaultPolicy: config.defaultPolicy,
      maxServices: config.gateway.limits.services,
    });
    const budget = { openFiles: descriptorLimit(), cells: SocketBudget.cells(workers.count + 1) };
    const sockets = new SocketBudget({ ...budget, row: 0 });
    const limits = (): Config['gateway']['limits'] => this.#reloader.config.gateway.limits;
    const refusedRequests = (): number => this.#threads.sum('refusedRequests');
    this.#bounds = new BoundsWatch({ clock, log: this.#log, sockets, limits, refusedRequests });
    const parts = {
      clock,
      random,
      fleet: this.#fleet,
      metrics: this.#metrics,
      sockets,
      log: this.#log,
      timeline: this.#timeline,
    };
    this.#router = new FleetRouter({ ...parts, hosts: hostTable(config) });
    observeFleet({
      ...parts,
      router: this.#router,
      reasonOf: (service, id) => this.#registries.takeReason(service, id),
    });
    const addresses = (this.#addresses = new AddressPolicy(addressRules(config)));
    this.#probing = new Probing({
      ...parts,
      router: this.#router,
      addresses,
      script: options.script,
      reportsItself: (service, id) => this.#registries.hearsFrom(service, id),
    });
    this.#outliers = new Outliers({ ...parts, onOutlier: observeOutliers({ ...parts, router: this.#router }) });
    this.#registries = new Registries({
      ...parts,
      onReport: (service, id, { status, output }) => {
        this.#probing.report(service, id, RESULTS[status], output);
      },
      addresses,
      stateDir: config.gateway.stateDir,
      limits: config.gateway.limits,
      owner: options.owner,
      cluster: options.cluster,
    });
    this.#suspects = new Suspects(this.#fleet, clock);
    this.#threads = startThreads({
      ...parts,
      config,
      workers,
      sockets: budget,
      barrier,
      suspects: this.#suspects,
      logs: this.#logs,
    });
    this.#listeners = new Listeners(this.#threads);
    const api = adminApi({
      ...parts,
      build: { version: options.version, node: options.nodeVersion },
      router: this.#router,
      probing: this.#probing,
      registries: this.#registries,
      notReady: () => this.#notReady(),
      reload: () => this.reload(),
      upgrade: () => this.upgrade(),
    });
    this.#admin = new AdminListener(clock, api);
    this.#stopLoopWatch = watchLoopLag(clock, (lagMs) => {
      this.#metrics.loopLag(lagMs);
    });
    const measured = { registries: this.#registries, threads: this.#threads, bounds: this.#bounds, logs: this.#logs };
    this.#metrics.connect(metricSources({ ...parts, ...measured }));
    for (const [name, policy] of config.services) this.#fleet.configure(name, policy);
    const { path, seen } = options;
    this.#watch = new ConfigWatch({ clock, log: this.#log, path, seen, reload: () => this.reload() });
    this.#reloader = this.#makeReloader(parts);
    this.#upgrade = new Upgrade({
      clock,
      log: this.#log,
      spawn: options.spawnSuccessor,
      sockets: () => [...this.#listeners.sockets, ...this.#admin.sockets, ...this.#registries.sockets],
      drained: () => drainedOf(this.#fleet),
      handOver: () => handOver(this.#registries, this.#probing),
      onServing: () => {
        this.#admin.handOn();
      },
      holdReloads: () => this.#holdReloads(),
      allowReloads: (asked) => this.#allowReloads(asked),
    });
  }

  #makeReloader(observers: { log: EventLog; metrics: Metrics; timeline: Timeline }): Reloader {
    const { clock, config, load, file } = this.#options;
    const policies = servicePolicies({ fleet: this.#fleet, router: this.#router, probing: this.#probing });
    const settings = dataPlaneSettings(this.#addresses, this.#threads);
    // What may be registered, and who is who, before registries bring instances by a changed configuration.
    const parts = [this.#logs, this.#listeners, this.#admin, settings, policies, this.#registries, this.#watch];
    const noted = async (): Promise<LoadResult> => {
      await this.#watch.note();
      return load();
    };
    return new Reloader({ ...observers, clock, config, load: noted, file, parts });
  }

  /** Resolves once it listens. Rejects, with everything released, where a listener or a data directory cannot be had. */
  static async start(options: GatewayOptions): Promise<Gateway> {
    const gateway = new Gateway(options, await planWorkers(options.config, options.cores));
    try {
      await gateway.#open();
    } catch (error) {
      await gateway.#close();
      throw error;
    }
    return gateway;
  }

  /** Where it listens; ports that were configured as 0 are known here. */
  get listening(): { readonly gateway: readonly HostPort[]; readonly admin: HostPort | undefined } {
    return { gateway: this.#listeners.addresses, admin: this.#admin.address };
  }

  async #open(): Promise<void> {
    const { config } = this.#options;
    this.#bounds.start();
    const inherited = new InheritedSockets(this.#options.sockets);
    const { clock, predecessor } = this.#options;
    if (predecessor) {
      const parts = { clock, config, log: this.#log, fleet: this.#fleet };
      await takeOver(predecessor, inherited, { ...parts, registries: this.#registries, probing: this.#probing });
      this.#allAnswered();
    } else {
      await this.#registries.start(config.registries, inherited);
      void this.#registries.ready().then(() => this.#allAnswered());
    }
    const { listen } = config.admin;
    const adminLast = inherited.has(ADMIN_SETTING, listen);
    // A second gateway started by mistake fails at the admin address, before it takes clients of the first one.
    if (!adminLast) await this.#admin.open(config.admin, inherited);
    await this.#listeners.open(config.gateway.listen, inherited, this.#options.onReady);
    if (adminLast) await this.#admin.open(config.admin, inherited);
    for (const { setting, host, port } of inherited.closeRest())
      this.#log.warn('an inherited socket is not in the configuration: closed', { setting, host, port });
    if (predecessor) void serveInPlaceOf(predecessor, this.#fleet);
    this.#watch.set(config.gateway.watchConfig);
    const { gateway, admin } = this.listening;
    this.#log.info('ready to serve', {
      version: this.#options.version,
      gateway: gateway.map(({ host, port }) => `${host}:${port}`),
      admin: admin && `${admin.host}:${admin.port}`,
    });
  }

  #allAnswered(): void {
    this.#registriesAnswered = true;
    this.#log.info('every registry has answered');
  }

  /** Starts this program anew, and leaves it everything but what is under way here. */
  async upgrade(): Promise<UpgradeOutcome> {
    return this.#stopping ? { ok: false, reason: STOPPING } : this.#upgrade.run();
  }

  #holdReloads(): Promise<void> {
    this.#watch.set(false);
    return this.#reloader.refuse('an upgrade is under way');
  }

  async #allowReloads(asked: boolean): Promise<void> {
    if (this.#stopping) return this.#reloader.refuse(STOPPING);
    await this.#reloader.refuse(undefined);
    this.#watch.set(this.#reloader.config.gateway.watchConfig);
    if (asked) void this.reload();
  }

  /** HUP: for whoever serves in our place where there is somebody. */
  hangUp(): void {
    if (!this.#upgrade.hangUp()) void this.reload();
  }

  /** Resolves when a successor serves: time to `retire`. */
  get replaced(): Promise<void> {
    return this.#upgrade.replaced;
  }

  /** Takes over what has changed in the file. A bad file changes nothing. Reloads come one after the other. */
  reload(): Promise<ReloadOutcome> {
    return this.#reloader.reload();
  }

  reopenLogs(): void {
    this.#logs.reopen();
  }

  /**
   * A successor serves: what is open here ends with its next answer, or within `shutdown.drain`. Nothing is closed that a
   * client may be using just now.
   */
  async retire(hurry: AbortSignal): Promise<void> {
    this.#stopping = true;
    this.#watch.set(false);
    const { drainMs } = this.#reloader.config.shutdown;
    this.#log.info('replaced: draining', { drainMs });
    await this.#registries.stop();
    await this.#threads.finish('ease');
    await this.#untilIdle(drainMs, hurry);
    await this.#threads.finish('drain');
    await this.#untilIdle(Math.min(drainMs, LAST_WORDS_MS), hurry);
    await this.#admin.close(ADMIN_GRACE_MS);
    await this.#end();
  }

  /**
   * Graceful: readiness fails, new work is taken for `shutdown.acceptFor`, what is under way may end within
   * `shutdown.drain`. An abort of the signal ends the waiting at once.
   */
  async stop(hurry: AbortSignal): Promise<void> {
    this.#stopping = true;
    this.#watch.set(false);
    await Promise.race([this.#reloader.refuse(STOPPING), sleep(this.#options.clock, RELOAD_END_MS)]);
    await this.#upgrade.abort();
    const { acceptForMs, drainMs } = this.#reloader.config.shutdown;
    this.#log.info('stopping', { acceptForMs, drainMs });
    await sleep(this.#options.clock, acceptForMs, hurry);
    await this.#threads.finish('drain');
    await this.#untilIdle(drainMs, hurry);
    await this.#end();
  }

  async #untilIdle(withinMs: number, hurry: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const endMs = clock.now() + withinMs;
    while (this.#threads.sum('connections') > 0 && clock.now() < endMs && !hurry.aborted) await sleep(clock, 20, hurry);
  }

  async #end(): Promise<void> {
    this.#log.info('stopped', { connectionsCut: this.#threads.sum('connections') });
    await this.#close();
  }

  async #close(): Promise<void> {
    this.#stopLoopWatch();
    this.#bounds.close();
    this.#watch.set(false);
    await this.#threads.close();
    this.#suspects.close();
    await this.#admin.close();
    await this.#registries.close();
    this.#outliers.close();
    this.#probing.close();
    this.#fleet.close();
    await this.#logs.close();
  }

  #notReady(): ReturnType<typeof reasonsNotReady> {
    const starting = !this.#registriesAnswered || this.#listeners.addresses.length === 0;
    return reasonsNotReady(this.#registries.statuses(), {
      stopping: this.#stopping,
      starting,
      stalled: this.#threads.isStalled,
    });
  }
}

/** What an instance says of itself, in the words of probes. */
const RESULTS = { passing: 'pass', degraded: 'degraded', failing: 'fail' } as const;

const INSTANCE_SERIES = 20_000;
const STOPPING = 'the gateway is stopping';
/** The answer to the upgrade itself is on its way. */
const ADMIN_GRACE_MS = 5000;
/** For connections that were told to close, to be closed by their clients. */
const LAST_WORDS_MS = 2500;
/** A reload that hangs on a disk must not keep the gateway from stopping. */
const RELOAD_END_MS = 2000;
