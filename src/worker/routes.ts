import type { Clock } from '../core/clock.ts';
import type { Route, Router } from '../proxy/context.ts';
import { RetryBudget } from '../proxy/retry.ts';
import type { ServiceMeters, TrafficMeters } from '../telemetry/traffic.ts';
import type { Replica, ReplicaService } from './replica.ts';

interface Kept extends Route {
  readonly retry: Route['service']['policy']['retry'];
}

/** The routes of one thread, each made at the first request for it. */
export class Routes implements Router {
  readonly #replica: Replica;
  readonly #meters: TrafficMeters;
  readonly #clock: Clock;
  readonly #threads: number;
  readonly #kept = new Map<ReplicaService, Kept>();

  constructor(options: { replica: Replica; meters: TrafficMeters; clock: Clock; threads: number }) {
    this.#replica = options.replica;
    this.#meters = options.meters;
    this.#clock = options.clock;
    this.#threads = options.threads;
  }

  get revision(): number {
    return this.#replica.services.revision;
  }

  route(host: string): Route | undefined {
    const service = this.#replica.services.resolve(host);
    if (!service) return undefined;
    const { retry } = service.policy;
    const known = this.#kept.get(service);
    if (known?.retry === retry) return known;
    const meters: ServiceMeters = known?.meters ?? this.#meters.row(service.row);
    // What time deposits is for the whole gateway.
    const budget = new RetryBudget(retry.budget, retry.budgetMinPerSecond / this.#threads, this.#clock.now());
    const route: Kept = { service, retry, meters, budget };
    this.#kept.set(service, route);
    return route;
  }

  forget(service: ReplicaService): void {
    this.#kept.delete(service);
  }
}
