import type { Clock } from '../core/clock.ts';
import type { Route, Router } from '../proxy/context.ts';
import { RetryBudget } from '../proxy/retry.ts';
import type { HostTable } from '../routing/hosts.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { ServiceMeters } from '../telemetry/traffic.ts';
import type { ServiceState } from '../upstream/directory.ts';
import type { Fleet } from '../upstream/fleet.ts';

interface Routed extends Route {
  readonly retry: ServiceState['policy']['retry'];
}

/** Hosts to services of the fleet, as it is now. */
export class FleetRouter implements Router {
  revision = 1;
  readonly #fleet: Fleet;
  readonly #metrics: Metrics;
  readonly #clock: Clock;
  #hosts: HostTable;
  readonly #routes = new Map<ServiceState, Routed>();
  /** Names of services in lower case, where they are not spelled so: host names have no case. */
  readonly #spellings = new Map<string, string>();

  constructor(options: { fleet: Fleet; metrics: Metrics; clock: Clock; hosts: HostTable }) {
    this.#fleet = options.fleet;
    this.#metrics = options.metrics;
    this.#clock = options.clock;
    this.#hosts = options.hosts;
    this.#fleet.listen({
      serviceAdded: (service) => {
        const lower = service.name.toLowerCase();
        if (lower !== service.name) this.#spellings.set(lower, service.name);
        this.revision++;
      },
      serviceDropped: (service) => {
        const lower = service.name.toLowerCase();
        if (this.#spellings.get(lower) === service.name) this.#spellings.delete(lower);
        this.#routes.delete(service);
        this.#metrics.forgetService(service.name);
        this.revision++;
      },
    });
  }

  /** Takes over a changed configuration. */
  replace(hosts: HostTable): void {
    this.#hosts = hosts;
    this.revision++;
  }

  /** The service that a lower-case host without port leads to. */
  resolve(host: string): ServiceState | undefined {
    const configured = this.#hosts.configured(host);
    if (configured !== undefined) return this.#fleet.service(configured);
    const name = this.#hosts.underDomain(host);
    if (name === undefined) return undefined;
    return this.#fleet.service(name) ?? this.#fleet.service(this.#spellings.get(name) ?? '');
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
