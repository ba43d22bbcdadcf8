import type { Check } from './check.ts';

export type BalancerName = 'p2c' | 'round-robin' | 'random';

/** What an operator decides about one service. Plain data: config makes it, every room reads its own part. */
export interface ServicePolicy {
  /** Exact names and `*.suffix` wildcards, lower case, without a port. */
  readonly hosts: readonly string[];
  readonly balancer: BalancerName;
  readonly checks: readonly Check[];
  readonly breaker: BreakerPolicy;
  readonly retry: RetryPolicy;
  readonly availability: AvailabilityPolicy;
  readonly slowStart: SlowStartPolicy;
  /** Instances that no registry knows, for when nobody else is available. */
  readonly fallback: readonly FallbackAddress[];
  readonly hang: HangPolicy;
  readonly outliers: OutlierPolicy;
  readonly timeouts: ServiceTimeouts;
  /** Requests in flight to one instance; above it the instance is passed over. 0 = no limit. */
  readonly maxInflightPerInstance: number;
  /** Each instance has a limit of its own as well, which follows from how fast it answers. */
  readonly adaptiveLimit: boolean;
  readonly queue: QueuePolicy;
  /** Idle connections kept to one instance, per data-plane thread. */
  readonly maxIdleConnections: number;
  readonly websocket: boolean;
}

export interface BreakerPolicy {
  readonly enabled: boolean;
  readonly consecutiveFailures: number;
  /** 0.5 = at half of the attempts in the window. */
  readonly failureRate: number;
  /** Fewer attempts than this in the window decide nothing. */
  readonly minimumAttempts: number;
  readonly windowMs: number;
  readonly openMs: number;
  /** The open time doubles with every trial that fails, up to this. */
  readonly maxOpenMs: number;
  /** Statuses that count as failures of the instance. */
  readonly failureStatuses: ReadonlySet<number>;
}

export interface RetryPolicy {
  /** Attempts after the first, each on another instance. */
  readonly attempts: number;
  /** Retries as a share of requests. */
  readonly budget: number;
  readonly budgetMinPerSecond: number;
  /** Request bodies up to this size are kept for a repeat. */
  readonly maxBodyBytes: number;
}

/**
 * Whose word on an instance holds. `strict`: registry and probes must both be for it. `trust-registry`: probes are for
 * people. `trust-probes`: a probe that passes overrules a registry that says `down` or `degraded`.
 */
export type AvailabilityMode = 'strict' | 'trust-registry' | 'trust-probes';

export interface AvailabilityPolicy {
  readonly mode: AvailabilityMode;
  /** Below this share of available instances probe verdicts are ignored. 0 = never. */
  readonly panicThreshold: number;
  /** Below this number of them, too. 0 = the share alone decides. */
  readonly minHealthy: number;
  /** In panic: send to everyone all the same, or answer 503. */
  readonly panicMode: 'route' | 'reject';
  /** At most this share of the instances may be ejected; always at least one may be. */
  readonly maxEjectedShare: number;
  /** What the weight of a degraded instance is multiplied by; > 0. */
  readonly degradedWeight: number;
}

/** IPv6 without brackets. */
export interface FallbackAddress {
  readonly host: string;
  readonly port: number;
}

/** How an instance that becomes available takes up its work. */
export interface SlowStartPolicy {
  /** 0 = all of it at once. */
  readonly durationMs: number;
  readonly curve: 'linear' | 'exponential';
  /** Share of its weight that it begins with; > 0. */
  readonly minShare: number;
}

/**
 * When an instance counts as hanging: its oldest attempt still waiting for a response head is older than `minWaitMs`
 * and than `p99Factor` times its recent p99, while its peers answer. Or when a crowd of attempts waits on it, each for
 * longer than its peers take.
 */
export interface HangPolicy {
  readonly enabled: boolean;
  readonly minWaitMs: number;
  readonly p99Factor: number;
  /** Attempts that make a crowd; 0 = the single oldest one alone decides. */
  readonly crowd: number;
  /** Each of them has waited for longer than this many times the p99 of the service's instances, and */
  readonly crowdFactor: number;
  /** for longer than this. */
  readonly crowdMinWaitMs: number;
}

/** Where requests wait while every instance has as many as it may; one for each service and thread. */
export interface QueuePolicy {
  /** 0 = nobody waits. */
  readonly size: number;
  readonly timeoutMs: number;
}

/** `observe` counts and tells, and changes no traffic. */
export type OutlierMode = 'eject' | 'observe' | 'off';

/** When an instance does so much worse than its peers that it is taken out: see `breaker/outlier.ts`. */
export interface OutlierPolicy {
  readonly successRate: OutlierMode;
  readonly latency: OutlierMode;
  readonly intervalMs: number;
  /** Fewer instances with enough requests than this are not compared. */
  readonly minInstances: number;
  /** Requests in the interval below which an instance is not judged. */
  readonly minRequests: number;
  /** In standard deviations below the mean. */
  readonly stdevFactor: number;
  /** As a share: 0.05 = five of a hundred more must fail. */
  readonly minRateGap: number;
  /** In medians of the service. */
  readonly latencyFactor: number;
  readonly minLatencyGapMs: number;
  /** Of the first ejection; the next one takes twice, then three times as long. */
  readonly ejectionMs: number;
  readonly maxEjectionMs: number;
}

export interface ServiceTimeouts {
  readonly connectMs: number;
  readonly responseHeadMs: number;
  /** No body byte moves, in either direction, for this long. */
  readonly bodyIdleMs: number;
  /** Nothing moves through an upgraded connection, in either direction, for this long. */
  readonly tunnelIdleMs: number;
}
