import type { RegisteredState } from './instance.ts';

export type ProbeState = 'unknown' | 'passing' | 'degraded' | 'failing';
export type BreakerState = 'closed' | 'open' | 'half-open';

/** The independent reasons for or against an instance, kept apart so that `explain` can name the one that decided. */
export interface HealthState {
  readonly registered: RegisteredState;
  readonly probe: ProbeState;
  readonly breaker: BreakerState;
  /** Taken out by hang detection or as an outlier among its peers. */
  readonly ejected: boolean;
  /** An operator took it out of rotation. */
  readonly drained: boolean;
}
