import { standingOf } from '../telemetry/fleet-source.ts';
import { availability, type Traffic } from '../upstream/availability.ts';
import type { Member, ServiceDetail } from '../upstream/directory.ts';
import type { InstanceReport as MemberFacts } from '../upstream/explain.ts';
import type { AdminDeps } from './deps.ts';
import type { Condition, InstanceReport, ServiceReport, ServiceSummary } from './reports.ts';

type Source = Pick<AdminDeps, 'fleet' | 'figures'>;

export function summarize(service: ServiceDetail, { figures }: Source): ServiceSummary {
  const { view } = service;
  const states: Record<string, number> = {};
  let inflight = 0;
  for (const { health, slot } of service.members.values()) {
    const state = standingOf(health);
    states[state] = (states[state] ?? 0) + 1;
    inflight += figures.inflight[slot] ?? 0;
  }
  for (const { slot } of service.leaving) inflight += figures.inflight[slot] ?? 0;
  return {
    name: service.name,
    condition: conditionOf(service),
    configured: service.configured,
    registered: view.registered,
    available: view.available,
    takingTraffic: view.slots.length,
    panic: service.panic,
    inflight,
    states,
  };
}

/** From the view alone, whatever the number of instances: cheap enough to be asked of every service. */
export function conditionOf({ view, panic, policy }: ServiceDetail): Condition {
  const registered = view.registered - policy.fallback.length;
  if (view.slots.length === 0) return registered === 0 ? 'empty' : 'down';
  if (view.fallback) return 'fallback';
  if (panic !== 'off') return 'panic';
  return view.available < registered ? 'partial' : 'ok';
}

export function reportService(service: ServiceDetail, source: Source, limit: number): ServiceReport {
  const weights = totalWeight(service, source);
  const instances: InstanceReport[] = [];
  for (const member of everyMember(service)) {
    if (instances.length === limit) break;
    const facts = source.fleet.explain(member);
    if (facts) instances.push(reportInstance(member, facts, source, weights));
  }
  return {
    ...summarize(service, source),
    hosts: service.policy.hosts,
    balancer: service.policy.balancer,
    instances,
    omitted: service.members.size + service.leaving.size - instances.length,
  };
}

/** `weights` is the `totalWeight` of the service. */
export function reportInstance(member: Member, facts: MemberFacts, source: Source, weights: number): InstanceReport {
  const { figures, fleet } = source;
  const { instance, slot } = member;
  const standing = fleet.columns.standing(slot);
  const latencyMs = figures.latencyMs[slot] ?? 0;
  return {
    id: facts.id,
    address: facts.address,
    zone: instance.zone,
    version: instance.version,
    weight: facts.weight,
    state: standingOf(standing),
    traffic: facts.traffic,
    why: facts.why,
    drained: standing.drained,
    leaving: facts.leaving,
    inflight: facts.inflight,
    attempts: figures.attempts[slot] ?? 0,
    failures: figures.failures[slot] ?? 0,
    latencyMs: latencyMs > 0 ? latencyMs : undefined,
    share: facts.traffic === 'full' && weights > 0 ? facts.weight / weights : 0,
  };
}

/** Over what the balancer chooses from. */
export function totalWeight(service: ServiceDetail, { figures }: Source): number {
  let total = 0;
  for (const slot of service.view.slots) total += figures.weight[slot] ?? 0;
  return total;
}

/** The one that is registered under this id, else one that is leaving. */
export function findMember(service: ServiceDetail, id: string): Member | undefined {
  const registered = service.members.get(id);
  if (registered) return registered;
  for (const member of service.leaving) if (member.instance.id === id) return member;
  return undefined;
}

export function* everyMember(service: ServiceDetail): Generator<Member> {
  yield* service.members.values();
  yield* service.leaving;
}

/** What a member may have now; cheap enough to be asked of all members of a service. */
export function trafficOf(member: Member, service: ServiceDetail, { fleet }: Source): Traffic {
  return member.leaving ? 'none' : availability(fleet.columns.standing(member.slot), service.regime).traffic;
}
