import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { createAdminApp } from '../admin/app.ts';
import type { NotReady, RegistryReport, ReloadOutcome } from '../admin/deps.ts';
import type { Config, HostPort, LogDestination } from '../config/config.ts';
import type { LoadResult } from '../config/load.ts';
import { AddressPolicy } from '../core/address.ts';
import { type Clock, sleep } from '../core/clock.ts';
import type { Random } from '../core/random.ts';
import { createProbeFactory } from '../health/probes/create.ts';
import type { LockOwner } from '../registry/embedded/data-lock.ts';
import type { SourceStatus } from '../registry/source.ts';
import { AccessLog } from '../telemetry/access-log.ts';
import { LineSink } from '../telemetry/line-sink.ts';
import { type EventLog, openEventLog } from '../telemetry/log.ts';
import { watchLoopLag } from '../telemetry/loop-lag.ts';
import { Metrics } from '../telemetry/metrics.ts';
import { fileAt, type SinkFiles, standardStream } from '../telemetry/sink-files.ts';
import { Timeline } from '../telemetry/timeline.ts';
import { Figures } from '../upstream/figures.ts';
import { Fleet } from '../upstream/fleet.ts';
import type { ClusterAddress } from './backends.ts';
import { createDataPlane, type DataPlane } from './data-plane.ts';
import { fleetSource } from './fleet-source.ts';
import { observeFleet } from './observing.ts';
import { Probing } from './probing.ts';
import { Registries } from './registries.ts';
import { atOnce, type Reloadable, Reloader } from './reload.ts';
import { FleetRouter } from './router.ts';
import { type ServedApp, serveApp } from './serve-app.ts';
import { hostTable, servicePolicies } from './service-policies.ts';

export interface GatewayOptions {
  readonly config: Config;
  /** Reads the configuration file again. */
  readonly load: () => Promise<LoadResult>;
  /** What messages call that file. */
  readonly file: string;
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
  readonly #log: EventLog;
  readonly #access: LineSink | undefined;
  readonly #metrics: Metrics;
  readonly #timeline: Timeline;
  readonly #fleet: Fleet;
  readonly #router: FleetRouter;
  readonly #probing: Probing;
  readonly #registries: Registries;
  readonly #dataPlane: DataPlane;
  readonly #stopLoopWatch: () => void;
  readonly #reloader: Reloader;
  #admin: ServedApp | undefined;
  #registriesAnswered = false;
  #stopping = false;

  /** Use `start`. Opens log files, and nothing else that could fail. */
  private constructor(options: GatewayOptions) {
    const { config, clock, random } = options;
    this.#options = options;
    this.#log = openEventLog({ clock, files: filesOf(config.log.destination), level: config.log.level });
    const { accessLog } = config.gateway;
    this.#access =
      accessLog === 'off' ? undefined : new LineSink({ clock, files: filesOf(accessLog), flushMs: 100, maxBlocks: 64 });
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
    this.#fleet = new Fleet({
      clock,
      random,
      figures,
      defaultPolicy: config.defaultPolicy,
      maxServices: config.gateway.limits.services,
    });
    const parts = {
      clock,
      random,
      fleet: this.#fleet,
      metrics: this.#metrics,
      log: this.#log,
      timeline: this.#timeline,
    };
    this.#router = new FleetRouter({ ...parts, hosts: hostTable(config) });
    observeFleet({
      ...parts,
      router: this.#router,
      reasonOf: (service, id) => this.#registries.takeReason(service, id),
    });
    const addresses = addressPolicy(config);
    const createProbe = createProbeFactory({ clock, addresses, script: options.script });
    this.#probing = new Probing({ ...parts, router: this.#router, createProbe });
    this.#registries = new Registries({
      ...parts,
      addresses: () => addresses,
      stateDir: config.gateway.stateDir,
      owner: options.owner,
      cluster: options.cluster,
    });
    this.#dataPlane = createDataPlane({
      ...parts,
      config: config.gateway,
      router: this.#router,
      addresses,
      accessLog: this.#access && new AccessLog(this.#access),
    });
    this.#stopLoopWatch = watchLoopLag(clock, (lagMs) => {
      this.#metrics.loopLag(lagMs);
    });
    this.#metrics.connect({
      fleet: fleetSource(this.#fleet),
      registries: () =>
        this.#registries.statuses().map(({ name, state, ageMs }) => ({ name, up: state === 'synced', ageMs })),
      connections: () => this.#connections(),
      droppedLines: () => [
        ['events', this.#log.dropped],
        ['access', this.#access?.dropped ?? 0],
      ],
    });
    for (const [name, policy] of config.services) this.#fleet.configure(name, policy);
    this.#reloader = this.#makeReloader(parts);
  }

  #makeReloader(parts: { log: EventLog; metrics: Metrics; timeline: Timeline }): Reloader {
    const { config, load, file } = this.#options;
    const logLevel: Reloadable = {
      prepare: (next, before) =>
        atOnce(() => {
          this.#log.setLevel(next.log.level);
          return before.log.level === next.log.level ? [] : [`log.level is ${next.log.level}`];
        }),
    };
    const registries: Reloadable = { prepare: (next) => atOnce(() => this.#registries.reload(next.registries)) };
    const policies = servicePolicies({ fleet: this.#fleet, router: this.#router, probing: this.#probing });
    return new Reloader({ ...parts, config, load, file, parts: [policies, logLevel, registries] });
  }

  /** Resolves once it listens. Rejects, with everything released, where a listener or a data directory cannot be had. */
  static async start(options: GatewayOptions): Promise<Gateway> {
    const gateway = new Gateway(options);
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
    return { gateway: this.#listeners, admin: this.#admin };
  }

  #listeners: HostPort[] = [];

  async #open(): Promise<void> {
    const { config } = this.#options;
    await this.#registries.start(config.registries);
    void this.#registries.ready().then(() => {
      this.#registriesAnswered = true;
      this.#log.info('every registry has answered');
    });
    this.#admin = await serveApp(this.#adminApp(), config.admin.listen.host, config.admin.listen.port, 'admin.listen');
    for (const { host, port } of config.gateway.listen) {
      const listener = await this.#dataPlane.proxy.listen(host, port);
      this.#listeners.push({ host: listener.host, port: listener.port });
    }
    this.#log.info('ready to serve', {
      version: this.#options.version,
      gateway: this.#listeners.map(({ host, port }) => `${host}:${port}`),
      admin: `${this.#admin.host}:${this.#admin.port}`,
    });
  }

  /** Takes over what has changed in the file. A bad file changes nothing. Reloads come one after the other. */
  reload(): Promise<ReloadOutcome> {
    return this.#reloader.reload();
  }

  reopenLogs(): void {
    this.#log.reopen();
    this.#access?.reopen();
  }

  /**
   * Graceful: readiness fails, new work is taken for `shutdown.acceptFor`, what is under way may end within
   * `shutdown.drain`. An abort of the signal ends the waiting at once.
   */
  async stop(hurry: AbortSignal): Promise<void> {
    this.#stopping = true;
    const { acceptForMs, drainMs } = this.#reloader.config.shutdown;
    const { clock } = this.#options;
    this.#log.info('stopping', { acceptForMs, drainMs });
    await sleep(clock, acceptForMs, hurry);
    const { proxy } = this.#dataPlane;
    await proxy.drain();
    const deadlineMs = clock.now() + drainMs;
    while (proxy.connections > 0 && clock.now() < deadlineMs && !hurry.aborted) await sleep(clock, 20, hurry);
    this.#log.info('stopped', { connectionsCut: proxy.connections });
    await this.#close();
  }

  async #close(): Promise<void> {
    this.#stopLoopWatch();
    this.#dataPlane.close();
    await this.#admin?.close();
    await this.#registries.stop();
    this.#probing.close();
    this.#fleet.close();
    await Promise.all([this.#log.close(1000), this.#access?.close(1000)]);
  }

  #connections(): { downstreamActive: number; downstreamIdle: number; upstreamActive: number; upstreamIdle: number } {
    const { proxy, pool } = this.#dataPlane;
    const active = Math.min(proxy.requests, proxy.connections);
    return {
      downstreamActive: active,
      downstreamIdle: proxy.connections - active,
      upstreamActive: active,
      upstreamIdle: pool.idleCount,
    };
  }

  #adminApp(): ReturnType<typeof createAdminApp> {
    const { clock, version, nodeVersion, config } = this.#options;
    return createAdminApp({
      clock,
      build: { version, node: nodeVersion },
      token: config.admin.token,
      hostNames: isIP(config.admin.listen.host) === 0 ? [config.admin.listen.host] : [],
      metrics: this.#metrics,
      timeline: this.#timeline,
      fleet: this.#fleet,
      figures: this.#fleet.figures,
      notReady: () => this.#notReady(),
      resolveHost: (host) => this.#router.resolve(host)?.name,
      probesOf: (member) => this.#probing.evidenceOf(member),
      originsOf: (service, instance) => this.#registries.merge.origins(service, instance),
      registries: () => this.#registries.statuses().map(reportOf),
      registryTable: (name) => this.#registries.tableOf(name),
      reload: () => this.reload(),
      onBug: (error) => {
        this.#log.error('defect in the admin API', { error });
      },
    });
  }

  #notReady(): NotReady[] {
    if (this.#stopping) return [{ component: 'gateway', reason: 'stopping' }];
    const waiting = this.#registries.statuses().filter(({ ready }) => !ready);
    const reasons = waiting.map(({ name, lastError }) => ({
      component: name,
      reason: `has not answered yet, and no saved set is loaded${lastError ? `: ${lastError.message}` : ''}`,
    }));
    if (reasons.length === 0 && !this.#registriesAnswered) reasons.push({ component: 'gateway', reason: 'starting' });
    return reasons;
  }
}

const INSTANCE_SERIES = 20_000;

function filesOf(destination: LogDestination): SinkFiles {
  if (destination.to === 'file') return fileAt(destination.path ?? '');
  return standardStream(destination.to === 'stderr' ? 2 : 1);
}

function addressPolicy(config: Config): AddressPolicy {
  const own = [...config.gateway.listen, config.admin.listen];
  for (const registry of config.registries) if (registry.type === 'embedded') own.push(...registry.listen);
  return new AddressPolicy({
    ...config.gateway.upstreamAddresses,
    ownListeners: own,
    localAddresses: () =>
      Object.values(networkInterfaces()).flatMap((each) => (each ?? []).map(({ address }) => address)),
  });
}

function reportOf(status: SourceStatus): RegistryReport {
  const { name, type, state, endpoint, leader, revision, ageMs, lastError, retryInMs, services, instances, holds } =
    status;
  return {
    name,
    type,
    state,
    endpoint,
    leader,
    revision,
    ageMs,
    retryInMs,
    lastError,
    services,
    instances,
    held: holds,
  };
}
