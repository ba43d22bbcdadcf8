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
  readonly figures: Pick<Figures, 'latencyP99Ms' | 'lastSuccessMs'>;
}

export interface HangVerdict<W extends Waiter> {
  readonly hanging: readonly Hanging[];
  /** Trials that have taken too long already, whatever comes of them. */
  readonly lateTrials: readonly W[];
}

/** Below this an instance without samples is not slow by any standard. */
const UNKNOWN_P99_MS = 100;
/** A trial may take this many times the p99 of those who serve: who was slow must not come back slow. */
const TRIAL_FACTOR = 3;
/** Of a large service so many stand for all. */
const SAMPLED = 15;
/** A crowd is this many times what waits as long on a typical instance of the service. */
const CROWD_EXCESS = 5;

interface Tally {
  readonly member: RoutedMember;
  readonly standard: Standard;
  oldestMs: number;
  /** Attempts that have waited for as long as the service's standard allows. */
  late: number;
  /** Those among them since which no attempt has been answered: `answeredBeganMs` lies before each. */
  crowd: number;
  /** When the first of the crowd began. */
  crowdBeganMs: number;
}

/**
 * Instances that hang, by two rules. A stopped process still accepts TCP connections, so that no TCP probe and no
 * refused connection tells.
 *
 * One attempt: it has waited for longer than the policy's minimum and its multiple of the instance's own p99; the
 * instance has answered nothing since it began, and a peer has.
 *
 * A crowd of attempts: each has waited for longer than all but one in a hundred attempts on the service take, with a
 * margin, and of what began after the first of them nothing has been answered. Were the instance like its peers, five
 * such in a row would have a probability below 0.01^5. On a typical peer there is nothing like that crowd, and most
 * have answered what began as late: a service that is slow as a whole is not an instance that hangs.
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
    if (waitedMs > tally.oldestMs) tally.oldestMs = waitedMs;
    if (waiter.isTrial && waitedMs > standard.trialMs) lateTrials.push(waiter);
    if (waitedMs < standard.lateMs) continue;
    tally.late++;
    if (beganMs <= (check.waiting.answeredBeganMs[waiter.waitingOn] as number)) continue;
    tally.crowd++;
    if (beganMs < tally.crowdBeganMs) tally.crowdBeganMs = beganMs;
  }
  const hanging: Hanging[] = [];
  for (const tally of tallies.values()) {
    const cause = ofOne(tally, check) ?? ofCrowd(tally, tallies, check.waiting.answeredBeganMs);
    if (cause !== undefined) hanging.push({ slot: tally.member.slot, cause });
  }
  return { hanging, lateTrials };
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
  const tally: Tally = { member, standard, oldestMs: 0, late: 0, crowd: 0, crowdBeganMs: Infinity };
  tallies.set(slot, tally);
  return tally;
}

function ofOne<W extends Waiter>(tally: Tally, { nowMs, figures }: HangCheck<W>): string | undefined {
  const { member, standard, oldestMs } = tally;
  const { minWaitMs, p99Factor } = standard.policy;
  const p99Ms = figures.latencyP99Ms[member.slot] || UNKNOWN_P99_MS;
  if (oldestMs < minWaitMs || oldestMs < p99Factor * p99Ms) return undefined;
  const beganMs = nowMs - oldestMs;
  if ((figures.lastSuccessMs[member.slot] as number) > beganMs || !standard.answeredSince(beganMs, member.slot))
    return undefined;
  return `a request has waited for ${Math.round(oldestMs)} ms while its peers answer`;
}

function ofCrowd(tally: Tally, tallies: ReadonlyMap<number, Tally>, answeredBeganMs: Float64Array): string | undefined {
  const { member, standard, crowd, crowdBeganMs } = tally;
  const needed = standard.policy.crowd;
  if (needed === 0 || crowd < needed || crowd < CROWD_EXCESS * standard.typicalLate(member.slot, tallies))
    return undefined;
  if (!standard.keepsUp(crowdBeganMs, member.slot, tallies, answeredBeganMs)) return undefined;
  return `${crowd} requests have waited for more than ${Math.round(standard.lateMs)} ms each while its peers answer`;
}

/** What is usual with the instances of one service, at the time of one check. */
class Standard {
  readonly policy: HangPolicy;
  /** An attempt that has waited for so long is late. */
  readonly lateMs: number;
  readonly trialMs: number;
  readonly #slots: Int32Array;
  readonly #sample: readonly number[];
  readonly #figures: Pick<Figures, 'lastSuccessMs'>;
  /** The last two to answer, and when; found when they are first asked for. */
  #latest: { slot: number; atMs: number; nextAtMs: number } | undefined;

  constructor(service: RoutedService, figures: Pick<Figures, 'latencyP99Ms' | 'lastSuccessMs'>) {
    this.policy = service.policy.hang;
    this.#slots = service.view.slots;
    this.#sample = sample(this.#slots);
    this.#figures = figures;
    const p99Ms = typicalP99Ms(this.#sample, figures) || UNKNOWN_P99_MS;
    this.lateMs = Math.max(this.policy.crowdMinWaitMs, this.policy.crowdFactor * p99Ms);
    this.trialMs = trialLimitMs(service, figures);
  }

  /** Whether anybody but the one at `except` has answered since `sinceMs`. */
  answeredSince(sinceMs: number, except: number): boolean {
    const latest = (this.#latest ??= this.#findLatest());
    return (latest.slot === except ? latest.nextAtMs : latest.atMs) > sinceMs;
  }

  /** Late attempts on a typical instance, other than the one at `except`. */
  typicalLate(except: number, tallies: ReadonlyMap<number, Tally>): number {
    const others = this.#sample.filter((slot) => slot !== except);
    return lowerMedian(others.map((slot) => tallies.get(slot)?.late ?? 0));
  }

  /**
   * Whether those who have answered attempts that began after `sinceMs` are more than those who are late, among all
   * others. Where the whole service turns slow, what began before is still answered for a while.
   */
  keepsUp(
    sinceMs: number,
    except: number,
    tallies: ReadonlyMap<number, Tally>,
    answeredBeganMs: Float64Array,
  ): boolean {
    let margin = 0;
    for (const slot of this.#sample) {
      if (slot === except) continue;
      if ((answeredBeganMs[slot] as number) > sinceMs) margin++;
      else if ((tallies.get(slot)?.late ?? 0) > 0) margin--;
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

/** Evenly spread over all of them. */
function sample(slots: Int32Array): readonly number[] {
  const count = Math.min(SAMPLED, slots.length);
  return Array.from({ length: count }, (_, at) => slots[Math.floor((at * slots.length) / count)] as number);
}

/** Of those that have answered anything yet; 0 where none has. */
function typicalP99Ms(slots: readonly number[], figures: Pick<Figures, 'latencyP99Ms'>): number {
  return lowerMedian(slots.map((slot) => figures.latencyP99Ms[slot] as number).filter((p99Ms) => p99Ms > 0));
}

/** Of two the smaller one: where one of two instances is slow, the other is what is usual. */
function lowerMedian(values: number[]): number {
  values.sort((a, b) => a - b);
  return values[(values.length - 1) >> 1] ?? 0;
}
