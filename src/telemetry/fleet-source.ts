import type { HealthState } from '../core/health.ts';

/** What the scrape reads of the instances. Pulled, never pushed: what has gone from here has no series any more. */
export interface FleetSource {
  readonly figures: FleetFigures;
  /** Every service, each name once. May change between two calls, not during an iteration without awaits. */
  services(): Iterable<ServiceSource>;
}

export interface ServiceSource {
  readonly name: string;
  readonly panic: boolean;
  /** Its fallback instances are in use. */
  readonly fallback: boolean;
  /** Those that still have requests in flight after their removal included; each id once. */
  instances(): Iterable<InstanceSource>;
}

export interface InstanceSource {
  readonly id: string;
  readonly health: HealthState;
  /** Row in the figures; negative where the instance has none. */
  readonly slot: number;
}

/** Columns indexed by slot; `upstream/figures.ts` has this shape. */
export interface FleetFigures {
  readonly inflight: ArrayLike<number>;
  readonly attempts: ArrayLike<number>;
  readonly breaker: ArrayLike<number>;
}

/** In the order of the gates: what a human rules comes before what machines measure. */
export const INSTANCE_STANDINGS = [
  'available',
  'degraded',
  'down',
  'drained',
  'ejected',
  'breaker-open',
  'unknown',
  'failing',
  'half-open',
] as const;
/** One word for an instance: the first gate that holds it back, or how it is let in. */
export type InstanceStanding = (typeof INSTANCE_STANDINGS)[number];

/** The gates of `upstream/availability.ts`, panic aside. */
export function standingOf(health: HealthState): InstanceStanding {
  if (health.registered === 'down') return 'down';
  if (health.drained) return 'drained';
  if (health.ejected) return 'ejected';
  if (health.breaker === 'open') return 'breaker-open';
  if (health.probe === 'unknown' || health.probe === 'failing') return health.probe;
  if (health.breaker === 'half-open') return 'half-open';
  return health.registered === 'degraded' || health.probe === 'degraded' ? 'degraded' : 'available';
}

/** Whether nothing is against the instance. A half-open breaker lets only its trial through: not yet. */
export function isUp(standing: InstanceStanding): boolean {
  return standing === 'available' || standing === 'degraded';
}
