import type { Clock } from '../core/clock.ts';
import type { BreakerState, ProbeState } from '../core/health.ts';
import type { Instance, RegisteredState } from '../core/instance.ts';
import { type Gate, pack, sameToViews, type Standing, unpack } from './availability.ts';
import type { StandingColumns } from './columns.ts';
import { IN_ROTATION } from './explain.ts';
import { isFallback } from './fallback.ts';
import type { FleetListeners } from './fleet-listener.ts';
import type { MemberRecord } from './member-record.ts';
import type { ServiceRecord } from './service-record.ts';
import type { Weighing } from './weighing.ts';

export interface GatesOptions {
  readonly clock: Clock;
  readonly columns: StandingColumns;
  readonly weighing: Weighing;
  readonly listeners: FleetListeners;
  /** The views of the service may have to change. */
  readonly touch: (service: ServiceRecord) => void;
}

/** The one place where the reasons for and against a member change, and whom it concerns is told. */
export class Gates {
  readonly #options: GatesOptions;
  /** Of those ejected whose end was told. */
  readonly #ejectedUntilMs = new Map<MemberRecord, number>();

  constructor(options: GatesOptions) {
    this.#options = options;
  }

  /** By `clock.now()`; undefined where it is not ejected, or nobody knows for how long. */
  ejectedUntilMs(member: MemberRecord): number | undefined {
    return this.#ejectedUntilMs.get(member);
  }

  added({ slot, instance }: MemberRecord, wallMs: number): void {
    this.#options.columns.begin(slot, isFallback(instance) ? NEW_FALLBACK : NEW_CODES[instance.state], wallMs);
  }

  /** Its registry says other than before. */
  registered(member: MemberRecord, previous: Instance): void {
    const { state, stateReason } = member.instance;
    this.#stand(member, { registered: state }, 'registered');
    this.#tell(member, 'registered', previous.state, state, stateReason ?? 'the registry says so');
  }

  probed(member: MemberRecord, state: ProbeState, cause: string): void {
    const from = member.health.probe;
    const passes = state === 'passing' || state === 'degraded';
    if (this.#stand(member, passes ? { probe: state, passedOnce: true } : { probe: state }, 'probe'))
      this.#tell(member, 'probe', from, state, cause);
  }

  breakerChanged(member: MemberRecord, from: BreakerState, to: BreakerState, cause: string): void {
    this.#stand(member, { breaker: to }, 'breaker');
    this.#tell(member, 'breaker', from, to, cause);
  }

  /** False where the ejection cap forbids it. */
  eject(member: MemberRecord, ejected: boolean, cause: string, forMs: number | undefined): boolean {
    const { ejected: before, breaker } = member.health;
    if (before === ejected) return true;
    // Who is out by breaker is counted already.
    if (ejected && breaker === 'closed' && !member.service.claimEjection(member)) return false;
    if (ejected && forMs !== undefined) this.#ejectedUntilMs.set(member, this.#options.clock.now() + forMs);
    else this.#ejectedUntilMs.delete(member);
    this.#stand(member, { ejected }, 'ejection');
    this.#tellRotation(member, 'ejection', 'ejected', ejected, cause);
    return true;
  }

  drain(member: MemberRecord, drained: boolean): void {
    if (this.#stand(member, { drained }, 'drain')) this.#tellRotation(member, 'drain', 'drained', drained, 'operator');
  }

  /** To be called when it is no longer registered: nobody waits for its breaker or its ejection to end. */
  removed(member: MemberRecord): void {
    this.#ejectedUntilMs.delete(member);
    this.#stand(member, { breaker: 'closed' }, 'breaker');
  }

  /** Takes in a change of one gate; false where it is none. */
  #stand(member: MemberRecord, part: Partial<Standing>, gate: Gate): boolean {
    const { columns, clock, weighing, touch } = this.#options;
    const from = columns.codes[member.slot] as number;
    const to = pack({ ...unpack(from), ...part });
    if (from === to) return false;
    columns.change(member.slot, to, gate, clock.wall());
    if (member.leaving) return true;
    member.service.recount(member, from, to);
    weighing.changed(member, from);
    if (!sameToViews(member.service.policy.availability.mode, from, to)) touch(member.service);
    return true;
  }

  #tellRotation(member: MemberRecord, gate: Gate, word: string, on: boolean, cause: string): void {
    const [from, to] = on ? [IN_ROTATION, word] : [word, IN_ROTATION];
    this.#tell(member, gate, from, to, cause);
  }

  #tell(member: MemberRecord, gate: Gate, from: string, to: string, cause: string): void {
    this.#options.listeners.tell((listener) => listener.transition?.(member, gate, from, to, cause));
  }
}

const NEW_CODES: Readonly<Record<RegisteredState, number>> = {
  up: newCode('up'),
  degraded: newCode('degraded'),
  down: newCode('down'),
};

const NEW_FALLBACK = newCode('up', true);

function newCode(registered: RegisteredState, fallback = false): number {
  const reasons = { registered, probe: 'unknown', breaker: 'closed', ejected: false, drained: false } as const;
  return pack({ ...reasons, passedOnce: false, fallback });
}
