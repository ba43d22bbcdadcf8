import type { AvailabilityMode } from '../core/policy.ts';
import type { Vitals } from '../telemetry/metrics.ts';
import type { TimelineEvent } from '../telemetry/timeline.ts';
import type { ServiceTotals } from '../telemetry/totals.ts';
import type { Panic, Traffic, Why } from '../upstream/availability.ts';
import type { BuildInfo, NotReady, RegistryReport } from './deps.ts';

/*
 * What the API answers, and the command line reads. Durations in milliseconds; what is undefined is left out of the
 * JSON.
 */

/** Rises when an answer changes in a way that readers have to know of. Sent as `API_HEADER` with every answer. */
export const API_VERSION = '1';
export const API_HEADER = 'fairlead-api';

/**
 * A service in one word, worst first. `down`: instances are registered and none takes traffic; `empty`: none is registered;
 * `partial`: some take no traffic, or none but trials.
 */
export const CONDITIONS = ['down', 'panic', 'empty', 'fallback', 'partial', 'ok'] as const;
export type Condition = (typeof CONDITIONS)[number];

export interface ServiceSummary {
  readonly name: string;
  readonly condition: Condition;
  /** Named in the configuration. */
  readonly configured: boolean;
  readonly registered: number;
  /** Without panic. */
  readonly available: number;
  /** What the balancer chooses from now. */
  readonly takingTraffic: number;
  readonly panic: Panic;
  readonly inflight: number;
  /** Instances by state, in the words of `fairlead_instances`. */
  readonly states: Readonly<Record<string, number>>;
}

export interface ListedService extends ServiceSummary {
  /** Where `traffic` was asked for; missing where nothing is counted under this name alone. */
  readonly traffic?: ServiceTotals | undefined;
}

/** What rates are made of. */
interface Counted {
  /** Monotonic: two answers tell how much time lies between their counts. */
  readonly nowMs: number;
  /** Upper bounds of `ServiceTotals.durations`; the last bucket has none. */
  readonly durationBoundsMs: readonly number[];
}

/** What `GET /api/services` answers. */
export interface ServiceList extends Counted {
  readonly services: readonly ListedService[];
  /** Of all that match the question. */
  readonly matched: number;
  readonly total: number;
}

/** The gateway at one glance. */
export interface OverviewReport extends Omit<Vitals, 'bounds'> {
  /** `limits` has only what is bounded. */
  readonly bounds?: {
    readonly limits: readonly (readonly [of: string, most: number])[];
    readonly refused: readonly (readonly [side: string, reason: string, count: number])[];
  };
  readonly build: BuildInfo;
  readonly wallMs: number;
  readonly notReady: readonly NotReady[];
  readonly services: Readonly<Record<Condition, number>>;
  readonly registries: readonly RegistryReport[];
  /** The latest events about the gateway itself: registries, threads, configuration. */
  readonly history: readonly TimelineEvent[];
}

export interface ServiceReport extends ServiceSummary {
  readonly hosts: readonly string[];
  readonly balancer: string;
  readonly instances: readonly InstanceReport[];
  /** Instances beyond the limit of the answer. */
  readonly omitted: number;
}

export interface InstanceReport {
  readonly id: string;
  readonly address: string;
  readonly zone?: string | undefined;
  readonly version?: string | undefined;
  readonly weight: number;
  /** In the words of `fairlead_instances`. */
  readonly state: string;
  readonly traffic: Traffic;
  readonly why: Why | 'leaving';
  readonly drained: boolean;
  /** No longer registered; it only finishes what is in flight. */
  readonly leaving: boolean;
  readonly inflight: number;
  readonly attempts: number;
  readonly failures: number;
  /** Average time to the response head. */
  readonly latencyMs?: number | undefined;
  /** Part of the service's traffic by weight, 0 to 1. */
  readonly share: number;
}

/** What `GET /api/services/NAME?traffic` answers. */
export interface CountedService extends ServiceReport, Counted {
  readonly traffic?: ServiceTotals | undefined;
}

/** `pass`; `stop`: no traffic because of this; `trial`: one request at a time; `overruled`: would stop, but has no say now. */
export type GateVerdict = 'pass' | 'stop' | 'trial' | 'overruled';

export interface GateReport {
  readonly gate: 'registered' | 'drain' | 'ejection' | 'breaker' | 'probe' | 'fallback' | 'balancer';
  readonly verdict: GateVerdict;
  /** One line for people. */
  readonly text: string;
  /** How long it has been so. */
  readonly forMs?: number | undefined;
  readonly evidence: readonly string[];
}

export interface InstanceExplanation extends InstanceReport {
  /** Why it does not take all traffic it could; missing where it does. */
  readonly reason?: string | undefined;
  readonly gates: readonly GateReport[];
  readonly history: readonly TimelineEvent[];
}

export interface ExplainReport {
  readonly service: string;
  /** The host that led to the service, where one was asked for. */
  readonly host?: string | undefined;
  /** All of it in one line. */
  readonly conclusion: string;
  readonly registered: number;
  readonly available: number;
  readonly takingTraffic: number;
  readonly panic: Panic;
  /** Its fallback instances have the traffic. */
  readonly fallback: boolean;
  /** Whose word on an instance holds. */
  readonly mode: AvailabilityMode;
  readonly balancer: string;
  readonly instances: readonly InstanceExplanation[];
  readonly omitted: number;
  /** Of the service as a whole. */
  readonly history: readonly TimelineEvent[];
}
