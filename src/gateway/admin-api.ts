import { isIP } from 'node:net';
import type { Hono } from 'hono';
import { createAdminApp } from '../admin/app.ts';
import type { AdminDeps, BuildInfo, NotReady, RegistryReport } from '../admin/deps.ts';
import type { AdminConfig } from '../config/config.ts';
import type { Clock } from '../core/clock.ts';
import type { SourceStatus } from '../registry/source.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Timeline } from '../telemetry/timeline.ts';
import type { Fleet } from '../upstream/fleet.ts';
import type { Probing } from './probing.ts';
import type { Registries } from './registries.ts';
import type { FleetRouter } from './router.ts';

export interface AdminApiParts extends Pick<AdminDeps, 'notReady' | 'reload' | 'upgrade'> {
  readonly clock: Clock;
  readonly build: BuildInfo;
  readonly metrics: Metrics;
  readonly timeline: Timeline;
  readonly log: Logger;
  readonly fleet: Fleet;
  readonly router: FleetRouter;
  readonly probing: Probing;
  readonly registries: Registries;
}

/** The admin API over the parts of the gateway, for each configuration of its listener. */
export function adminApi(parts: AdminApiParts): (config: AdminConfig) => Hono {
  const { fleet, router, probing, registries, log, ...own } = parts;
  return ({ token, listen }) =>
    createAdminApp({
      ...own,
      token,
      hostNames: isIP(listen.host) === 0 ? [listen.host] : [],
      fleet,
      figures: fleet.figures,
      resolveHost: (host) => router.resolve(host)?.name,
      probesOf: (member) => probing.evidenceOf(member),
      originsOf: (service, instance) => registries.merge.origins(service, instance),
      registries: () => registries.statuses().map(reportOf),
      registryTable: (name) => registries.tableOf(name),
      onBug: (error) => {
        log.error('defect in the admin API', { error });
      },
    });
}

/** What stands in the way of readiness. `starting`: it does not listen yet, or not every registry was heard. */
export function reasonsNotReady(
  registries: readonly Pick<SourceStatus, 'name' | 'ready' | 'lastError'>[],
  gateway: { readonly stopping: boolean; readonly starting: boolean; readonly stalled: boolean },
): NotReady[] {
  if (gateway.stopping) return [{ component: 'gateway', reason: 'stopping' }];
  const reasons = registries
    .filter(({ ready }) => !ready)
    .map(({ name, lastError }) => ({
      component: name,
      reason: `has not answered yet, and no saved set is loaded${lastError ? `: ${lastError.message}` : ''}`,
    }));
  if (reasons.length === 0 && gateway.starting) reasons.push({ component: 'gateway', reason: 'starting' });
  if (gateway.stalled)
    reasons.push({ component: 'data plane', reason: 'every thread dies again and again: see the log' });
  return reasons;
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
