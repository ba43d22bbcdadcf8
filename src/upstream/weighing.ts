import { COUNTED, FACTS } from './availability.ts';
import type { Figures } from './figures.ts';
import type { MemberRecord } from './member-record.ts';

/** What the weight of a member is made of: their product is what balancers go by. */
export interface WeightFactors {
  /** As registered. */
  readonly registered: number;
  /** 1 unless it is degraded. */
  readonly degraded: number;
}

const DEGRADED = 1 << COUNTED.indexOf('degraded');

/** The one place where the weight of members is set. */
export class Weighing {
  readonly #figures: Figures;
  readonly #codes: Uint16Array;

  constructor(figures: Figures, codes: Uint16Array) {
    this.#figures = figures;
    this.#codes = codes;
  }

  factorsOf(member: MemberRecord): WeightFactors {
    const facts = FACTS[this.#codes[member.slot] as number] as number;
    const { degradedWeight } = member.service.policy.availability;
    return { registered: member.instance.weight, degraded: facts & DEGRADED ? degradedWeight : 1 };
  }

  /** To be called whenever a factor may have changed; the view of the service has to follow. */
  weigh(member: MemberRecord): void {
    const { registered, degraded } = this.factorsOf(member);
    this.#figures.weight[member.slot] = registered * degraded;
  }
}
