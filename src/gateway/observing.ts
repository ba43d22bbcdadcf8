import type { Clock } from '../core/clock.ts';
import { addressOf } from '../core/instance.ts';
import type { DeregistrationReason } from '../telemetry/closed-sets.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Timeline } from '../telemetry/timeline.ts';
import type { Member } from '../upstream/directory.ts';
import { isFallback } from '../upstream/fallback.ts';
import type { FleetListener } from '../upstream/fleet-listener.ts';
import type { Fleet } from '../upstream/fleet.ts';
import type { OutliersOptions } from './outliers.ts';
import type { FleetRouter } from './router.ts';
import { evidenceOf } from './transition-evidence.ts';

const BREAKER_STATES = ['closed', 'open', 'half-open'] as const;

interface FleetObservers {
  readonly fleet: Pick<Fleet, 'figures' | 'listen'>;
  readonly clock: Clock;
  readonly router: Pick<FleetRouter, 'metersOf'>;
  readonly timeline: Timeline;
  readonly metrics: Pick<Metrics, 'instanceRefused'>;
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>;
  /** Why a registry let an instance go, where it said so. */
  readonly reasonOf: (service: string, id: string) => DeregistrationReason | undefined;
}

/** What happens to the fleet goes to the timeline, the counters and the log, in one place. */
export function observeFleet(observers: FleetObservers): void {
  observers.fleet.listen({ ...ofInstances(observers), ...ofServices(observers) });
}

function ofInstances({ fleet, clock, router, timeline, metrics, log, reasonOf }: FleetObservers): FleetListener {
  const of = (member: Member): { service: string; instance: string } => ({
    service: member.service.name,
    instance: member.instance.id,
  });
  return {
    added: (member) => {
      const configured = isFallback(member.instance);
      if (!configured) router.metersOf(member.service.name)?.registration();
      timeline.add({
        kind: 'registered',
        ...of(member),
        to: 'registered',
        cause: configured ? 'configured as fallback' : 'a registry has it',
        evidence: addressOf(member.instance),
      });
    },
    removed: (member) => {
      const gone = { kind: 'deregistered', from: 'registered', to: 'deregistered' } as const;
      const evidence = `${addressOf(member.instance)}, ${fleet.figures.inflight[member.slot] ?? 0} in flight`;
      if (isFallback(member.instance)) {
        timeline.add({ ...gone, ...of(member), cause: 'configured no longer', evidence });
        return;
      }
      const reason = reasonOf(member.service.name, member.instance.id);
      router.metersOf(member.service.name)?.deregistration(reason ?? 'deregistered');
      const cause = reason ?? 'no registry has it any more';
      timeline.add({ ...gone, ...of(member), cause, evidence });
    },
    refused: (instance) => {
      metrics.instanceRefused();
      log.error('instance left out: gateway.limits.instances or gateway.limits.services is reached', {
        service: instance.service,
        instance: instance.id,
      });
    },
    transition: (member, gate, from, to, cause) => {
      const evidence = evidenceOf(member, gate, fleet.figures, clock.now());
      timeline.add({ kind: gate, ...of(member), from, to, cause, evidence });
      if (gate === 'breaker') {
        const state = BREAKER_STATES.find((known) => known === to);
        if (state) router.metersOf(member.service.name)?.breakerTransition(state);
      }
      log.info(`${gate} changed`, { ...of(member), from, to, cause, evidence });
    },
  };
}

function ofServices({ timeline, log }: FleetObservers): FleetListener {
  return {
    panic: (service, on) => {
      const [from, to] = on ? ['calm', 'panic'] : ['panic', 'calm'];
      const { available, registered } = service.view;
      const evidence = `${available} available of ${registered}`;
      timeline.add({ kind: 'panic', service: service.name, from, to, cause: 'share of available instances', evidence });
      if (on) log.warn('panic: too few instances are available, probe verdicts are ignored', { service: service.name });
      else log.info('panic is over', { service: service.name });
    },
    fallback: (service, on) => {
      const { available, registered } = service.view;
      const cause = on ? 'no registered instance is available' : 'others are available again';
      const evidence = `${available} available of ${registered}`;
      const [from, to] = on ? ['in reserve', 'in use'] : ['in use', 'in reserve'];
      timeline.add({ kind: 'fallback', service: service.name, from, to, cause, evidence });
      if (on) log.warn('fallback: only fallback instances are available', { service: service.name });
      else log.info('fallback instances are needed no longer', { service: service.name });
    },
  };
}

/** What the comparison of instances finds goes to the counters, the timeline and the log. */
export function observeOutliers({
  router,
  timeline,
  log,
}: {
  readonly router: Pick<FleetRouter, 'metersOf'>;
  readonly timeline: Timeline;
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>;
}): OutliersOptions['onOutlier'] {
  return (member, { by, text }, result, fresh) => {
    const { service, id: instance } = member.instance;
    router.metersOf(service)?.outlier(by, result);
    // An ejection is told by the fleet; what goes on is told once.
    if (result === 'eject' || !fresh) return;
    const why = result === 'capped' ? 'kept in by the ejection cap' : 'observed only';
    timeline.add({ kind: 'outlier', service, instance, to: `outlier by ${by}`, cause: why, evidence: text });
    log.info('an instance does clearly worse than its peers', { service, instance, by, result, text });
  };
}
