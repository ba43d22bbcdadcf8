import type { Config } from '../config/config.ts';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Timeline } from '../telemetry/timeline.ts';
import type { Fleet } from '../upstream/fleet.ts';
import type { ThreadSetup } from '../worker/messages.ts';
import { DataThreads, type ThreadBarrier } from '../worker/threads.ts';
import type { Logs } from './logs.ts';
import { threadSettings } from './settings.ts';
import type { Suspects } from './suspects.ts';
import type { WorkerPlan } from './worker-plan.ts';

export interface ThreadParts {
  readonly config: Config;
  readonly clock: Clock;
  readonly fleet: Fleet;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly timeline: Timeline;
  readonly workers: WorkerPlan;
  readonly sockets: ThreadSetup['sockets'];
  readonly barrier: ThreadBarrier;
  readonly suspects: Suspects;
  readonly logs: Logs;
}

/** The data-plane threads, joined with what decides, counts and writes for them. */
export function startThreads({
  config,
  workers,
  metrics,
  timeline,
  suspects,
  logs,
  ...parts
}: ThreadParts): DataThreads {
  const { wanted, shortage } = workers;
  if (shortage !== undefined) parts.log.warn(shortage, { wanted });
  const threads = new DataThreads({
    ...parts,
    ...workers,
    settings: threadSettings(config),
    serviceRows: config.gateway.limits.services + 2,
    rowOf: (service) => metrics.serviceRow(service),
    onSuspect: (slot, cause, unreachable) => {
      suspects.eject(slot, cause, unreachable);
    },
    onRefused: (reason, count) => {
      metrics.badRequest(reason, count);
    },
    onLines: (lines) => {
      logs.writeAccess(lines);
    },
    onDied: (thread, cause) => {
      timeline.add({ kind: 'thread', to: 'replaced', cause: `data-plane thread ${thread}: ${cause}` });
    },
  });
  for (const meters of threads.meters) metrics.addThread(meters);
  return threads;
}
