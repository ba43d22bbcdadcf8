import { createBalancer } from '../balance/create.ts';
import type { Balancer } from '../balance/balancer.ts';
import type { ServicePolicy } from '../core/policy.ts';
import type { Random } from '../core/random.ts';
import { SmallMap } from '../core/small-map.ts';
import {
  AVAILABLE,
  COUNTED,
  type Counted,
  FACTS,
  type Panic,
  type Regime,
  regimeIn,
  regimeOf,
  trafficIn,
} from './availability.ts';
import type { ServiceDetail } from './directory.ts';
import type { Figures } from './figures.ts';
import type { FleetBase, MemberRecord } from './member-record.ts';
import { SortedSlots } from './sorted-slots.ts';
import { buildView, patchView, type View, type ViewFrame } from './view.ts';

/** Changed members beyond which a view is built anew. */
const MAX_TOUCHED = 32;

/** What the services of one fleet share. */
export interface ServiceBase {
  readonly fleet: FleetBase;
  readonly figures: Figures;
  /** `pack`ed standings, by slot. */
  readonly codes: Uint16Array;
  readonly bySlot: readonly (MemberRecord | undefined)[];
  readonly random: Random;
}

const NOBODY: ReadonlySet<MemberRecord> = new Set();
const idOf = (member: MemberRecord): string => member.instance.id;

/**
 * A service with its counts, which make every question about the whole of it constant time. Kept small: there may be
 * 10,000, most of them with few members, and what most of them never need is made when it is needed.
 */
export class ServiceRecord implements ServiceDetail {
  readonly name: string;
  readonly index: number;
  policy: ServicePolicy;
  configured = false;
  view: View;
  regime: Regime;
  readonly members = new SmallMap<MemberRecord>(idOf);
  /** Removed since the view was made, which may still list them. */
  departing: MemberRecord[] = [];
  ejectionsRefused = 0;
  /** Nobody can find it any more. */
  dropped = false;
  /** Awaits a new view. */
  dirty = false;
  /** `clock.now()` of the current view. */
  publishedAtMs = -Infinity;
  /** Members whose weight grows. */
  ramping = 0;
  readonly counts: Record<Counted, number> = {
    available: 0,
    accountable: 0,
    doubted: 0,
    out: 0,
    broken: 0,
    brokenInPanic: 0,
    degraded: 0,
    spare: 0,
  };
  readonly base: ServiceBase;
  readonly #slots = new SortedSlots();
  /** Members whose traffic may have changed since the view. More than `MAX_TOUCHED` are not told apart. */
  readonly #touched: number[] = [];
  /** The registered weight of all members, as long as it is one. */
  #weight = 1;
  /** Number of members of each registered weight, from when there were several. */
  #weights: Map<number, number> | undefined;
  #leaving: Set<MemberRecord> | undefined;
  #balancer: Balancer | undefined;
  /** The first of `view.trials` that may not have been taken. */
  #trial = 0;

  constructor(name: string, index: number, policy: ServicePolicy, base: ServiceBase) {
    this.name = name;
    this.index = index;
    this.policy = policy;
    this.base = base;
    this.regime = regimeIn(policy.availability.mode, 'off', false);
    this.view = buildView(this.#frame(0), new Int32Array(0), base.codes);
  }

  get panic(): Panic {
    return this.regime.panic;
  }

  get leaving(): ReadonlySet<MemberRecord> {
    return this.#leaving ?? NOBODY;
  }

  /** Of this thread: with data-plane threads of their own it never chooses. */
  get balancer(): Balancer {
    return (this.#balancer ??= createBalancer(this.policy.balancer, this.base.figures, this.base.random));
  }

  setPolicy(policy: ServicePolicy): void {
    if (policy.balancer !== this.policy.balancer) this.#balancer = undefined;
    this.policy = policy;
  }

  /** A departed member still has requests in flight. */
  addLeaving(member: MemberRecord): void {
    this.#leaving ??= new Set();
    this.#leaving.add(member);
  }

  /** False where it was not among them. */
  deleteLeaving(member: MemberRecord): boolean {
    if (!this.#leaving?.delete(member)) return false;
    if (this.#leaving.size === 0) this.#leaving = undefined;
    return true;
  }

  add(member: MemberRecord): void {
    this.members.add(member);
    this.#slots.add(member.slot);
    this.#touch(member.slot);
    this.#count(this.base.codes[member.slot] as number, 1);
    this.addWeight(member.instance.weight, 1);
  }

  /** From the members to those departing. */
  remove(member: MemberRecord): void {
    this.members.delete(member.instance.id);
    this.#slots.delete(member.slot);
    this.#touch(member.slot);
    this.#count(this.base.codes[member.slot] as number, -1);
    this.addWeight(member.instance.weight, -1);
    this.departing.push(member);
  }

  /** The standing of a member changes from one code to another. */
  recount(member: MemberRecord, from: number, to: number): void {
    this.#touch(member.slot);
    this.#count(from, -1);
    this.#count(to, 1);
  }

  /** The mode of the service is another one: every member counts for something else. */
  countAnew(): void {
    for (const what of COUNTED) this.counts[what] = 0;
    const members = new Map<number, number>();
    for (const { slot } of this.members.values()) {
      const code = this.base.codes[slot] as number;
      members.set(code, (members.get(code) ?? 0) + 1);
    }
    // There are few different codes, however many members.
    for (const [code, count] of members) this.#count(code, count);
  }

  /** Obligation: whoever comes is among the members already, whoever goes is not any more. */
  addWeight(weight: number, members: 1 | -1): void {
    if (!this.#weights) {
      const others = this.members.size - Math.max(members, 0);
      if (others === 0) this.#weight = weight;
      if (weight === this.#weight) return;
      this.#weights = new Map([[this.#weight, others]]);
    }
    const count = (this.#weights.get(weight) ?? 0) + members;
    if (count === 0) this.#weights.delete(weight);
    else this.#weights.set(weight, count);
  }

  /**
   * The cap is for those who work as far as probes can tell: at most a share of them may be out on the word of traffic
   * alone. Who would have nothing anyway takes nothing from anybody, so that it counts for nothing as long as somebody
   * is available; where nobody is, a share of all must stay in: the requests that run into them find out who is back.
   */
  mayEject({ slot }: Pick<MemberRecord, 'slot'>): boolean {
    const { available, broken, out } = this.counts;
    if (out === 0) return true;
    const { mode, maxEjectedShare } = this.policy.availability;
    const isAvailable = ((FACTS[mode][this.base.codes[slot] as number] as number) & AVAILABLE) !== 0;
    if (isAvailable) return broken < Math.floor(maxEjectedShare * (available + broken));
    return available > 0 || out < Math.floor(maxEjectedShare * this.members.size);
  }

  /** `mayEject`, of someone who would. */
  claimEjection(member: MemberRecord): boolean {
    const may = this.mayEject(member);
    if (!may) this.ejectionsRefused++;
    return may;
  }

  takeTrial(): number {
    const { trials } = this.view;
    while (this.#trial < trials.length) {
      const slot = trials[this.#trial] as number;
      if (this.base.figures.breakers.trialReady(slot)) return slot;
      this.#trial++;
    }
    return -1;
  }

  publish(nowMs: number): void {
    const regime = regimeOf(this.counts, this.policy.availability);
    const patch = regime === this.regime && this.#touched.length <= MAX_TOUCHED;
    this.regime = regime;
    const frame = this.#frame(this.view.revision + 1);
    this.view = patch
      ? patchView(frame, this.view, this.#touched, (slot) => this.#kindOf(slot))
      : buildView(frame, this.#slots.current(this.members.values(), this.members.size), this.base.codes);
    this.#touched.length = 0;
    this.dirty = false;
    this.publishedAtMs = nowMs;
    this.#trial = 0;
  }

  #frame(revision: number): ViewFrame {
    const { name: service, counts, regime } = this;
    const uniform = (this.#weights?.size ?? 1) <= 1 && counts.degraded === 0 && this.ramping === 0;
    return { service, revision, counts, regime, registered: this.members.size, uniform };
  }

  #touch(slot: number): void {
    if (this.#touched.length <= MAX_TOUCHED) this.#touched.push(slot);
  }

  /** Of a slot that is or was of a member: undefined where it is no longer. */
  #kindOf(slot: number): number | undefined {
    const member = this.base.bySlot[slot];
    if (member?.service !== this || member.leaving) return undefined;
    return trafficIn(this.regime)[this.base.codes[slot] as number];
  }

  #count(code: number, by: number): void {
    const { mode } = this.policy.availability;
    for (let facts = FACTS[mode][code] as number, at = 0; facts !== 0; facts >>= 1, at++) {
      if (facts & 1) this.counts[COUNTED[at] as Counted] += by;
    }
  }
}
