import type { Breaker, Permit } from '../breaker/breaker.ts';
import type { BreakerColumns } from '../breaker/columns.ts';
import type { BreakerGate } from '../breaker/gate.ts';
import { type BreakerOptions, createBreaker } from '../breaker/instance-breaker.ts';
import type { Clock } from '../core/clock.ts';
import type { BreakerState } from '../core/health.ts';
import type { Instance } from '../core/instance.ts';
import type { BreakerPolicy } from '../core/policy.ts';
import type { Standing } from './availability.ts';
import type { StandingColumns } from './columns.ts';
import type { Member } from './directory.ts';
import type { Figures } from './figures.ts';
import type { ServiceRecord } from './service-record.ts';

/** What members need of the fleet that holds them. */
export interface FleetBase {
  readonly clock: Clock;
  readonly figures: Figures;
  readonly columns: StandingColumns;
  /** Of the few who need one: what each member would hold of it costs more. */
  readonly breakers: Map<MemberRecord, Breaker>;
  /** By which this very thread makes attempts. */
  readonly gate: BreakerGate;
  breakerChanged(member: MemberRecord, from: BreakerState, to: BreakerState, cause: string): void;
  trialReturned(member: MemberRecord): void;
}

/** Kept small: there may be 100,000. What changes often lies in columns. V8 would mark each object for a private method. */
export class MemberRecord implements Member {
  readonly slot: number;
  readonly service: ServiceRecord;
  instance: Instance;
  leaving = false;

  constructor(slot: number, service: ServiceRecord, instance: Instance) {
    this.slot = slot;
    this.service = service;
    this.instance = instance;
  }

  get health(): Standing {
    return fleetOf(this).columns.standing(this.slot);
  }

  get breaker(): Breaker | undefined {
    return fleetOf(this).breakers.get(this);
  }

  admit(): Permit | undefined {
    return fleetOf(this).gate.admit(this.slot, this.service.policy.breaker);
  }

  /** The breaker, made where there is none yet; undefined where breakers are switched off or the member has left. */
  guard(): Breaker | undefined {
    if (this.leaving || !this.service.policy.breaker.enabled) return undefined;
    const { breaker } = this;
    if (breaker) return breaker;
    const made = createBreaker(new Seat(this, fleetOf(this)));
    fleetOf(this).breakers.set(this, made);
    return made;
  }

  /** Frees it; permits still out settle without effect. The next failure starts afresh. */
  closeBreaker(): void {
    this.breaker?.close();
    fleetOf(this).breakers.delete(this);
    fleetOf(this).figures.breakers.clear(this.slot);
  }

  /** No longer registered: from this moment on it admits nobody, on any thread. */
  leave(): void {
    this.closeBreaker();
    this.leaving = true;
    fleetOf(this).figures.breakers.shut(this.slot);
  }
}

function fleetOf({ service }: MemberRecord): FleetBase {
  return service.base.fleet;
}

/** What the breaker of a member sees of its surroundings: one object in place of half a dozen closures. */
class Seat implements BreakerOptions {
  readonly #member: MemberRecord;
  readonly #base: FleetBase;

  constructor(member: MemberRecord, base: FleetBase) {
    this.#member = member;
    this.#base = base;
  }

  get policy(): BreakerPolicy {
    return this.#member.service.policy.breaker;
  }

  get clock(): Clock {
    return this.#base.clock;
  }

  get columns(): BreakerColumns {
    return this.#base.figures.breakers;
  }

  get slot(): number {
    return this.#member.slot;
  }

  /** Longer than any attempt can wait for a response head, by which trials are judged. */
  get trialLimitMs(): number {
    const { connectMs, responseHeadMs, bodyIdleMs } = this.#member.service.policy.timeouts;
    return connectMs + responseHeadMs + bodyIdleMs;
  }

  mayOpen(): boolean {
    return this.#member.service.claimEjection(this.#member);
  }

  onTransition(from: BreakerState, to: BreakerState, cause: string): void {
    this.#base.breakerChanged(this.#member, from, to, cause);
  }

  onTrialReturned(): void {
    this.#base.trialReturned(this.#member);
  }
}
