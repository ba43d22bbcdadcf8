import type { HangPolicy } from '../core/policy.ts';
import type { RoutedMember, RoutedService } from '../upstream/directory.ts';
import type { Figures } from '../upstream/figures.ts';
import type { Waiter, WaitingList } from './waiting.ts';

export interface Hanging {
  readonly slot: number;
  readonly cause: string;
}

export interface HangCheck<W extends Waiter> {
  readonly waiting: Pick<WaitingList<W>, 'all' | 'answeredBeganMs'>;
  readonly nowMs: number;
  readonly members: readonly (RoutedMember | undefined)[];
  readonly figures: HangFigures;
}

type HangFigures = Pick<Figures, 'latencyMs' | 'latencyP99Ms' | 'lastSuccessMs'>;

export interface HangVerdict<W extends Waiter> {
  readonly hanging: readonly Hanging[];
  /** Trials that have taken too long already, whatever comes of them. */
  readonly lateTrials: readonly W[];
  /** They have waited as long as one of those that hang, and there is no telling whether their instances do. */
  readonly overdue: readonly W[];
}

/** Below this an instance without samples is not slow by any standard. */
const UNKNOWN_P99_MS = 100;
/** A trial may take this many times the p99 of those who serve: who was slow must not come back slow. */
const TRIAL_FACTOR = 3;
/** Of a large service so many stand for all. */
const SAMPLED = 15;
/** A crowd is this many times what waits as long on a typical instance of the service. */
const CROWD_EXCESS = 5;
/** Twice as many as make a crowd need only have waited for twice the average. */
const LARGE_CROWD = 2;
const AVERAGE_FACTOR = 2;

/** How long an attempt must have waited to be late, and how many late ones are too many. */
interface Measure {
  readonly lateMs: number;
  readonly needed: number;
}

/** Attempts on one instance that are late by one measure. */
interface Crowd {
  late: number;
  /** Those among them since which no attempt has been answered: `answeredBeganMs` lies before each. */
  unanswered: number;
  /** When the first of those began. */
  beganMs: number;
}

interface Tally {
  readonly member: RoutedMember;
  readonly standard: Standard;
  /** How long the first has waited. */
  longestMs: number;
  /** And the first of those since which the instance has answered nothing. */
  unansweredMs: number;
  /** By each measure of the standard. */
  readonly crowds: readonly Crowd[];
}

type Tallies = ReadonlyMap<number, Tally>;

/**
 * Instances that hang, by two rules. A stopped process still accepts TCP connections, so that no TCP probe and no
 * refused connection tells.
 *
 * One attempt: it has waited for longer than the policy's minimum and its multiple of the instance's own p99; the
 * instance has answered nothing since it began, and a peer has.
 *
 * Where no peer was asked anything since, as with a lone client, or where the instance has answered after the attempt
 * began but nothing for as long by now, there is no telling: the attempt is overdue.
 *
 * A crowd of attempts: each has waited for longer than all but one in a hundred attempts on the service take, with a
 * margin, and of what began after the first of them nothing has been answered. Were the instance like its peers, five
 * such in a row would have a probability below 0.01^5. Twice as many tell as much sooner: that each takes more than
 * twice the average has a probability below 0.15^10, be the times distributed exponentially or with a longer tail. On
 * a typical peer there is nothing like that crowd, and most have answered what began as late: a service that is slow as
 * a whole is not an instance that hangs.
 */
export function findHanging<W extends Waiter>(check: HangCheck<W>): HangVerdict<W> {
  const standards = new Map<RoutedService, Standard>();
  const tallies = new Map<number, Tally>();
  const lateTrials: W[] = [];
  for (const waiter of check.waiting.all) {
    const tally = waiter.answerDue ? tallyOf(waiter.waitingOn, check, standards, tallies) : undefined;
    if (!tally) continue;
    const { standard } = tally;
    const beganMs = waiter.attemptBeganMs;
    const waitedMs = check.nowMs - beganMs;
    if (waitedMs > tally.longestMs) tally.longestMs = waitedMs;
    const silent = beganMs >= (check.figures.lastSuccessMs[waiter.waitingOn] as number);
    if (silent && waitedMs > tally.unansweredMs) tally.unansweredMs = waitedMs;
    if (waiter.isTrial && waitedMs > standard.trialMs) lateTrials.push(waiter);
    const unanswered = beganMs > (check.waiting.answeredBeganMs[waiter.waitingOn] as number);
    for (const [at, { lateMs }] of standard.measures.entries()) {
      if (waitedMs >= lateMs) join(tally.crowds[at] as Crowd, beganMs, unanswered);
    }
  }
  const hanging: Hanging[] = [];
  const doubtful = new Map<number, Tally>();
  for (const tally of tallies.values()) {
    const cause = ofOne(tally, check) ?? ofCrowd(tally, tallies, check.waiting.answeredBeganMs);
    if (cause !== undefined) hanging.push({ slot: tally.member.slot, cause });
    else if (isDoubtful(tally, check)) doubtful.set(tally.member.slot, tally);
  }
  return { hanging, lateTrials, overdue: doubtful.size === 0 ? [] : overdueOn(doubtful, check) };
}

function overdueOn<W extends Waiter>(doubtful: Tallies, check: HangCheck<W>): readonly W[] {
  return check.waiting.all.filter((waiter) => {
    const tally = waiter.answerDue && !waiter.isTrial ? doubtful.get(waiter.waitingOn) : undefined;
    return tally !== undefined && check.nowMs - waiter.attemptBeganMs >= limitOfOne(tally, check);
  });
}

/** The longest that a trial of an instance of this service may take, milliseconds; Infinity where there is no telling. */
export function trialLimitMs({ policy, view }: RoutedService, figures: Pick<Figures, 'latencyP99Ms'>): number {
  const p99Ms = typicalP99Ms(sample(view.slots), figures);
  return p99Ms > 0 && policy.hang.enabled ? Math.max(policy.hang.crowdMinWaitMs, TRIAL_FACTOR * p99Ms) : Infinity;
}

function tallyOf<W extends Waiter>(
  slot: number,
  { members, figures }: HangCheck<W>,
  standards: Map<RoutedService, Standard>,
  tallies: Map<number, Tally>,
): Tally | undefined {
  const known = tallies.get(slot);
  if (known) return known;
  const member = members[slot];
  if (!member?.service.policy.hang.enabled) return undefined;
  const { service } = member;
  let standard = standards.get(service);
  if (!standard) standards.set(service, (standard = new Standard(service, figures)));
  const crowds = standard.measures.map((): Crowd => ({ late: 0, unanswered: 0, beganMs: Infinity }));
  const tally: Tally = { member, standard, longestMs: 0, unansweredMs: 0, crowds };
  tallies.set(slot, tally);
  return tally;
}

/** How long one attempt may wait. */
function limitOfOne<W extends Waiter>({ member, standard }: Tally, { figures }: HangCheck<W>): number {
  const { minWaitMs, p99Factor } = standard.policy;
  return Math.max(minWaitMs, p99Factor * (figures.latencyP99Ms[member.slot] || UNKNOWN_P99_MS));
}

function ofOne<W extends Waiter>(tally: Tally, check: HangCheck<W>): string | undefined {
  const { member, standard, unansweredMs } = tally;
  if (unansweredMs < limitOfOne(tally, check)) return undefined;
  if (!standard.answeredSince(check.nowMs - unansweredMs, member.slot)) return undefined;
  return `a request has waited for ${Math.round(unansweredMs)} ms while its peers answer`;
}

/** Somebody waits for too long on an instance that has answered nothing for as long. */
function isDoubtful<W extends Waiter>(tally: Tally, check: HangCheck<W>): boolean {
  const limitMs = limitOfOne(tally, check);
  const silentMs = check.nowMs - (check.figures.lastSuccessMs[tally.member.slot] as number);
  return tally.longestMs >= limitMs && silentMs >= limitMs && tally.standard.isKnown;
}

function join(crowd: Crowd, beganMs: number, unanswered: boolean): void {
  crowd.late++;
  if (!unanswered) return;
  crowd.unanswered++;
  if (beganMs < crowd.beganMs) crowd.beganMs = beganMs;
}

function ofCrowd({ member, standard, crowds }: Tally, tallies: Tallies, answered: Float64Array): string | undefined {
  for (const [at, { lateMs, needed }] of standard.measures.entries()) {
    const { unanswered, beganMs } = crowds[at] as Crowd;
    if (unanswered < needed || unanswered < CROWD_EXCESS * standard.typicalLate(at, member.slot, tallies)) continue;
    if (!standard.keepsUp(at, beganMs, member.slot, tallies, answered)) continue;
    return `${unanswered} requests have waited for more than ${Math.round(lateMs)} ms each while its peers answer`;
  }
  return undefined;
}

/** What is usual with the instances of one service, at the time of one check. */
class Standard {
  readonly policy: HangPolicy;
  /** What makes a crowd; none where the policy wants none. */
  readonly measures: readonly Measure[];
  readonly trialMs: number;
  /** Somebody has answered something: what is long is known. */
  readonly isKnown: boolean;
  readonly #slots: Int32Array;
  readonly #sample: readonly number[];
  readonly #figures: Pick<Figures, 'lastSuccessMs'>;
  /** The last two to answer, and when; found when they are first asked for. */
  #latest: { slot: number; atMs: number; nextAtMs: number } | undefined;

  constructor(service: RoutedService, figures: HangFigures) {
    this.policy = service.policy.hang;
    this.#slots = service.view.slots;
    this.#sample = sample(this.#slots);
    this.#figures = figures;
    this.measures = measuresOf(this.policy, this.#sample, figures);
    this.trialMs = trialLimitMs(service, figures);
    this.isKnown = typicalP99Ms(this.#sample, figures) > 0;
  }

  /** Whether anybody but the one at `except` has answered since `sinceMs`. */
  answeredSince(sinceMs: number, except: number): boolean {
    const latest = (this.#latest ??= this.#findLatest());
    return (latest.slot === except ? latest.nextAtMs : latest.atMs) > sinceMs;
  }

  /** Late attempts, by one of the measures, on a typical instance other than the one at `except`. */
  typicalLate(measure: number, except: number, tallies: Tallies): number {
    const others = this.#sample.filter((slot) => slot !== except);
    return lowerMedian(others.map((slot) => tallies.get(slot)?.crowds[measure]?.late ?? 0));
  }

  /**
   * Whether those who have answered attempts that began after `sinceMs` are more than those who are late, among all
   * others. Where the whole service turns slow, what began before is still answered for a while.
   */
  keepsUp(measure: number, sinceMs: number, except: number, tallies: Tallies, answeredBeganMs: Float64Array): boolean {
    let margin = 0;
    for (const slot of this.#sample) {
      if (slot === except) continue;
      if ((answeredBeganMs[slot] as number) > sinceMs) margin++;
      else if ((tallies.get(slot)?.crowds[measure]?.late ?? 0) > 0) margin--;
    }
    return margin > 0;
  }

  #findLatest(): { slot: number; atMs: number; nextAtMs: number } {
    const latest = { slot: -1, atMs: -Infinity, nextAtMs: -Infinity };
    for (const slot of this.#slots) {
      const atMs = this.#figures.lastSuccessMs[slot] as number;
      if (atMs > latest.atMs) {
        latest.nextAtMs = latest.atMs;
        latest.atMs = atMs;
        latest.slot = slot;
      } else if (atMs > latest.nextAtMs) latest.nextAtMs = atMs;
    }
    return latest;
  }
}

function measuresOf(policy: HangPolicy, slots: readonly number[], figures: HangFigures): readonly Measure[] {
  const { crowd, crowdFactor, crowdMinWaitMs } = policy;
  if (crowd === 0) return [];
  const p99Ms = typicalP99Ms(slots, figures) || UNKNOWN_P99_MS;
  const averageMs = typical(slots, figures.latencyMs) || p99Ms;
  return [
    { lateMs: Math.max(crowdMinWaitMs, crowdFactor * p99Ms), needed: crowd },
    { lateMs: Math.max(crowdMinWaitMs, AVERAGE_FACTOR * averageMs), needed: LARGE_CROWD * crowd },
  ];
}

/** Evenly spread over all of them. */
function sample(slots: Int32Array): readonly number[] {
  const count = Math.min(SAMPLED, slots.length);
  return Array.from({ length: count }, (_, at) => slots[Math.floor((at * slots.length) / count)] as number);
}

function typicalP99Ms(slots: readonly number[], { latencyP99Ms }: Pick<Figures, 'latencyP99Ms'>): number {
  return typical(slots, latencyP99Ms);
}

/** Of those that have answered anything yet; 0 where none has. */
function typical(slots: readonly number[], column: Float64Array): number {
  return lowerMedian(slots.map((slot) => column[slot] as number).filter((ms) => ms > 0));
}

/** Of two the smaller one: where one of two instances is slow, the other is what is usual. */
function lowerMedian(values: number[]): number {
  values.sort((a, b) => a - b);
  return values[(values.length - 1) >> 1] ?? 0;
}
