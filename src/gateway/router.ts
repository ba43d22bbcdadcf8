import type { Clock } from '../core/clock.ts';
import type { Route, Router } from '../proxy/context.ts';
import { RetryBudget } from '../proxy/retry.ts';
import type { HostTable } from '../routing/hosts.ts';
import { ServicesByHost } from '../routing/services.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { ServiceMeters } from '../telemetry/traffic.ts';
import type { ServiceState } from '../upstream/directory.ts';
import type { Fleet } from '../upstream/fleet.ts';

interface Routed extends Route {
  readonly retry: ServiceState['policy']['retry'];
}

/** Hosts to services of the fleet, as it is now. */
export class FleetRouter implements Router {
  readonly #fleet: Fleet;
  readonly #services: ServicesByHost<ServiceState>;
  readonly #metrics: Metrics;
  readonly #clock: Clock;
  readonly #routes = new Map<ServiceState, Routed>();

  constructor(options: { fleet: Fleet; metrics: Metrics; clock: Clock; hosts: HostTable }) {
    this.#fleet = options.fleet;
    this.#metrics = options.metrics;
    this.#clock = options.clock;
    this.#services = new ServicesByHost(options.hosts);
    for (const service of options.fleet.services.values()) this.#services.add(service);
    this.#fleet.listen({
      serviceAdded: (service) => {
        this.#services.add(service);
      },
      serviceDropped: (service) => {
        this.#services.drop(service);
        this.#routes.delete(service);
        this.#metrics.forgetService(service.name);
      },
    });
  }

  get revision(): number {
    return this.#services.revision;
  }

  /** Takes over a changed configuration. */
  replace(hosts: HostTable): void {
    this.#services.replace(hosts);
  }

  /** The service that a lower-case host without port leads to. */
  resolve(host: string): ServiceState | undefined {
    return this.#services.resolve(host);
  }

  /** Undefined for a service that is not there any more. */
  metersOf(service: string): ServiceMeters | undefined {
    const state = this.#fleet.service(service);
    return state && this.#routeTo(state).meters;
  }

  route(host: string): Route | undefined {
    const service = this.resolve(host);
    return service && this.#routeTo(service);
  }

  #routeTo(service: ServiceState): Route {
    const { retry } = service.policy;
    const known = this.#routes.get(service);
    if (known?.retry === retry) return known;
    const route: Routed = {
      service,
      retry,
      meters: known?.meters ?? this.#metrics.service(service.name),
      budget: new RetryBudget(retry.budget, retry.budgetMinPerSecond, this.#clock.now()),
    };
    this.#routes.set(service, route);
    return route;
  }
}
