import type { SourceListener } from '../registry/source.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Timeline } from '../telemetry/timeline.ts';

/** What a registry goes through, to the log, the counters and the timeline. */
export function observeSource(
  registry: string,
  { log, metrics, timeline }: { readonly log: Logger; readonly metrics: Metrics; readonly timeline: Timeline },
): SourceListener {
  const meters = metrics.registries;
  return {
    state: (to, from) => {
      timeline.add({ kind: 'registry', from, to, cause: `registry ${registry}` });
      log.info('registry state changed', { registry, from, to });
    },
    lost: (loss) => {
      const line = { registry, reason: loss.reason, error: loss.message, retryInMs: loss.retryInMs };
      if (loss.refused) log.error('registry refuses us', line);
      else log.warn('registry lost', line);
    },
    event: (kind) => {
      meters.event(registry, kind);
    },
    resync: (reason) => {
      if (reason !== 'stopped') meters.resync(registry, reason);
    },
    leaderChanged: (leader, previous) => {
      meters.leaderChange(registry);
      log.info('registry has another leader', { registry, leader, previous });
    },
    drift: (services) => {
      meters.drift(registry, services.length);
      log.warn('registry drift repaired', { registry, services: services.slice(0, 20) });
    },
    listFailed: (error) => {
      log.warn('registry could not be listed', { registry, error: error.message });
    },
    hold: (notice) => {
      timeline.add({ kind: 'registry', to: 'held', cause: `registry ${registry} lost much at once` });
      log.warn('registry lost much at once: held until confirmed', { registry, ...notice });
    },
    release: (notice) => {
      timeline.add({ kind: 'registry', to: notice.outcome, cause: `registry ${registry}` });
      log.info('hold on registry ended', { registry, ...notice });
    },
    confirmFailed: (error) => {
      log.warn('registry loss could not be confirmed', { registry, error: error.message });
    },
    skip: (what) => {
      log.warn('registration left out', { registry, ...what });
    },
    snapshotUsed: (info) => {
      log.warn('registry is not there: its last known good set is in use', { registry, ...info });
    },
    snapshotProblem: (error) => {
      log.error('last known good set', { registry, error: error.message });
    },
    sinkFailed: (error) => {
      log.error('a change could not be taken over; it is shown again', { registry, error: error.message });
    },
    propagation: (durationMs) => {
      meters.propagated(registry, durationMs);
    },
  };
}
