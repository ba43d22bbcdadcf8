import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { CheckKind } from '../core/check.ts';
import type { Clock } from '../core/clock.ts';
import { DURATION_BUCKETS, OVERHEAD_BUCKETS, saneMs } from './buckets.ts';
import {
  PROBE_TYPES,
  REGISTRY_EVENT_KINDS,
  RESYNC_REASONS,
  type RegistryEventKind,
  type ResyncReason,
} from './closed-sets.ts';
import { Family, label, Slices } from './exposition.ts';
import { fleetFamilies, serviceFamilies, type InstanceSeriesLimit } from './fleet-series.ts';
import { HistogramMeter } from './histogram-meter.ts';
import type { Bounds, ConnectionCounts, MetricSources, ThreadCensus } from './metric-sources.ts';
import { SERIES, type Series } from './series.ts';
import { NO_SERVICE, ServiceSlots } from './service-slots.ts';
import { totalsOf, type ServiceTotals } from './totals.ts';
import { RowSum, TrafficMeters, type ServiceMeters } from './traffic.ts';

export interface MetricsOptions {
  readonly clock: Clock;
  readonly version: string;
  readonly nodeVersion: string;
  readonly instanceSeries: InstanceSeriesLimit;
  /** Rows of services, two of them reserved; bounds the values of the `service` label. */
  readonly serviceRows?: number;
  /** How long the counters of a service outlive it. */
  readonly lingerMs?: number;
  /** `process_…` and `nodejs_…` as well: costs an observer of garbage collections for as long as the process lives. */
  readonly processMetrics?: boolean;
}

const SERVICE_ROWS = 16_384;
const LINGER_MS = 300_000;
/** A scrape gives way to requests after this long. */
const SLICE_MS = 4;
/** The reasons are our own parsers' words; a defect there must not make series without end. */
const MAX_BAD_REQUEST_REASONS = 128;

/** The gateway as a whole, as it is now. A part that nothing has been connected for is missing. */
export interface Vitals {
  /** When this process began to count, in milliseconds since the epoch: another one, and all counts began anew. */
  readonly startedWallMs: number;
  readonly threads: ThreadCensus | undefined;
  readonly connections: ConnectionCounts | undefined;
  readonly bounds: Bounds | undefined;
  readonly reloads: Readonly<Record<'success' | 'failure', number>>;
}

/**
 * Records and exports. What happens per request or per probe is counted in typed arrays (traffic.ts); prom-client
 * holds what is rare, and formats that.
 */
export class Metrics {
  readonly contentType: string;
  /** The counters of the main thread. */
  readonly traffic: TrafficMeters;
  /** For requests that reach no service. */
  readonly noService: ServiceMeters;
  readonly registries: RegistryMeters;
  readonly #registry = new Registry();
  readonly #clock: Clock;
  readonly #instanceSeries: InstanceSeriesLimit;
  readonly #slots: ServiceSlots;
  readonly #threads: TrafficMeters[];
  readonly #badRequests = new Map<string, number>();
  readonly #probeDurations = new Map(PROBE_TYPES.map((type) => [type, new HistogramMeter(DURATION_BUCKETS)]));
  readonly #probeLag = new HistogramMeter(OVERHEAD_BUCKETS);
  readonly #loopLag = new HistogramMeter(OVERHEAD_BUCKETS);
  readonly #reloads: Counter<'result'>;
  readonly #instancesRefused: Counter;
  readonly #reloadCounts = { success: 0, failure: 0 };
  readonly #startedWallMs: number;
  #sources: MetricSources = {};
  #scrape: Promise<readonly Uint8Array[]> | undefined;

  constructor(options: MetricsOptions) {
    const rows = options.serviceRows ?? SERVICE_ROWS;
    this.#clock = options.clock;
    this.#startedWallMs = options.clock.wall();
    this.#instanceSeries = options.instanceSeries;
    this.#slots = new ServiceSlots({ clock: options.clock, capacity: rows, lingerMs: options.lingerMs ?? LINGER_MS });
    this.traffic = new TrafficMeters({ services: rows });
    this.#threads = [this.traffic];
    this.noService = this.traffic.row(NO_SERVICE);
    this.contentType = this.#registry.contentType;
    this.registries = new RegistryMeters(this.#registry);
    this.#reloads = new Counter(declare(this.#registry, SERIES.configReloads));
    this.#instancesRefused = new Counter(declare(this.#registry, SERIES.instancesRefused));
    // From the beginning: the first failure would otherwise be no increase of anything.
    for (const result of ['success', 'failure'] as const) this.#reloads.inc({ result }, 0);
    new Gauge(declare(this.#registry, SERIES.buildInfo)).set(
      { version: options.version, node: options.nodeVersion },
      1,
    );
    this.#declarePulled();
    if (options.processMetrics) {
      collectDefaultMetrics({ register: this.#registry });
      // They walk every open handle at each scrape, and one of them is a gauge with the name of a counter.
      for (const name of ['nodejs_active_handles', 'nodejs_active_resources', 'nodejs_active_requests']) {
        this.#registry.removeSingleMetric(name);
        this.#registry.removeSingleMetric(`${name}_total`);
      }
    }
  }

  /** Joins what the scrape reads; replaces parts given before. */
  connect(sources: MetricSources): void {
    this.#sources = { ...this.#sources, ...sources };
  }

  /** The row of a service in the meters of every thread; the same one for as long as the service lasts. */
  serviceRow(name: string): number {
    const { slot, fresh } = this.#slots.acquire(name);
    if (fresh) for (const thread of this.#threads) thread.clear(slot);
    return slot;
  }

  /** The main thread's counters of a service. Keep the result: each call makes a new object. */
  service(name: string): ServiceMeters {
    return this.traffic.row(this.serviceRow(name));
  }

  /** The service is gone: its counters follow a few minutes later, unless it comes back. */
  forgetService(name: string): void {
    this.#slots.release(name);
  }

  /** Meters of another thread, over a buffer shared with it. They stay when the thread goes: counters never fall. */
  addThread(meters: TrafficMeters): void {
    this.#threads.push(meters);
  }

  /** A malformed request was refused; `reason` is the parser's word for it. */
  badRequest(reason: string, count = 1): void {
    const known = this.#badRequests.has(reason) || this.#badRequests.size < MAX_BAD_REQUEST_REASONS;
    const counted = known ? reason : 'other';
    this.#badRequests.set(counted, (this.#badRequests.get(counted) ?? 0) + count);
  }

  /** Time one probe took. Its result is counted by `ServiceMeters.probe`. */
  probeTook(type: CheckKind['type'], durationMs: number): void {
    this.#probeDurations.get(type)?.record(durationMs);
  }

  /** How late a probe began. */
  probeLag(lagMs: number): void {
    this.#probeLag.record(lagMs);
  }

  /** There is no room for it. */
  instanceRefused(): void {
    this.#instancesRefused.inc();
  }

  loopLag(lagMs: number): void {
    this.#loopLag.record(lagMs);
  }

  configReload(result: 'success' | 'failure'): void {
    this.#reloads.inc({ result });
    this.#reloadCounts[result]++;
  }

  /** undefined: nothing is counted under this name alone. */
  totals(service: string): ServiceTotals | undefined {
    const row = this.#slots.find(service);
    if (row === undefined) return undefined;
    const sum = new RowSum();
    sum.load(this.#threads, row);
    return totalsOf(sum);
  }

  vitals(): Vitals {
    const { threads, connections, bounds } = this.#sources;
    return {
      startedWallMs: this.#startedWallMs,
      threads: threads?.(),
      connections: connections?.(),
      bounds: bounds?.(),
      reloads: { ...this.#reloadCounts },
    };
  }

  /**
   * The exposition, in pieces to be sent one after the other. It gives way to other work every few milliseconds;
   * callers that come while one is under way share its result.
   */
  scrape(): Promise<readonly Uint8Array[]> {
    this.#scrape ??= this.#render().finally(() => {
      this.#scrape = undefined;
    });
    return this.#scrape;
  }

  async #render(): Promise<readonly Uint8Array[]> {
    this.#slots.reclaim();
    const slices = new Slices(this.#clock, SLICE_MS);
    const services = await serviceFamilies(this.#slots, this.#threads, slices);
    const { fleet } = this.#sources;
    const instances = fleet ? await fleetFamilies(fleet, this.#slots, this.#instanceSeries, slices) : [];
    await slices.rest();
    const rare = await this.#registry.metrics();
    return [Buffer.from(rare), ...[...this.#lags(), ...services, ...instances].flatMap((family) => family.chunks())];
  }

  #lags(): readonly Family[] {
    const durations = new Family(SERIES.probeDuration);
    for (const [type, meter] of this.#probeDurations) if (!meter.isEmpty) meter.write(durations, label('type', type));
    const probeLag = new Family(SERIES.probeLag);
    this.#probeLag.write(probeLag, '');
    const loopLag = new Family(SERIES.eventLoopLag);
    this.#loopLag.write(loopLag, '');
    return [durations, probeLag, loopLag];
  }

  #declarePulled(): void {
    const registries = (): ReturnType<NonNullable<MetricSources['registries']>> => this.#sources.registries?.() ?? [];
    const up = new Gauge({
      ...declare(this.#registry, SERIES.registryUp),
      collect: () => {
        up.reset();
        for (const registry of registries()) up.set({ registry: registry.name }, registry.up ? 1 : 0);
      },
    });
    const age = new Gauge({
      ...declare(this.#registry, SERIES.registryAge),
      collect: () => {
        age.reset();
        for (const { name, ageMs } of registries()) if (ageMs !== undefined) age.set({ registry: name }, ageMs / 1000);
      },
    });
    const connections = new Gauge({
      ...declare(this.#registry, SERIES.connections),
      collect: () => {
        const counts = this.#sources.connections?.();
        if (!counts) return;
        connections.set({ side: 'downstream', state: 'active' }, counts.downstreamActive);
        connections.set({ side: 'downstream', state: 'idle' }, counts.downstreamIdle);
        connections.set({ side: 'upstream', state: 'active' }, counts.upstreamActive);
        connections.set({ side: 'upstream', state: 'idle' }, counts.upstreamIdle);
      },
    });
    const threads = new Gauge({
      ...declare(this.#registry, SERIES.dataThreads),
      collect: () => {
        threads.set(this.#sources.threads?.().running ?? 0);
      },
    });
    const wanted = new Gauge({
      ...declare(this.#registry, SERIES.dataThreadsWanted),
      collect: () => {
        wanted.set(this.#sources.threads?.().wanted ?? 0);
      },
    });
    const ofThreads = (series: Series, figures: () => readonly number[] | undefined): void => {
      const gauge = new Gauge({
        ...declare(this.#registry, series),
        collect: () => {
          for (const [thread, value] of (figures() ?? []).entries()) gauge.set({ thread: String(thread) }, value);
        },
      });
    };
    ofThreads(SERIES.dataThreadConnections, () => this.#sources.threads?.().connections);
    ofThreads(SERIES.dataThreadHeap, () => this.#sources.threads?.().heapBytes);
    ofThreads(SERIES.dataThreadMemory, () => this.#sources.threads?.().memoryBytes);
    const deaths = new Counter({
      ...declare(this.#registry, SERIES.dataThreadDeaths),
      collect: () => {
        deaths.reset();
        deaths.inc(this.#sources.threads?.().deaths ?? 0);
      },
    });
    const limit = new Gauge({
      ...declare(this.#registry, SERIES.limit),
      collect: () => {
        for (const [of, most] of this.#sources.bounds?.().limits ?? [])
          if (Number.isFinite(most)) limit.set({ of }, most);
      },
    });
    const refused = new Counter({
      ...declare(this.#registry, SERIES.connectionsRefused),
      collect: () => {
        refused.reset();
        for (const [side, reason, count] of this.#sources.bounds?.().refused ?? [])
          refused.inc({ side, reason }, count);
      },
    });
    const refusedRequests = new Counter({
      ...declare(this.#registry, SERIES.requestsRefused),
      collect: () => {
        refusedRequests.reset();
        refusedRequests.inc(this.#sources.refusedRequests?.() ?? 0);
      },
    });
    const bad = new Counter({
      ...declare(this.#registry, SERIES.badRequests),
      collect: () => {
        bad.reset();
        for (const [reason, count] of this.#badRequests) bad.inc({ reason }, count);
      },
    });
    const dropped = new Counter({
      ...declare(this.#registry, SERIES.logLinesDropped),
      collect: () => {
        dropped.reset();
        for (const [log, lines] of this.#sources.droppedLines?.() ?? []) dropped.inc({ log }, lines);
      },
    });
  }
}

/** What happens to registries: a few times a second at most, so prom-client may count it itself. */
export class RegistryMeters {
  readonly #events: Counter;
  readonly #propagation: Histogram;
  readonly #resyncs: Counter;
  readonly #drift: Counter;
  readonly #leaderChanges: Counter;

  constructor(registry: Registry) {
    this.#events = new Counter(declare(registry, SERIES.registryEvents));
    this.#propagation = new Histogram({
      ...declare(registry, SERIES.registryPropagation),
      buckets: DURATION_BUCKETS.boundsMs.map((boundMs) => boundMs / 1000),
    });
    this.#resyncs = new Counter(declare(registry, SERIES.registryResyncs));
    this.#drift = new Counter(declare(registry, SERIES.registryDrift));
    this.#leaderChanges = new Counter(declare(registry, SERIES.registryLeaderChanges));
  }

  event(registry: string, kind: RegistryEventKind): void {
    this.#events.inc({ registry, kind });
  }

  /** A change received `elapsedMs` ago is part of a published view. */
  propagated(registry: string, elapsedMs: number): void {
    this.#propagation.observe({ registry }, saneMs(elapsedMs) / 1000);
  }

  resync(registry: string, reason: ResyncReason): void {
    this.#resyncs.inc({ registry, reason });
  }

  drift(registry: string, differences: number): void {
    this.#drift.inc({ registry }, differences);
  }

  leaderChange(registry: string): void {
    this.#leaderChanges.inc({ registry });
  }

  /** The registry is no longer configured. */
  forget(registry: string): void {
    for (const kind of REGISTRY_EVENT_KINDS) this.#events.remove({ registry, kind });
    for (const reason of RESYNC_REASONS) this.#resyncs.remove({ registry, reason });
    for (const metric of [this.#propagation, this.#drift, this.#leaderChanges]) metric.remove({ registry });
  }
}

function declare(
  registry: Registry,
  { name, help, labels }: Series,
): { name: string; help: string; labelNames: string[]; registers: Registry[] } {
  return { name, help, labelNames: [...labels], registers: [registry] };
}
