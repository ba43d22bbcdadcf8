import type { Clock } from '../core/clock.ts';
import type { SocketBudget } from '../core/socket-budget.ts';
import type { TimingWheel } from '../core/wheel.ts';
import type { Stage } from '../http1/stage.ts';
import type { WriteBatch } from '../http1/write-batch.ts';
import type { AccessLog } from '../telemetry/access-log.ts';
import type { ServiceMeters } from '../telemetry/traffic.ts';
import type { RoutedMember, RoutedService } from '../upstream/directory.ts';
import type { Figures } from '../upstream/figures.ts';
import type { Pool } from '../upstream/pool.ts';
import type { RequestIdSource } from './headers.ts';
import type { RetryBudget } from './retry.ts';

/** What a request needs of its service, kept together so that one look-up finds it. */
export interface Route {
  readonly service: RoutedService;
  readonly meters: ServiceMeters;
  readonly budget: RetryBudget;
}

export interface Router {
  /** Rises whenever an earlier answer of `route` may no longer hold. */
  readonly revision: number;
  /** `host`: lower case, without a port. */
  route(host: string): Route | undefined;
}

/** What this thread knows of the instances. */
export interface RoutedFleet {
  /** By slot. The same array for as long as the fleet lives. */
  readonly members: readonly (RoutedMember | undefined)[];
  /** To be called whenever an attempt on a leaving member has ended. */
  released(member: RoutedMember): void;
}

/** Of one thread. */
export interface RequestsUnderWay {
  own: number;
  /** How many it may have at this moment, beside what others have. */
  readonly limit: number;
  /** A request was refused for there being too many. */
  refuse(): void;
}

/** What all exchanges of one thread share. */
export interface ProxyContext {
  readonly clock: Clock;
  readonly wheel: TimingWheel;
  readonly fleet: RoutedFleet;
  readonly figures: Figures;
  readonly pool: Pool;
  /** Where client connections are counted, and refused when there are no descriptors left. Missing: no bound. */
  readonly sockets?: SocketBudget | undefined;
  readonly stage: Stage;
  /** On the same stage. */
  readonly batch: WriteBatch;
  readonly router: Router;
  readonly ids: RequestIdSource;
  /** Of requests that reach no service. */
  readonly strayMeters: ServiceMeters;
  accessLog: AccessLog | undefined;
  /** Fields with `_` in their names are passed on. */
  allowUnderscores: boolean;
  /** Another function after each change of whom it trusts. */
  isTrustedProxy: (address: string) => boolean;
  /** A malformed request was turned away; `reason` is of a closed set. */
  readonly onRefused: (reason: string) => void;
  /**
   * Nobody listens at the instance any more: it should be out of the rotation at once. Decided elsewhere; called before
   * the attempt that found it out is settled.
   */
  readonly onRefusing?: (member: RoutedMember, cause: string) => void;
  /** Requests hang on the instance while its peers answer. Decided elsewhere. */
  readonly onHanging?: (member: RoutedMember, cause: string) => void;
  readonly requests: RequestsUnderWay;
  /** Keep-alive connections are told to close with their next answer. */
  stopping: boolean;
}
