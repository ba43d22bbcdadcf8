import { longestFastGapMs } from '../../src/core/check.ts';
import type { ServicePolicy } from '../../src/core/policy.ts';
import { type Random, seededRandom } from '../../src/core/random.ts';
import { POLICY } from '../policy.ts';
import { REGISTRY_TIMES } from './gateway.ts';
import { gentle, outage, shortage, wild } from './scenes.ts';
import type { Simulation } from './simulation.ts';

export type Kind = 'gentle' | 'wild' | 'outage' | 'shortage';

/** What a seed stands for. */
export interface Plan {
  readonly seed: number;
  readonly kind: Kind;
  readonly policy: ServicePolicy;
  readonly instances: number;
  readonly dataPlanes: number;
  /** From one thread to another. */
  readonly messageMs: number;
  readonly weighted: boolean;
  readonly requestsPerSecond: number;
  /** Shares of requests. */
  readonly posts: number;
  readonly aborts: number;
  readonly stalls: number;
  play(simulation: Simulation): Promise<void>;
}

const SCENES = { gentle, wild, outage, shortage };

const INSTANCES: Readonly<Record<Kind, readonly number[]>> = {
  gentle: [3, 4, 6, 8],
  wild: [1, 2, 3, 4, 6, 8],
  outage: [1, 2, 3, 4, 6, 8],
  shortage: [2, 3, 3, 4, 6, 8],
};

export function planOf(seed: number): Plan {
  // Apart from the run's own, so that a plan can grow without changing what the seeds of others mean.
  const random = seededRandom(seed ^ 0x91a7);
  const oneOf = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!;
  const kind = oneOf<Kind>(['gentle', 'gentle', 'wild', 'wild', 'outage', 'shortage']);
  return {
    seed,
    kind,
    policy: policyOf(kind, random),
    instances: oneOf(INSTANCES[kind]),
    dataPlanes: oneOf([1, 1, 2]),
    messageMs: oneOf([0.05, 0.5, 3]),
    weighted: random() < 0.3,
    requestsPerSecond: oneOf([8, 20, 40]),
    posts: kind === 'gentle' ? oneOf([0, 0.2]) : 0.3,
    aborts: oneOf([0, 0.03, 0.1]),
    stalls: oneOf([0, 0, 0.05]),
    play: SCENES[kind],
  };
}

function policyOf(kind: Kind, random: Random): ServicePolicy {
  const oneOf = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!;
  const intervalMs = oneOf([500, 1000, 2000]);
  /** Nothing but the fault itself may cost a request. */
  const careful = kind === 'gentle' || kind === 'shortage';
  const openMs = oneOf([300, 1000]);
  return {
    ...POLICY,
    balancer: oneOf(['p2c', 'p2c', 'round-robin', 'random']),
    checks: [
      {
        ...(random() < 0.5
          ? { type: 'tcp' }
          : {
              type: 'http',
              path: '/',
              method: 'GET',
              statuses: [[200, 399]],
              headers: [],
              bodyContains: undefined,
              host: undefined,
              verifyTls: true,
            }),
        name: 'check',
        port: undefined,
        intervalMs,
        timeoutMs: oneOf([100, 400]),
        healthyThreshold: oneOf([1, 2]),
        unhealthyThreshold: oneOf([2, 3]),
        fastIntervalMs: oneOf([200, 500]),
        jitter: 0.2,
      },
    ],
    breaker: {
      ...POLICY.breaker,
      enabled: random() < 0.95,
      consecutiveFailures: oneOf([3, 5]),
      minimumAttempts: oneOf([10, 20]),
      windowMs: 5000,
      openMs,
      maxOpenMs: openMs * oneOf([1, 4]),
      failureStatuses: new Set(oneOf([[502, 503, 504], [500]])),
    },
    retry: { ...POLICY.retry, attempts: careful ? 2 : oneOf([0, 1, 2, 3]) },
    availability: {
      ...POLICY.availability,
      panicThreshold: oneOf([0, 0.5, 0.8]),
      panicMode: careful ? 'route' : oneOf(['route', 'reject']),
      maxEjectedShare: oneOf([0.2, 0.5, 1]),
      mode: kind === 'gentle' ? 'strict' : oneOf(['strict', 'strict', 'trust-registry', 'trust-probes']),
      minHealthy: oneOf([0, 0, 2]),
    },
    slowStart: { ...POLICY.slowStart, durationMs: oneOf([0, 0, 2000]) },
    outliers: {
      ...POLICY.outliers,
      successRate: oneOf(['eject', 'observe', 'off']),
      latency: oneOf(['eject', 'observe', 'off']),
      intervalMs: 1000,
      minInstances: 3,
      minRequests: 5,
      ejectionMs: 1000,
      maxEjectionMs: 3000,
    },
    hang: {
      ...POLICY.hang,
      enabled: random() < 0.9 || kind === 'shortage',
      minWaitMs: oneOf([300, 1000]),
      p99Factor: 10,
    },
    timeouts: {
      ...POLICY.timeouts,
      connectMs: oneOf([200, 500]),
      // Whoever waits for this has not been moved.
      responseHeadMs: kind === 'shortage' ? 30_000 : oneOf([1000, 2000]),
      bodyIdleMs: 1000,
    },
    maxInflightPerInstance: careful ? 0 : oneOf([0, 0, 3]),
    adaptiveLimit: careful ? false : random() < 0.2,
    queue: { size: oneOf([0, 4, 1000]), timeoutMs: oneOf([100, 1000]) },
    maxIdleConnections: oneOf([0, 2, 16]),
  };
}

/**
 * From the moment when everything is well again to the last instance back in rotation, at worst: the registry is found
 * again and everything read; what it had lost is registered; a probe that began just before runs into its deadline, the
 * next one comes as late as jitter allows, and then as many as the threshold asks. Meanwhile a trial that hangs runs
 * into its limit, its failure opens the breaker for the longest time, and the next request is the trial; or it has been
 * found an outlier, for the longest time.
 */
export function recoveryMs(policy: ServicePolicy, registryTroubled: boolean): number {
  const { backoffMaxMs, syncMs, silenceMs, relistMs, listMs } = REGISTRY_TIMES;
  const registryMs = registryTroubled ? silenceMs + backoffMaxMs + syncMs + 1.2 * relistMs + listMs : 0;
  const [check] = policy.checks;
  const probeMs = check
    ? check.timeoutMs +
      check.intervalMs * (1 + check.jitter) +
      check.healthyThreshold * (longestFastGapMs(check) + check.timeoutMs)
    : 0;
  const { connectMs, responseHeadMs, bodyIdleMs } = policy.timeouts;
  const breakerMs = connectMs + responseHeadMs + bodyIdleMs + policy.breaker.maxOpenMs;
  const { intervalMs, maxEjectionMs } = policy.outliers;
  // Found at the end of an interval that began before, and let back in by the look after its time is over.
  const outlierMs = intervalMs + maxEjectionMs + 2000;
  const nextRequestMs = 3000;
  return registryMs + probeMs + Math.max(breakerMs, outlierMs) + nextRequestMs;
}
