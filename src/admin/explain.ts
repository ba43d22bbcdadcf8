import { addressOf } from '../core/instance.ts';
import type { Member, ServiceDetail } from '../upstream/directory.ts';
import type { InstanceReport as MemberFacts } from '../upstream/explain.ts';
import { ageText } from './age.ts';
import type { AdminDeps } from './deps.ts';
import { gatesOf } from './gates.ts';
import type { ExplainReport, GateReport, InstanceExplanation, InstanceReport } from './reports.ts';
import { everyMember, reportInstance, totalWeight, trafficOf } from './service-report.ts';

/** Instances explained in one answer: those that do not take traffic come first. */
const MOST_EXPLAINED = 100;
/** Instances named in the conclusion. */
const MOST_NAMED = 3;

export interface ExplainQuestion {
  readonly host?: string | undefined;
  /** Only this one. */
  readonly member?: Member | undefined;
  /** Only those with this in their id or address. The conclusion is about all of them nevertheless. */
  readonly part?: string | undefined;
  /** Of those that would be answered, idle ones first: how many to leave out, and how many to tell at most. */
  readonly offset?: number | undefined;
  readonly limit?: number | undefined;
}

export function explain(service: ServiceDetail, deps: AdminDeps, question: ExplainQuestion = {}): ExplainReport {
  const weights = totalWeight(service, deps);
  const members = question.member ? [question.member] : [...everyMember(service)];
  const idle: Member[] = [];
  const busy: Member[] = [];
  for (const member of members) (trafficOf(member, service, deps) === 'full' ? busy : idle).push(member);
  const matching = [...idle, ...busy].filter((member) => matches(member, question.part));
  const { offset = 0, limit = MOST_EXPLAINED } = question;
  const page = matching.slice(offset, offset + Math.min(limit, MOST_EXPLAINED));
  const instances = explainAll(page, deps, weights);
  const { view } = service;
  return {
    service: service.name,
    host: question.host,
    conclusion: question.member
      ? concludeInstance(service.name, instances[0])
      : concludeService(service, explainAll(idle.slice(0, MOST_NAMED), deps, weights), idle.length),
    registered: view.registered,
    available: view.available,
    takingTraffic: view.slots.length,
    panic: service.panic,
    fallback: service.regime.fallback,
    mode: service.regime.mode,
    balancer: service.policy.balancer,
    instances,
    omitted: matching.length - instances.length,
    history: deps.timeline.of(service.name),
  };
}

function matches({ instance }: Member, part: string | undefined): boolean {
  return part === undefined || instance.id.includes(part) || addressOf(instance).includes(part);
}

function explainAll(members: readonly Member[], deps: AdminDeps, weights: number): readonly InstanceExplanation[] {
  return members.flatMap((member) => {
    const facts = deps.fleet.explain(member);
    return facts ? [explainInstance(member, facts, deps, weights)] : [];
  });
}

function explainInstance(member: Member, facts: MemberFacts, deps: AdminDeps, weights: number): InstanceExplanation {
  const report = reportInstance(member, facts, deps, weights);
  const gates = gatesOf(member, facts, report, deps);
  const history = deps.timeline.of(member.instance.service, member.instance.id);
  return { ...report, reason: report.traffic === 'full' ? undefined : reasonOf(report, gates), gates, history };
}

function reasonOf(report: InstanceReport, gates: readonly GateReport[]): string {
  if (report.why === 'panic-reject') return 'panic: too few instances are available, and the policy is to reject';
  const blocking = gates.find(({ verdict }) => verdict === 'stop' || verdict === 'trial');
  if (!blocking) return report.why;
  const { gate, text, forMs } = blocking;
  const subject = gate === 'registered' && !report.leaving ? 'the registry says ' : SUBJECTS.get(gate);
  return `${subject ?? ''}${text}${since(forMs)}`;
}

/** Of gates whose text does not speak for itself. */
const SUBJECTS: ReadonlyMap<GateReport['gate'], string> = new Map([
  ['breaker', 'breaker '],
  ['probe', 'probe '],
]);

function since(forMs: number | undefined): string {
  return forMs === undefined ? '' : `, since ${ageText(forMs)}`;
}

const DESPITE: ReadonlyMap<string, string> = new Map([
  ['panic', ', only because panic ignores probe verdicts'],
  ['fallback', ', only because nobody else is available'],
]);

function concludeInstance(service: string, instance: InstanceExplanation | undefined): string {
  if (!instance) return `${service}: no such instance`;
  const name = `${service}/${instance.id}`;
  if (instance.traffic === 'full') {
    const despite = DESPITE.get(instance.why) ?? '';
    return `${name} takes ${(instance.share * 100).toFixed(0)} % of the traffic by weight${despite}`;
  }
  const verb = instance.traffic === 'trial' ? 'takes only trials' : 'does not take traffic';
  return `${name} ${verb}: ${instance.reason ?? instance.why}`;
}

/** `first` are the first few of those that do not take traffic. */
function concludeService(service: ServiceDetail, first: readonly InstanceExplanation[], idle: number): string {
  const { name, view, panic } = service;
  if (view.registered === 0 && idle === 0) {
    return `${name}: no instance is registered; requests get 503 (UH)`;
  }
  const taking = view.slots.length;
  const head = `${name}: ${taking === 0 ? 'none' : taking} of ${count(view.registered)} ${taking > 1 ? 'take' : 'takes'} traffic`;
  const panicText =
    panic === 'route'
      ? `; PANIC: only ${view.available} available, so probe verdicts are ignored`
      : panic === 'reject'
        ? `; PANIC: only ${view.available} available, so requests are rejected`
        : '';
  const named = first.map((instance) => {
    const verb = instance.traffic === 'trial' ? 'takes only trials' : 'does not';
    return `; ${instance.id} ${verb}: ${instance.reason ?? instance.why}`;
  });
  const rest = idle > MOST_NAMED ? `; and ${idle - MOST_NAMED} more` : '';
  const reply =
    view.empty === undefined ? '' : `; requests get 503 (${view.empty === 'all-breakers-open' ? 'UO' : 'UH'})`;
  const fallback = service.regime.fallback ? '; FALLBACK: only fallback instances are sent to' : '';
  const { mode } = service.regime;
  const trust = mode === 'strict' ? '' : `; the mode is ${mode}`;
  return `${head}${panicText}${fallback}${trust}${named.join('')}${rest}${reply}`;
}

function count(instances: number): string {
  return `${instances} ${instances === 1 ? 'instance' : 'instances'}`;
}
