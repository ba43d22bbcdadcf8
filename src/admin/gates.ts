import type { CheckEvidence } from '../health/evidence.ts';
import { isLimited, limitOf } from '../proxy/limits.ts';
import type { Member } from '../upstream/directory.ts';
import { isFallback } from '../upstream/fallback.ts';
import type { GateReport as GateFacts, InstanceReport as MemberFacts } from '../upstream/explain.ts';
import { ageText } from './age.ts';
import type { AdminDeps } from './deps.ts';
import type { GateReport, InstanceReport } from './reports.ts';

type Deps = Pick<AdminDeps, 'clock' | 'figures' | 'timeline' | 'probesOf' | 'originsOf'>;

/**
 * Gate by gate, in the order in which they are asked, then what the balancer makes of the instance: the facts of the
 * fleet, with what registries, probes and the timeline know beside them.
 */
export function gatesOf(member: Member, facts: MemberFacts, report: InstanceReport, deps: Deps): readonly GateReport[] {
  const gates = facts.gates.map((gate): GateReport => {
    const verdict = gate.passes ? 'pass' : 'stop';
    const forMs = deps.clock.wall() - gate.sinceMs;
    return { gate: gate.gate, verdict, text: gate.state, forMs, evidence: [], ...wordsOf(gate, member, facts, deps) };
  });
  return [...gates, ...fallbackGate(member, facts), balancerGate(member, facts, report, deps)];
}

type Words = Partial<Pick<GateReport, 'verdict' | 'text' | 'evidence'>>;

function wordsOf(gate: GateFacts, member: Member, facts: MemberFacts, deps: Deps): Words {
  switch (gate.gate) {
    case 'registered':
      return registered(gate, member, deps);
    case 'drain':
      return { text: gate.passes ? 'not drained' : 'drained by an operator' };
    case 'ejection':
      return { text: gate.passes ? 'not ejected' : `ejected${lastCause(member, 'ejection', deps)}${backIn(facts)}` };
    case 'breaker':
      return breaker(gate, member, facts, deps);
    case 'probe':
      return probe(gate, member, facts, deps);
  }
}

function registered(gate: GateFacts, { instance, leaving }: Member, deps: Deps): Words {
  const evidence = deps.originsOf(instance.service, instance.id).map((origin) => {
    const alias = origin.registeredId === instance.id ? '' : ` as ${origin.registeredId}`;
    const weight = origin.decides ? '' : ' (does not decide)';
    const held = origin.held ? '; gone from it, and held by the guard until that is confirmed' : '';
    const age = ageText(deps.clock.wall() - origin.sinceWallMs);
    return `${origin.registry}${alias}: ${origin.state}, since ${age}${weight}${held}`;
  });
  if (leaving) return { verdict: 'stop', text: 'no longer registered, finishes what is in flight', evidence };
  const text = gate.note === undefined ? gate.state : `${gate.state}: ${gate.note}`;
  if (isFallback(instance)) return { text: 'configured as fallback' };
  if (!gate.passes || gate.state !== 'down') return { text, evidence };
  return { verdict: 'overruled', text: `${text}; its probes pass, and the mode is trust-probes`, evidence };
}

function breaker(gate: GateFacts, member: Member, facts: MemberFacts, deps: Deps): Words {
  if (!member.service.policy.breaker.enabled) return { text: 'switched off' };
  if (!facts.breaker) return { text: `${gate.state}, no request yet` };
  const { successes, failures, consecutiveFailures, openForMs } = facts.breaker;
  const evidence = [
    `${count(successes, 'success')} and ${count(failures, 'failure')} in the window, ${count(consecutiveFailures, 'failure')} in a row`,
  ];
  if (gate.state === 'half-open') return { verdict: 'trial', text: 'half-open: one trial at a time', evidence };
  if (gate.passes) return { evidence };
  const left = openForMs === undefined ? '' : `, next trial in ${ageText(openForMs)}`;
  return { text: `${gate.state}${lastCause(member, 'breaker', deps)}${left}`, evidence };
}

function probe(gate: GateFacts, member: Member, facts: MemberFacts, deps: Deps): Words {
  const checks = deps.probesOf(member)?.checks ?? [];
  const evidence = checks.map((check) => checkText(check, deps));
  const passing = gate.state === 'passing' || gate.state === 'degraded';
  if (passing) return { evidence };
  const blamed = checks.find((check) => check.state !== 'passing' && check.state !== 'degraded');
  const seen = blamed?.last === undefined ? '' : `, ${blamed.last.text}`;
  const note = gate.note === undefined ? '' : ` (${gate.note})`;
  const text = `${gate.state}${seen}${note}`;
  if (gate.passes) return { verdict: 'overruled', text: `${text}; the mode is trust-registry`, evidence };
  return { verdict: facts.why === 'panic' ? 'overruled' : 'stop', text, evidence };
}

function checkText(check: CheckEvidence, deps: Deps): string {
  const { last, consecutiveFailures, consecutiveSuccesses, discarded, activity, nextInMs } = check;
  const row =
    consecutiveFailures > 0
      ? `${count(consecutiveFailures, 'failure')} in a row (out at ${check.unhealthyThreshold})`
      : `${count(consecutiveSuccesses, 'success')} in a row (in at ${check.healthyThreshold})`;
  const seen = last
    ? `${last.text}, ${ageText(deps.clock.wall() - last.atWallMs)} ago, took ${ageText(last.durationMs)}; ${row}`
    : 'no result yet';
  const due = nextInMs === undefined ? '' : `; next in ${ageText(nextInMs)}`;
  const next = activity === 'waiting' ? due : `; ${activity} now`;
  const ignored = discarded === undefined ? '' : `; not counted: ${discarded}`;
  const name = check.name === check.type ? check.name : `${check.name} (${check.type})`;
  return `${name}: ${check.state}, ${seen}${next}${ignored}`;
}

function fallbackGate({ service }: Member, { fallback }: MemberFacts): readonly GateReport[] {
  if (!fallback) return [];
  const inUse = service.view.fallback;
  const text = inUse ? 'in use: nobody else is available' : 'in reserve: others are available';
  const evidence = [`${count(service.view.available, 'registered instance')} available`];
  return [{ gate: 'fallback', verdict: inUse ? 'pass' : 'stop', text, evidence }];
}

function balancerGate(member: Member, facts: MemberFacts, report: InstanceReport, { figures }: Deps): GateReport {
  const { policy } = member.service;
  const limit = isLimited(policy) ? limitOf(policy, figures, member.slot) : undefined;
  const found = policy.adaptiveLimit ? ' as found' : '';
  const busy = `${report.inflight} in flight${limit === undefined ? '' : ` of at most ${limit}${found}`}`;
  const speed = report.latencyMs === undefined ? '' : `, ${report.latencyMs.toFixed(1)} ms to the response head`;
  const evidence = [
    `${busy}${speed}`,
    `${count(report.attempts, 'attempt')}, ${report.failures} failed`,
    ...weightText(facts),
  ];
  if (report.traffic === 'none') return { gate: 'balancer', verdict: 'stop', text: 'does not see it', evidence };
  if (report.traffic === 'trial') return { gate: 'balancer', verdict: 'trial', text: 'waits for the trial', evidence };
  if (limit !== undefined && report.inflight >= limit) {
    const text = 'passed over: at its limit of requests in flight';
    return { gate: 'balancer', verdict: 'stop', text, evidence };
  }
  const share = `${(report.share * 100).toFixed(report.share < 0.1 ? 1 : 0)} % of the traffic by weight`;
  return { gate: 'balancer', verdict: 'pass', text: `${policy.balancer}: ${share}`, evidence };
}

/** Only where the weight is not simply the registered one. */
function weightText({ weight, weightFactors: { registered, degraded, slowStart } }: MemberFacts): string[] {
  if (degraded === 1 && slowStart === 1) return [];
  const factors = [
    `${registered} registered`,
    ...(degraded === 1 ? [] : [`${degraded} degraded`]),
    ...(slowStart === 1 ? [] : [`${slowStart.toFixed(2)} slow start`]),
  ];
  return [`weight ${Number(weight.toPrecision(3))} = ${factors.join(' x ')}`];
}

function backIn({ ejectedForMs }: MemberFacts): string {
  return ejectedForMs === undefined ? '' : `, back in ${ageText(ejectedForMs)}`;
}

/** Why the gate last changed, out of the timeline: `: 5 failures in a row`. */
function lastCause({ instance }: Member, kind: 'ejection' | 'breaker', deps: Deps): string {
  const event = deps.timeline.of(instance.service, instance.id).findLast((entry) => entry.kind === kind);
  return event ? `: ${event.cause}` : '';
}

function count(number: number, word: string): string {
  return `${number} ${word}${number === 1 ? '' : word.endsWith('s') ? 'es' : 's'}`;
}
