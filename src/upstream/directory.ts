import type { Balancer } from '../balance/balancer.ts';
import type { Breaker, Permit } from '../breaker/breaker.ts';
import type { HealthState } from '../core/health.ts';
import type { Instance } from '../core/instance.ts';
import type { ServicePolicy } from '../core/policy.ts';
import type { Panic, Regime } from './availability.ts';
import type { View } from './view.ts';

/** What the data path reads of an instance, on whatever thread. */
export interface RoutedMember {
  /** Index into every column of `Figures`. Nobody else has it until `freed`. */
  readonly slot: number;
  readonly service: RoutedService;
  /** Replaced when the registry changes anything but the address. */
  readonly instance: Instance;
  /** No longer registered: takes nothing new, and is freed when its last request has ended. */
  readonly leaving: boolean;
  /** The right to make one attempt; undefined where the breaker does not let it. Call `settle` on it exactly once. */
  admit(): Permit | undefined;
}

/** One registered instance for as long as it is registered or has requests in flight. Survives reloads and resets. */
export interface Member extends RoutedMember {
  readonly service: ServiceState;
  /** Created by the first failure, freed with the registration. */
  readonly breaker: Breaker | undefined;
  readonly health: HealthState;
  /** The breaker, made where there is none yet; undefined where breakers are switched off or the member has left. */
  guard(): Breaker | undefined;
}

/** What the data path reads of a service, on whatever thread. */
export interface RoutedService {
  readonly name: string;
  readonly policy: ServicePolicy;
  readonly balancer: Balancer;
  /** The current view: read it once per attempt and keep it no longer than one turn of the event loop. */
  readonly view: View;
  /**
   * The slot of a half-open member whose trial may be taken now, or -1. Follow it by `admit` in the same turn, or
   * leave it: nothing is taken before `admit`. Constant time on average.
   */
  takeTrial(): number;
}

/** One service, from when it is configured or first registered. */
export interface ServiceState extends RoutedService {
  /** Small and unique among the services that exist. */
  readonly index: number;
  /** Named by the operator; a service that is merely registered has the default policy. */
  readonly configured: boolean;
  /** The registered ones, by id. */
  readonly members: ReadonlyMap<string, Member>;
}

/** The rest of it, for those who look after it. */
export interface ServiceDetail extends ServiceState {
  /** As of the current view. */
  readonly regime: Regime;
  /** Of the regime. */
  readonly panic: Panic;
  /** Removed ones that still have requests in flight. An id may be among these and, anew, among the members. */
  readonly leaving: ReadonlySet<Member>;
  /** How often the ejection cap has kept a breaker closed or a member in. */
  readonly ejectionsRefused: number;
  /** Whether the ejection cap lets this one, which is not out by breaker or ejection, be so. */
  mayEject(member: Member): boolean;
}
