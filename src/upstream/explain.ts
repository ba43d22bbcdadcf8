import { addressOf, type Instance } from '../core/instance.ts';
import type { AvailabilityMode } from '../core/policy.ts';
import {
  availability,
  type Gate,
  GATES,
  isVouchedFor,
  isWanted,
  type Standing,
  type Traffic,
  type Why,
} from './availability.ts';
import type { StandingColumns } from './columns.ts';
import type { Member, ServiceDetail } from './directory.ts';
import type { Figures } from './figures.ts';
import type { WeightFactors } from './weighing.ts';

export interface GateReport {
  readonly gate: Gate;
  /** In the words of the gate: `up`, `drained`, `half-open`, `failing`… */
  readonly state: string;
  /** Whether this gate alone would let the instance through (a half-open breaker: for its trial). */
  readonly passes: boolean;
  /** Wall-clock milliseconds of the last change; of the registration where there was none. */
  readonly sinceMs: number;
  /** What a person should know beyond the state. */
  readonly note: string | undefined;
}

export interface InstanceReport {
  readonly id: string;
  readonly address: string;
  readonly slot: number;
  /** What balancers go by: the product of `weightFactors`. */
  readonly weight: number;
  readonly weightFactors: WeightFactors;
  readonly leaving: boolean;
  readonly fallback: boolean;
  readonly traffic: Traffic;
  readonly why: Why | 'leaving';
  readonly gates: readonly GateReport[];
  readonly inflight: number;
  /** Milliseconds from now until it is let in again; undefined where it is not ejected, or that is not known. */
  readonly ejectedForMs: number | undefined;
  readonly breaker:
    | {
        readonly successes: number;
        readonly failures: number;
        readonly consecutiveFailures: number;
        /** Milliseconds from now until it half-opens; undefined unless open. */
        readonly openForMs: number | undefined;
      }
    | undefined;
}

export interface Sources {
  readonly columns: StandingColumns;
  readonly figures: Figures;
  readonly weight: WeightFactors;
  readonly ejectedUntilMs: number | undefined;
  readonly nowMs: number;
}

/** Why one member has traffic or not: every gate, in order, whatever the first one says. */
export function explainMember(
  member: Member,
  service: ServiceDetail,
  { columns, figures, weight, ejectedUntilMs, nowMs }: Sources,
): InstanceReport {
  const { instance, slot, leaving } = member;
  const standing = columns.standing(slot);
  const { traffic, why } = leaving
    ? ({ traffic: 'none', why: 'leaving' } as const)
    : availability(standing, service.regime);
  return {
    id: instance.id,
    address: addressOf(instance),
    slot,
    weight: figures.weight[slot] ?? 0,
    weightFactors: weight,
    leaving,
    fallback: standing.fallback,
    traffic,
    why,
    gates: GATES.map((gate) => ({
      gate,
      ...judge(gate, standing, member.instance, service.regime.mode),
      sinceMs: columns.since(slot, gate),
    })),
    inflight: figures.inflight[slot] ?? 0,
    ejectedForMs: ejectedUntilMs === undefined ? undefined : Math.max(0, ejectedUntilMs - nowMs),
    breaker: breakerReport(member, figures, nowMs),
  };
}

function breakerReport(member: Member, figures: Figures, nowMs: number): InstanceReport['breaker'] {
  const { slot, breaker, service } = member;
  const { enabled, windowMs } = service.policy.breaker;
  if (!enabled || (!breaker && figures.attempts[slot] === 0)) return undefined;
  const counts = figures.breakers.counts(slot, nowMs, windowMs);
  const untilMs = breaker?.openUntilMs;
  return { ...counts, openForMs: untilMs === undefined ? undefined : Math.max(0, untilMs - nowMs) };
}

type Judgement = Pick<GateReport, 'state' | 'passes' | 'note'>;

function judge(gate: Gate, standing: Standing, { stateReason }: Instance, mode: AvailabilityMode): Judgement {
  switch (gate) {
    case 'registered':
      return { state: standing.registered, passes: isWanted(standing, mode), note: stateReason };
    case 'drain':
      return flag(standing.drained, 'drained');
    case 'ejection':
      return flag(standing.ejected, 'ejected');
    case 'breaker':
      return { state: standing.breaker, passes: standing.breaker !== 'open', note: undefined };
    case 'probe': {
      const note = standing.passedOnce ? undefined : 'no probe has succeeded yet';
      return { state: standing.probe, passes: isVouchedFor(standing, mode), note };
    }
  }
}

function flag(set: boolean, word: string): Judgement {
  return { state: set ? word : IN_ROTATION, passes: !set, note: undefined };
}

/** The state of the gates `drain` and `ejection` while they are open. */
export const IN_ROTATION = 'in rotation';
