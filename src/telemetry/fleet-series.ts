import { OUTCOMES } from '../core/outcome.ts';
import { DURATION_BUCKETS, OVERHEAD_BUCKETS } from './buckets.ts';
import {
  BREAKER_STATES,
  DEREGISTRATION_REASONS,
  METHODS,
  OUTLIER_KINDS,
  OUTLIER_RESULTS,
  PROBE_RESULTS,
  PROBE_TYPES,
  QUEUE_REJECTIONS,
  RETRY_REASONS,
} from './closed-sets.ts';
import { Family, flat, label, type Slices } from './exposition.ts';
import {
  INSTANCE_STANDINGS,
  isUp,
  standingOf,
  type FleetFigures,
  type FleetSource,
  type InstanceSource,
} from './fleet-source.ts';
import { SERIES } from './series.ts';
import type { ServiceSlots } from './service-slots.ts';
import { methodOfKey, ROW, RowSum, statusOfKey, type TrafficMeters } from './traffic.ts';

const methodLabels = METHODS.map((method) => label('method', method));
const labelsOf = (name: string, values: readonly string[]): readonly string[] =>
  values.map((value) => label(name, value));
const retryLabels = labelsOf('reason', RETRY_REASONS);
const outcomeLabels = labelsOf('outcome', OUTCOMES);
const queueLabels = labelsOf('reason', QUEUE_REJECTIONS);
const breakerLabels = labelsOf('to', BREAKER_STATES);
const deregistrationLabels = labelsOf('reason', DEREGISTRATION_REASONS);
const probeLabels = PROBE_TYPES.flatMap((type) =>
  PROBE_RESULTS.map((result) => `${label('type', type)},${label('result', result)}`),
);

const outlierLabels = OUTLIER_KINDS.flatMap((by) =>
  OUTLIER_RESULTS.map((result) => `${label('by', by)},${label('mode', result)}`),
);

/** Everything that is counted per service, summed over the threads that count. */
export async function serviceFamilies(
  slots: ServiceSlots,
  threads: readonly TrafficMeters[],
  slices: Slices,
): Promise<readonly Family[]> {
  const families = {
    requests: new Family(SERIES.requests),
    duration: new Family(SERIES.requestDuration),
    overhead: new Family(SERIES.requestOverhead),
    budget: new Family(SERIES.retryBudgetExhausted),
    queue: new Family(SERIES.queueLength),
    registrations: new Family(SERIES.registrations),
  };
  const sets = [
    { family: new Family(SERIES.attempts), at: ROW.attempts, labels: outcomeLabels },
    { family: new Family(SERIES.retries), at: ROW.retries, labels: retryLabels },
    { family: new Family(SERIES.queueRejections), at: ROW.queueRejections, labels: queueLabels },
    { family: new Family(SERIES.breakerTransitions), at: ROW.breakerTransitions, labels: breakerLabels },
    { family: new Family(SERIES.outlierEjections), at: ROW.outliers, labels: outlierLabels },
    { family: new Family(SERIES.probes), at: ROW.probes, labels: probeLabels },
    { family: new Family(SERIES.deregistrations), at: ROW.deregistrations, labels: deregistrationLabels },
  ];
  const sum = new RowSum();
  const histogram = (
    family: Family,
    service: string,
    buckets: typeof DURATION_BUCKETS,
    at: number,
    sumAt: number,
  ): void => {
    family.histogram(service, buckets, (bucket) => sum.at(at + bucket), sum.at(sumAt));
  };
  // A copy: rows change owners while the writer rests.
  for (const [slot, name] of [...slots.entries()]) {
    if (slices.spent) await slices.rest();
    sum.load(threads, slot);
    const service = flat(label('service', name));
    if (writeRequests(families.requests, service, sum) > 0) {
      histogram(families.duration, service, DURATION_BUCKETS, ROW.duration, ROW.durationSumMs);
      histogram(families.overhead, service, OVERHEAD_BUCKETS, ROW.overhead, ROW.overheadSumMs);
    }
    families.budget.counted(service, sum.at(ROW.budgetExhausted));
    families.queue.counted(service, sum.at(ROW.queueLength));
    families.registrations.counted(service, sum.at(ROW.registrations));
    for (const { family, at, labels } of sets) {
      for (let index = 0; index < labels.length; index++) {
        const count = sum.at(at + index);
        // Most have counted nothing, and their labels need not be put together.
        if (count !== 0) family.sample(`${service},${labels[index] ?? ''}`, count);
      }
    }
  }
  return [...Object.values(families), ...sets.map(({ family }) => family)];
}

/** Returns the number of requests counted. */
function writeRequests(family: Family, service: string, sum: RowSum): number {
  let requests = 0;
  const write = (method: string | undefined, code: string, count: number): void => {
    if (count === 0) return;
    requests += count;
    family.sample(`${service},${method ?? ''},code="${code}"`, count);
  };
  for (const [key, count] of sum.codes) write(methodLabels[methodOfKey(key)], String(statusOfKey(key)), count);
  methodLabels.forEach((method, index) => write(method, 'other', sum.at(ROW.codeOther + index)));
  return requests;
}

export interface InstanceSeriesLimit {
  /** Off: only counts per service. */
  readonly enabled: boolean;
  /** Instances with series of their own; those that come after it in the fleet's order are counted as omitted. */
  readonly limit: number;
}

/** Gauges of services and instances, read from the fleet as it is now. */
export async function fleetFamilies(
  fleet: FleetSource,
  slots: ServiceSlots,
  limit: InstanceSeriesLimit,
  slices: Slices,
): Promise<readonly Family[]> {
  const instances = new Family(SERIES.instances);
  const panic = new Family(SERIES.panic);
  const fallback = new Family(SERIES.fallback);
  const rows = new InstanceRows(fleet.figures, limit.enabled ? limit.limit : 0);
  const crowd = new Map<string, number>();
  let named = 0;
  for (const service of [...fleet.services()]) {
    if (slices.spent) await slices.rest();
    const counts = new Map<string, number>([['available', 0]]);
    const serviceLabel = label('service', service.name);
    let visited = 0;
    // A copy, as above; only of the services that are long enough to rest within.
    for (const instance of [...service.instances()]) {
      if ((++visited & 127) === 0 && slices.spent) await slices.rest();
      const standing = standingOf(instance.health);
      counts.set(standing, (counts.get(standing) ?? 0) + 1);
      rows.write(serviceLabel, instance, isUp(standing));
    }
    if (named < slots.capacity && !slots.isCrowdedOut(service.name)) {
      named++;
      panic.sample(serviceLabel, service.panic ? 1 : 0);
      fallback.sample(serviceLabel, service.fallback ? 1 : 0);
      writeStandings(instances, serviceLabel, counts);
    } else {
      for (const [standing, count] of counts) crowd.set(standing, (crowd.get(standing) ?? 0) + count);
    }
  }
  writeStandings(instances, label('service', '(other)'), crowd);
  const omitted = new Family(SERIES.instancesOmitted);
  omitted.sample('', limit.enabled ? rows.omitted : 0);
  const crowded = new Family(SERIES.servicesOmitted);
  crowded.sample('', slots.crowdedOut);
  return [instances, panic, fallback, ...rows.families(), omitted, crowded];
}

function writeStandings(family: Family, service: string, counts: ReadonlyMap<string, number>): void {
  for (const standing of INSTANCE_STANDINGS) {
    const count = counts.get(standing);
    if (count !== undefined) family.sample(`${service},${label('state', standing)}`, count);
  }
}

class InstanceRows {
  omitted = 0;
  readonly #up = new Family(SERIES.instanceUp);
  readonly #inflight = new Family(SERIES.instanceInflight);
  readonly #requests = new Family(SERIES.instanceRequests);
  readonly #breaker = new Family(SERIES.breakerState);
  readonly #figures: FleetFigures;
  #left: number;

  constructor(figures: FleetFigures, limit: number) {
    this.#figures = figures;
    this.#left = limit;
  }

  write(service: string, instance: InstanceSource, up: boolean): void {
    if (this.#left === 0) {
      this.omitted++;
      return;
    }
    this.#left--;
    const labels = flat(`${service},${label('instance', instance.id)}`);
    this.#up.sample(labels, up ? 1 : 0);
    this.#inflight.sample(labels, this.#figures.inflight[instance.slot] ?? 0);
    this.#requests.sample(labels, this.#figures.attempts[instance.slot] ?? 0);
    this.#breaker.sample(labels, this.#figures.breaker[instance.slot] ?? 0);
  }

  families(): readonly Family[] {
    return [this.#up, this.#inflight, this.#requests, this.#breaker];
  }
}
