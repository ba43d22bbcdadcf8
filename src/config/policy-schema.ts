import type { z } from 'zod';
import type { ServicePolicy } from '../core/policy.ts';
import { addressOf } from '../core/instance.ts';
import { ENDPOINT_RULE, hostPattern, hostPort } from './addresses.ts';
import { health } from './check-schema.ts';
import { availability, breaker, hang, outliers, retry, slowStart } from './resilience-schema.ts';
import { anyNumber, choice, count, duration, flag } from './scalars.ts';
import { group } from './strict.ts';

const timeouts = group({
  connect: duration(
    'Making a connection to an instance. Short fails over sooner, and fails on a lost packet; long waits for hosts that are gone.',
    {
      fallback: '1s',
      min: '1ms',
      max: '1m',
    },
  ),
  responseHead: duration(
    'From the request to the head of the response, per attempt. Short cuts off slow work that would have ended well; long keeps clients waiting for the hung.',
    {
      fallback: '30s',
      min: '1ms',
      max: '24h',
    },
  ),
  bodyIdle: duration(
    'No byte of a body moves, in either direction, for this long. Short breaks streams with pauses; long lets stalled clients hold connections.',
    {
      fallback: '60s',
      min: '1ms',
      max: '24h',
    },
  ),
  tunnelIdle: duration(
    'Nothing moves through a WebSocket, in either direction, for this long. Short ends those that are merely quiet; long keeps those whose client is gone.',
    {
      fallback: '10m',
      min: '1s',
      max: '24h',
    },
  ),
});

const queue = group({
  size: count(
    'Requests that may wait, per service and data-plane thread. 0 answers 503 at once; many keep clients waiting for an answer that will be 503 all the same.',
    {
      fallback: 1000,
      min: 0,
      max: 100_000,
    },
  ),
  timeout: duration(
    'How long one may wait. Short answers 503 while a place is about to come free; long holds clients that have given up.',
    {
      fallback: '1s',
      min: '1ms',
      max: '1m',
    },
  ),
});

const shape = {
  balancer: choice(
    'How an instance is chosen. `p2c` takes the less busy of two random ones, and copes with slow instances; `round-robin` gives each the same count, whatever it costs them; `random` is even over many requests only.',
    ['p2c', 'round-robin', 'random'],
    'p2c',
  ),
  health,
  breaker: breaker.prefault({}).meta({
    id: 'breaker',
    description: 'The breaker of each instance: closed admits, open rejects, half-open lets one trial through.',
  }),
  retry: retry.prefault({}).meta({
    id: 'retry',
    description:
      'When a failed attempt is repeated on another instance. Only where nothing was sent, or the method is idempotent and the body still at hand; never after a response has begun.',
  }),
  availability: availability
    .prefault({})
    .meta({ id: 'availability', description: 'What happens when many instances are out at once.' }),
  slowStart: slowStart.prefault({}).meta({
    id: 'slowStart',
    description: 'How an instance that becomes available takes up its work. Off by default.',
  }),
  hang: hang.prefault({}).meta({ id: 'hang', description: 'Hang detection.' }),
  outliers: outliers.prefault({}).meta({
    id: 'outliers',
    description: 'Comparing every instance with its peers. Observes by default, and ejects nobody.',
  }),
  timeouts: timeouts
    .prefault({})
    .meta({ id: 'timeouts', description: 'How long each step towards an instance may take.' }),
  maxInflightPerInstance: count(
    'Requests in flight to one instance; above it the instance is passed over. 0 sets no limit; low answers 503 while instances could do more.',
    {
      fallback: 0,
      min: 0,
      max: 1_000_000,
    },
  ),
  adaptiveLimit: flag(
    'Whether each instance has a limit of its own as well, found from how fast it answers: it grows while answers come as fast as ever, and shrinks as they slow down or fail. false leaves `maxInflightPerInstance` alone.',
    false,
  ),
  queue: queue.prefault({}).meta({
    id: 'queue',
    description: 'Where requests wait, first come first served, while every instance has as many as it may.',
  }),
  maxIdleConnections: count(
    'Idle connections kept to one instance by each data-plane thread. 0 connects anew for every request; many hold sockets on instances that need none.',
    {
      fallback: 64,
      min: 0,
      max: 65_536,
    },
  ),
  websocket: flag(
    'Whether WebSocket upgrades are passed on. Each holds its connection, and counts as in flight, until it ends.',
    true,
  ),
};

const SERVICE_ONLY = new Map([
  ['hosts', 'belongs to a service under `services`: a host name leads to one service'],
  ['fallback', 'belongs to a service under `services`: its addresses must be able to stand in for that one'],
]);
/** More would be a fleet of its own, which belongs in a registry. */
const MAX_FALLBACK = 100;

/** `defaults`. */
export const defaultsSchema = group(shape, SERVICE_ONLY).prefault({});

/** `services.X`, once `defaults` are merged in. */
export const serviceSchema = group({
  hosts: anyNumber(hostPattern()).prefault([]).meta({
    description:
      'Host names the service answers at, besides its own under `gateway.domain`. `*.example.com` takes every name below; an exact name goes before it. None leaves the one name.',
  }),
  fallback: anyNumber(hostPort(ENDPOINT_RULE))
    .prefault([])
    .refine((given) => given.length <= MAX_FALLBACK, `has more than ${MAX_FALLBACK} addresses`)
    .meta({
      description:
        'Addresses that are sent to only while no registered instance is available: a static page, another site. They are checked as the others are. None answers 503 then; what cannot do the work of the service answers wrongly in its name.',
    }),
  ...shape,
}).prefault({});

/** What the gateway reads of a valid policy. */
export function toServicePolicy(
  given: z.output<typeof defaultsSchema> & Partial<Pick<ServicePolicy, 'hosts' | 'fallback'>>,
): ServicePolicy {
  const { breaker, retry, availability, slowStart, hang, timeouts, outliers } = given;
  return {
    hosts: [...new Set(given.hosts ?? [])],
    balancer: given.balancer,
    checks: given.health,
    breaker: {
      enabled: breaker.enabled,
      consecutiveFailures: breaker.consecutiveFailures,
      failureRate: breaker.failureRate,
      minimumAttempts: breaker.minimumAttempts,
      windowMs: breaker.window,
      openMs: breaker.open,
      maxOpenMs: Math.max(breaker.open, breaker.maxOpen),
      failureStatuses: new Set(breaker.failureStatuses),
    },
    retry: {
      attempts: retry.attempts,
      budget: retry.budget,
      budgetMinPerSecond: retry.budgetMinPerSecond,
      maxBodyBytes: retry.maxBody,
    },
    availability,
    slowStart: { durationMs: slowStart.duration, curve: slowStart.curve, minShare: slowStart.minShare },
    hang: {
      enabled: hang.enabled,
      minWaitMs: hang.minWait,
      p99Factor: hang.p99Factor,
      crowd: hang.crowd,
      crowdFactor: hang.crowdFactor,
      crowdMinWaitMs: hang.crowdMinWait,
    },
    fallback: [...new Map((given.fallback ?? []).map((each) => [addressOf(each), each])).values()],
    outliers: {
      successRate: outliers.successRate,
      latency: outliers.latency,
      intervalMs: outliers.interval,
      minInstances: outliers.minInstances,
      minRequests: outliers.minRequests,
      stdevFactor: outliers.stdevFactor,
      minRateGap: outliers.minRateGap,
      latencyFactor: outliers.latencyFactor,
      minLatencyGapMs: outliers.minLatencyGap,
      ejectionMs: outliers.ejection,
      maxEjectionMs: Math.max(outliers.ejection, outliers.maxEjection),
    },
    timeouts: {
      connectMs: timeouts.connect,
      responseHeadMs: timeouts.responseHead,
      bodyIdleMs: timeouts.bodyIdle,
      tunnelIdleMs: timeouts.tunnelIdle,
    },
    maxInflightPerInstance: given.maxInflightPerInstance,
    adaptiveLimit: given.adaptiveLimit,
    queue: { size: given.queue.size, timeoutMs: given.queue.timeout },
    maxIdleConnections: given.maxIdleConnections,
    websocket: given.websocket,
  };
}
