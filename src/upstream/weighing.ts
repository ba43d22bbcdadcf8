import type { Clock } from '../core/clock.ts';
import { AVAILABLE, COUNTED, FACTS } from './availability.ts';
import type { Figures } from './figures.ts';
import type { MemberRecord } from './member-record.ts';
import type { ServiceRecord } from './service-record.ts';
import { Ramps } from './slow-start.ts';

/** What the weight of a member is made of: their product is what balancers go by. */
export interface WeightFactors {
  /** As registered. */
  readonly registered: number;
  /** 1 unless it is degraded. */
  readonly degraded: number;
  /** 1 unless it became available a short while ago. */
  readonly slowStart: number;
}

export interface WeighingOptions {
  readonly clock: Clock;
  readonly figures: Figures;
  /** `pack`ed standings, by slot. */
  readonly codes: Uint16Array;
  /** Weights of the service have changed by themselves. */
  readonly onChange: (service: ServiceRecord) => void;
}

const DEGRADED = 1 << COUNTED.indexOf('degraded');

/** The one place where the weight of members is set. Views of a service have to follow each call but those of `onChange`. */
export class Weighing {
  readonly #options: WeighingOptions;
  readonly #ramps: Ramps;

  constructor(options: WeighingOptions) {
    this.#options = options;
    this.#ramps = new Ramps({
      clock: options.clock,
      onShare: (member) => {
        this.weigh(member);
      },
      onStep: options.onChange,
    });
  }

  factorsOf(member: MemberRecord): WeightFactors {
    const { degradedWeight } = member.service.policy.availability;
    return {
      registered: member.instance.weight,
      degraded: this.#factsOf(member) & DEGRADED ? degradedWeight : 1,
      slowStart: this.#ramps.shareOf(member),
    };
  }

  /** To be called whenever the registered weight or the policy has changed. */
  weigh(member: MemberRecord): void {
    const { registered, degraded, slowStart } = this.factorsOf(member);
    this.#options.figures.weight[member.slot] = registered * degraded * slowStart;
  }

  added(member: MemberRecord): void {
    if (this.#factsOf(member) & AVAILABLE) this.#ramps.begin(member);
    this.weigh(member);
  }

  /** Its standing was `from` before. Whoever becomes available starts slowly, whatever kept it out. */
  changed(member: MemberRecord, from: number): void {
    const was = (FACTS[member.service.policy.availability.mode][from] as number) & AVAILABLE;
    const is = this.#factsOf(member) & AVAILABLE;
    if (is > was) this.#ramps.begin(member);
    else if (is < was) this.#ramps.end(member);
    this.weigh(member);
  }

  removed(member: MemberRecord): void {
    this.#ramps.end(member);
  }

  /** Stops the timer. */
  close(): void {
    this.#ramps.close();
  }

  #factsOf(member: MemberRecord): number {
    return FACTS[member.service.policy.availability.mode][this.#options.codes[member.slot] as number] as number;
  }
}
