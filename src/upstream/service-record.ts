import type { Balancer } from '../balance/balancer.ts';
import type { ServicePolicy } from '../core/policy.ts';
import { COUNTED, type Counted, FACTS, type Panic, panicOf } from './availability.ts';
import type { ServiceDetail } from './directory.ts';
import type { MemberRecord } from './member-record.ts';
import { SortedSlots } from './sorted-slots.ts';
import { buildView, type View } from './view.ts';

export type ServiceSettings = Pick<ServiceDetail, 'policy' | 'balancer'>;

const NOBODY: ReadonlySet<MemberRecord> = new Set<MemberRecord>();

/** A service with its counts, which make every question about the whole of it constant time. */
export class ServiceRecord implements ServiceDetail {
  readonly name: string;
  readonly index: number;
  policy: ServicePolicy;
  balancer: Balancer;
  configured = false;
  view: View;
  panic: Panic = 'off';
  readonly members = new Map<string, MemberRecord>();
  ejectionsRefused = 0;
  /** Nobody can find it any more. */
  dropped = false;
  /** Awaits a new view. */
  dirty = false;
  /** `clock.now()` of the current view. */
  publishedAtMs = -Infinity;
  readonly counts: Record<Counted, number> = {
    available: 0,
    accountable: 0,
    readmittable: 0,
    out: 0,
    broken: 0,
    brokenInPanic: 0,
  };
  readonly #bySlot: readonly (MemberRecord | undefined)[];
  readonly #codes: Uint16Array;
  readonly #slots = new SortedSlots();
  /** Number of members of each weight. */
  readonly #weights = new Map<number, number>();
  #leaving: Set<MemberRecord> | undefined;
  /** The first of `view.trials` that may not have been taken. */
  #trial = 0;

  constructor(
    name: string,
    index: number,
    settings: ServiceSettings,
    bySlot: readonly (MemberRecord | undefined)[],
    codes: Uint16Array,
  ) {
    this.name = name;
    this.index = index;
    this.policy = settings.policy;
    this.balancer = settings.balancer;
    this.#bySlot = bySlot;
    this.#codes = codes;
    this.view = this.#build(0);
  }

  get leaving(): ReadonlySet<MemberRecord> {
    return this.#leaving ?? NOBODY;
  }

  add(member: MemberRecord): void {
    this.members.set(member.instance.id, member);
    this.#slots.add(member.slot);
    this.#count(this.#codes[member.slot] as number, 1);
    this.addWeight(member.instance.weight, 1);
  }

  /** From the members to those leaving. */
  remove(member: MemberRecord): void {
    this.members.delete(member.instance.id);
    this.#slots.delete(member.slot);
    this.#count(this.#codes[member.slot] as number, -1);
    this.addWeight(member.instance.weight, -1);
    this.#leaving ??= new Set();
    this.#leaving.add(member);
  }

  forget(member: MemberRecord): void {
    this.#leaving?.delete(member);
    if (this.#leaving?.size === 0) this.#leaving = undefined;
  }

  /** A member's standing changes from one code to another. */
  recount(from: number, to: number): void {
    this.#count(from, -1);
    this.#count(to, 1);
  }

  addWeight(weight: number, members: 1 | -1): void {
    const count = (this.#weights.get(weight) ?? 0) + members;
    if (count === 0) this.#weights.delete(weight);
    else this.#weights.set(weight, count);
  }

  mayEject(): boolean {
    const most = Math.max(1, Math.floor(this.policy.availability.maxEjectedShare * this.members.size));
    return this.counts.out < most;
  }

  /** `mayEject`, of someone who would. */
  claimEjection(): boolean {
    const may = this.mayEject();
    if (!may) this.ejectionsRefused++;
    return may;
  }

  takeTrial(): number {
    const { trials } = this.view;
    while (this.#trial < trials.length) {
      const slot = trials[this.#trial] as number;
      if (this.#bySlot[slot]?.breaker?.trialReady) return slot;
      this.#trial++;
    }
    return -1;
  }

  publish(nowMs: number): void {
    this.dirty = false;
    this.panic = panicOf(this.counts, this.policy.availability);
    this.view = this.#build(this.view.revision + 1);
    this.publishedAtMs = nowMs;
    this.#trial = 0;
  }

  #build(revision: number): View {
    return buildView({
      service: this.name,
      revision,
      members: this.#slots.current(this.members.values(), this.members.size),
      codes: this.#codes,
      counts: this.counts,
      panic: this.panic,
      uniform: this.#weights.size <= 1,
    });
  }

  #count(code: number, by: 1 | -1): void {
    const facts = FACTS[code] as number;
    COUNTED.forEach((what, at) => {
      if ((facts >> at) & 1) this.counts[what] += by;
    });
  }
}
