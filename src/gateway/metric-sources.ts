import type { EventLog } from '../telemetry/log.ts';
import type { ConnectionCounts, MetricSources } from '../telemetry/metric-sources.ts';
import type { Fleet } from '../upstream/fleet.ts';
import type { DataThreads } from '../worker/threads.ts';
import type { BoundsWatch } from './bounds.ts';
import { fleetSource } from './fleet-source.ts';
import type { Logs } from './logs.ts';
import type { Registries } from './registries.ts';

interface MeasuredParts {
  readonly fleet: Fleet;
  readonly registries: Pick<Registries, 'statuses'>;
  readonly threads: Pick<DataThreads, 'sum' | 'census'>;
  readonly bounds: Pick<BoundsWatch, 'report'>;
  readonly log: Pick<EventLog, 'dropped'>;
  readonly logs: Pick<Logs, 'accessDropped'>;
}

/** The gateway as a scrape reads it. */
export function metricSources({ fleet, registries, threads, bounds, log, logs }: MeasuredParts): MetricSources {
  return {
    fleet: fleetSource(fleet),
    registries: () => registries.statuses().map(({ name, state, ageMs }) => ({ name, up: state === 'synced', ageMs })),
    connections: () => connectionsOf(threads),
    bounds: () => bounds.report(),
    threads: () => threads.census,
    refusedRequests: () => threads.sum('refusedRequests'),
    droppedLines: () => [
      ['events', log.dropped],
      ['access', logs.accessDropped],
    ],
  };
}

/** A connection serves one request at a time, and each request has one to an instance. */
function connectionsOf(threads: Pick<DataThreads, 'sum'>): ConnectionCounts {
  const connections = threads.sum('connections');
  const active = Math.min(threads.sum('requests'), connections);
  return {
    downstreamActive: active,
    downstreamIdle: connections - active,
    upstreamActive: active,
    upstreamIdle: threads.sum('idleUpstream'),
  };
}
