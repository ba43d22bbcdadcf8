import type { CheckEvidence } from '../health/evidence.ts';
import type { Gate } from '../upstream/availability.ts';
import type { Member } from '../upstream/directory.ts';
import { ageText } from './age.ts';
import type { AdminDeps } from './deps.ts';
import type { GateReport, InstanceReport } from './reports.ts';
import { standingAt } from './service-report.ts';

type Deps = Pick<AdminDeps, 'clock' | 'timeline' | 'fleet' | 'probesOf' | 'originsOf'>;

/** Gate by gate, in the order in which they are asked, then what the balancer makes of the instance. */
export function gatesOf(member: Member, report: InstanceReport, deps: Deps): readonly GateReport[] {
  return [
    registeredGate(member, deps),
    drainGate(member, deps),
    ejectionGate(member, deps),
    breakerGate(member, deps),
    probeGate(member, report, deps),
    balancerGate(member, report),
  ];
}

function registeredGate(member: Member, deps: Deps): GateReport {
  const { instance, health, leaving } = member;
  const evidence = deps.originsOf(instance.service, instance.id).map((origin) => {
    const held = origin.held ? '; gone from it, and held by the guard until that is confirmed' : '';
    const alias = origin.registeredId === instance.id ? '' : ` as ${origin.registeredId}`;
    const forMs = deps.clock.wall() - origin.sinceWallMs;
    return `${origin.registry}${alias}: ${origin.state}, since ${ageText(forMs)}${origin.decides ? '' : ' (does not decide)'}${held}`;
  });
  const because = instance.stateReason === undefined ? '' : `: ${instance.stateReason}`;
  if (leaving)
    return gate(member, 'registered', 'stop', 'no longer registered, finishes what is in flight', deps, evidence);
  return gate(
    member,
    'registered',
    health.registered === 'down' ? 'stop' : 'pass',
    `${health.registered}${because}`,
    deps,
    evidence,
  );
}

function drainGate(member: Member, deps: Deps): GateReport {
  const { drained } = member.health;
  return gate(member, 'drain', drained ? 'stop' : 'pass', drained ? 'drained by an operator' : 'not drained', deps);
}

function ejectionGate(member: Member, deps: Deps): GateReport {
  const { ejected } = member.health;
  if (!ejected) return gate(member, 'ejection', 'pass', 'not ejected', deps);
  return gate(member, 'ejection', 'stop', `ejected${lastCause(member, 'ejection', deps)}`, deps);
}

function breakerGate(member: Member, deps: Deps): GateReport {
  const { breaker, health, service } = member;
  if (!service.policy.breaker.enabled) return gate(member, 'breaker', 'pass', 'switched off', deps);
  if (!breaker) return gate(member, 'breaker', 'pass', 'closed, no request yet', deps);
  const { successes, failures, consecutiveFailures } = breaker.counts;
  const counts = `${successes} successes and ${failures} failures in the window, ${consecutiveFailures} failures in a row`;
  if (health.breaker === 'closed') return gate(member, 'breaker', 'pass', 'closed', deps, [counts]);
  if (health.breaker === 'half-open') {
    return gate(member, 'breaker', 'trial', 'half-open: one trial at a time', deps, [counts]);
  }
  const until = breaker.openUntilMs;
  const left = until === undefined ? '' : `, next trial in ${ageText(until - deps.clock.now())}`;
  return gate(member, 'breaker', 'stop', `open${lastCause(member, 'breaker', deps)}${left}`, deps, [counts]);
}

function probeGate(member: Member, report: InstanceReport, deps: Deps): GateReport {
  const { probe, passedOnce } = standingAt(member, deps);
  const checks = deps.probesOf(member)?.checks ?? [];
  const evidence = checks.map((check) => checkText(check, deps));
  if (probe === 'passing' || probe === 'degraded') return gate(member, 'probe', 'pass', probe, deps, evidence);
  const blamed = checks.find((check) => check.state !== 'passing' && check.state !== 'degraded');
  const seen = blamed?.last === undefined ? '' : `, ${blamed.last.text}`;
  const words = probe === 'failing' ? 'failing' : passedOnce ? 'not answered since its checks changed' : 'unknown';
  const never = passedOnce ? '' : ' (none has passed yet)';
  const verdict = report.why === 'panic' ? 'overruled' : 'stop';
  return gate(member, 'probe', verdict, `${words}${seen}${never}`, deps, evidence);
}

function checkText(check: CheckEvidence, deps: Deps): string {
  const { last, consecutiveFailures, consecutiveSuccesses } = check;
  const row =
    consecutiveFailures > 0
      ? `${consecutiveFailures} failures in a row (out at ${check.unhealthyThreshold})`
      : `${consecutiveSuccesses} successes in a row (in at ${check.healthyThreshold})`;
  const seen = last
    ? `${last.text}, ${ageText(deps.clock.wall() - last.atWallMs)} ago, took ${ageText(last.durationMs)}; ${row}`
    : 'no result yet';
  const next =
    check.activity !== 'waiting'
      ? `; ${check.activity} now`
      : check.nextInMs === undefined
        ? ''
        : `; next in ${ageText(check.nextInMs)}`;
  const discarded = check.discarded === undefined ? '' : `; not counted: ${check.discarded}`;
  const name = check.name === check.type ? check.name : `${check.name} (${check.type})`;
  return `${name}: ${check.state}, ${seen}${next}${discarded}`;
}

function balancerGate(member: Member, report: InstanceReport): GateReport {
  const { balancer, maxInflightPerInstance: limit } = member.service.policy;
  const busy = `${report.inflight} in flight${limit > 0 ? ` of at most ${limit}` : ''}`;
  const speed = report.latencyMs === undefined ? '' : `, ${report.latencyMs.toFixed(1)} ms to the response head`;
  const evidence = [`${busy}${speed}`, `${report.attempts} attempts, ${report.failures} failed`];
  if (report.traffic === 'none') return { gate: 'balancer', verdict: 'stop', text: 'does not see it', evidence };
  if (report.traffic === 'trial') return { gate: 'balancer', verdict: 'trial', text: 'waits for the trial', evidence };
  const full = limit > 0 && report.inflight >= limit;
  const share = `${(report.share * 100).toFixed(report.share < 0.1 ? 1 : 0)} % of the traffic by weight`;
  return {
    gate: 'balancer',
    verdict: full ? 'stop' : 'pass',
    text: full ? 'passed over: at its limit of requests in flight' : `${balancer}: ${share}`,
    evidence,
  };
}

function gate(
  member: Member,
  name: Gate,
  verdict: GateReport['verdict'],
  text: string,
  deps: Deps,
  evidence: readonly string[] = [],
): GateReport {
  return {
    gate: name,
    verdict,
    text,
    forMs: deps.clock.wall() - deps.fleet.columns.since(member.slot, name),
    evidence,
  };
}

/** Why the gate last changed, out of the timeline: `: 5 failures in a row`. */
function lastCause({ instance }: Member, kind: 'ejection' | 'breaker', deps: Deps): string {
  const event = deps.timeline.of(instance.service, instance.id).findLast((entry) => entry.kind === kind);
  return event ? `: ${event.cause}` : '';
}
