import { Slices } from '../telemetry/exposition.ts';
import { DURATION_BOUNDS_MS } from '../telemetry/totals.ts';
import type { ServiceDetail } from '../upstream/directory.ts';
import type { AdminDeps } from './deps.ts';
import {
  CONDITIONS,
  type Condition,
  type CountedService,
  type ListedService,
  type ServiceList,
  type ServiceReport,
} from './reports.ts';
import { conditionOf, summarize } from './service-report.ts';

export interface ListQuestion {
  /** Part of the name, in whatever case. */
  readonly part: string;
  /** Only these; undefined: all. */
  readonly conditions: ReadonlySet<Condition> | undefined;
  /** By name within each condition, or by name alone. */
  readonly order: 'condition' | 'name';
  readonly offset: number;
  readonly limit: number;
  /** With what each has counted. */
  readonly traffic: boolean;
}

/** A list of very many services gives way to requests after this long. */
const SLICE_MS = 4;

/** Looks at every service, which takes a step each; only what is on the page is looked at instance by instance. */
export async function listServices(question: ListQuestion, deps: AdminDeps): Promise<ServiceList> {
  const slices = new Slices(deps.clock, SLICE_MS);
  const { part, conditions, order, offset, limit, traffic } = question;
  const matching = new Map<Condition, string[]>(CONDITIONS.map((condition) => [condition, []]));
  const wanted = part.toLowerCase();
  let matched = 0;
  for (const service of [...deps.fleet.services.values()]) {
    if (slices.spent) await slices.rest();
    const condition = conditionOf(service);
    if (conditions && !conditions.has(condition)) continue;
    if (wanted !== '' && !service.name.toLowerCase().includes(wanted)) continue;
    matched++;
    matching.get(condition)?.push(service.name);
  }
  const groups = order === 'condition' ? [...matching.values()] : [[...matching.values()].flat()];
  const services: ListedService[] = [];
  for (const name of cut(groups, offset, limit)) {
    if (slices.spent) await slices.rest();
    // It may have gone while this was resting.
    const service = deps.fleet.services.get(name);
    if (service) services.push(listed(service, deps, traffic));
  }
  return {
    services,
    matched,
    total: deps.fleet.services.size,
    nowMs: deps.clock.now(),
    durationBoundsMs: DURATION_BOUNDS_MS,
  };
}

function listed(service: ServiceDetail, deps: AdminDeps, traffic: boolean): ListedService {
  const summary = summarize(service, deps);
  return traffic ? { ...summary, traffic: deps.metrics.totals(service.name) } : summary;
}

/** One service with what it has counted, in the words of the list. */
export function withTraffic(report: ServiceReport, deps: AdminDeps): CountedService {
  const { clock, metrics } = deps;
  return {
    ...report,
    traffic: metrics.totals(report.name),
    nowMs: clock.now(),
    durationBoundsMs: DURATION_BOUNDS_MS,
  };
}

/** The groups one after the other, each sorted: but only those that the page reaches into. */
function cut(groups: readonly string[][], offset: number, limit: number): readonly string[] {
  const page: string[] = [];
  let before = 0;
  for (const group of groups) {
    const from = Math.max(0, offset - before);
    const to = offset + limit - before;
    before += group.length;
    // In the order of code units: names are ASCII.
    if (from < group.length && to > 0) page.push(...group.sort().slice(from, to));
  }
  return page;
}

/** How many services there are of each condition. */
export function countConditions(deps: Pick<AdminDeps, 'fleet'>): Record<Condition, number> {
  const counts: Record<Condition, number> = { down: 0, panic: 0, empty: 0, fallback: 0, partial: 0, ok: 0 };
  for (const service of deps.fleet.services.values()) counts[conditionOf(service)]++;
  return counts;
}
