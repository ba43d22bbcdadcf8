import type { ReloadOutcome, UpgradeOutcome } from '../admin/deps.ts';
import type { HostPort } from '../config/config.ts';
import { sleep } from '../core/clock.ts';
import { reasonsNotReady } from './admin-api.ts';
import { ADMIN_SETTING } from './admin-listener.ts';
import type { GatewayOptions } from './options.ts';
import { GatewayParts } from './parts.ts';
import { InheritedSockets } from './sockets.ts';
import { serveInPlaceOf, takeOver } from './take-over.ts';
import { planWorkers, type WorkerPlan } from './worker-plan.ts';

/** A gateway's life: it begins, reloads, is replaced, and ends. What it is made of is joined in `GatewayParts`. One per process. */
export class Gateway {
  readonly #options: GatewayOptions;
  readonly #parts: GatewayParts;
  #registriesAnswered = false;
  #stopping = false;

  /** Use `start`. */
  private constructor(options: GatewayOptions, workers: WorkerPlan) {
    this.#options = options;
    this.#parts = new GatewayParts(options, workers, {
      notReady: () => this.#notReady(),
      reload: () => this.reload(),
      upgrade: () => this.upgrade(),
      holdReloads: () => this.#holdReloads(),
      allowReloads: (asked) => this.#allowReloads(asked),
    });
  }

  /** Resolves once it listens. Rejects, with everything released, where a listener or a data directory cannot be had. */
  static async start(options: GatewayOptions): Promise<Gateway> {
    const gateway = new Gateway(options, await planWorkers(options.config, options.cores));
    try {
      await gateway.#open();
    } catch (error) {
      await gateway.#parts.close();
      throw error;
    }
    return gateway;
  }

  /** Where it listens; ports that were configured as 0 are known here. */
  get listening(): { readonly gateway: readonly HostPort[]; readonly admin: HostPort | undefined } {
    return { gateway: this.#parts.listeners.addresses, admin: this.#parts.admin.address };
  }

  async #open(): Promise<void> {
    const { config, clock, predecessor, version, onReady } = this.#options;
    const { log, fleet, bounds, registries, probing, listeners, admin, watch } = this.#parts;
    bounds.start();
    const inherited = new InheritedSockets(this.#options.sockets);
    if (predecessor) {
      await takeOver(predecessor, inherited, { clock, config, log, fleet, registries, probing });
      this.#allAnswered();
    } else {
      await registries.start(config.registries, inherited);
      void registries.ready().then(() => this.#allAnswered());
    }
    const adminLast = inherited.has(ADMIN_SETTING, config.admin.listen);
    // A second gateway started by mistake fails at the admin address, before it takes clients of the first one.
    if (!adminLast) await admin.open(config.admin, inherited);
    await listeners.open(config.gateway.listen, inherited, onReady);
    if (adminLast) await admin.open(config.admin, inherited);
    for (const { setting, host, port } of inherited.closeRest())
      log.warn('an inherited socket is not in the configuration: closed', { setting, host, port });
    if (predecessor) void serveInPlaceOf(predecessor, fleet);
    watch.set(config.gateway.watchConfig);
    const waitingFor = this.#notReady();
    log.info(waitingFor.length === 0 ? 'ready to serve' : 'listening, and not ready yet', {
      ...(waitingFor.length > 0 && {
        waitingFor: waitingFor.map(({ component, reason }) => `${component}: ${reason}`),
      }),
      version,
      gateway: listeners.addresses.map(({ host, port }) => `${host}:${port}`),
      admin: admin.address && `${admin.address.host}:${admin.address.port}`,
    });
  }

  #allAnswered(): void {
    this.#registriesAnswered = true;
    this.#parts.log.info('every registry has answered');
  }

  /** Starts this program anew, and leaves it everything but what is under way here. */
  async upgrade(): Promise<UpgradeOutcome> {
    return this.#stopping ? { ok: false, reason: STOPPING } : this.#parts.upgrade.run();
  }

  #holdReloads(): Promise<void> {
    this.#parts.watch.set(false);
    return this.#parts.reloader.refuse('an upgrade is under way');
  }

  async #allowReloads(asked: boolean): Promise<void> {
    const { reloader, watch } = this.#parts;
    if (this.#stopping) return reloader.refuse(STOPPING);
    await reloader.refuse(undefined);
    watch.set(reloader.config.gateway.watchConfig);
    if (asked) void this.reload();
  }

  /** HUP: for whoever serves in our place where there is somebody. */
  hangUp(): void {
    if (!this.#parts.upgrade.hangUp()) void this.reload();
  }

  /** Resolves when a successor serves: time to `retire`. */
  get replaced(): Promise<void> {
    return this.#parts.upgrade.replaced;
  }

  /** Takes over what has changed in the file. A bad file changes nothing. Reloads come one after the other. */
  reload(): Promise<ReloadOutcome> {
    return this.#parts.reloader.reload();
  }

  reopenLogs(): void {
    this.#parts.logs.reopen();
  }

  /**
   * A successor serves: what is open here ends with its next answer, or within `shutdown.drain`. Nothing is closed that a
   * client may be using just now.
   */
  async retire(hurry: AbortSignal): Promise<void> {
    const { log, watch, reloader, registries, threads, admin } = this.#parts;
    this.#stopping = true;
    watch.set(false);
    const { drainMs } = reloader.config.shutdown;
    log.info('replaced: draining', { drainMs });
    await registries.stop();
    await threads.finish('ease');
    await this.#untilIdle(drainMs, hurry);
    await threads.finish('drain');
    await this.#untilIdle(Math.min(drainMs, LAST_WORDS_MS), hurry);
    await Promise.all([admin.close(HANDED_ON_MS), registries.close(HANDED_ON_MS)]);
    await this.#end();
  }

  /**
   * Graceful: readiness fails, new work is taken for `shutdown.acceptFor`, what is under way may end within
   * `shutdown.drain`. An abort of the signal ends the waiting at once.
   */
  async stop(hurry: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const { log, watch, reloader, upgrade, threads } = this.#parts;
    this.#stopping = true;
    watch.set(false);
    await Promise.race([reloader.refuse(STOPPING), sleep(clock, RELOAD_END_MS)]);
    await upgrade.abort();
    const { acceptForMs, drainMs } = reloader.config.shutdown;
    log.info('stopping', { acceptForMs, drainMs });
    await sleep(clock, acceptForMs, hurry);
    // A client that has just connected, or asks again just now, could not know.
    await threads.finish('ease');
    await this.#untilIdle(Math.min(drainMs, LAST_REQUESTS_MS), hurry);
    await threads.finish('drain');
    await this.#untilIdle(drainMs, hurry);
    await this.#end();
  }

  async #untilIdle(withinMs: number, hurry: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const { threads } = this.#parts;
    const endMs = clock.now() + withinMs;
    while (threads.sum('connections') > 0 && clock.now() < endMs && !hurry.aborted) await sleep(clock, 20, hurry);
  }

  async #end(): Promise<void> {
    this.#parts.log.info('stopped', { connectionsCut: this.#parts.threads.sum('connections') });
    await this.#parts.close();
  }

  #notReady(): ReturnType<typeof reasonsNotReady> {
    const starting = !this.#registriesAnswered || this.#parts.listeners.addresses.length === 0;
    const { registries, threads } = this.#parts;
    return reasonsNotReady(registries.statuses(), {
      stopping: this.#stopping,
      starting,
      stalled: threads.isStalled,
    });
  }
}

const STOPPING = 'the gateway is stopping';
/** Operators and registrants whose connections are open here may ask once more: clients keep idle ones for some seconds. */
const HANDED_ON_MS = 5000;
/** For connections that were told to close, to be closed by their clients. */
const LAST_WORDS_MS = 2500;
/** For requests on their way on connections that are idle. */
const LAST_REQUESTS_MS = 250;
/** A reload that hangs on a disk must not keep the gateway from stopping. */
const RELOAD_END_MS = 2000;
