import type { HostTable } from '../routing/hosts.ts';
import { ServicesByHost } from '../routing/services.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { ServiceMeters } from '../telemetry/traffic.ts';
import type { ServiceState } from '../upstream/directory.ts';
import type { Fleet } from '../upstream/fleet.ts';

/** Hosts to services of the fleet, and the counters of each, as the control thread sees them. Requests are routed elsewhere. */
export class FleetRouter {
  readonly #fleet: Fleet;
  readonly #metrics: Metrics;
  readonly #services: ServicesByHost<ServiceState>;
  readonly #meters = new Map<ServiceState, ServiceMeters>();

  constructor({ fleet, metrics, hosts }: { fleet: Fleet; metrics: Metrics; hosts: HostTable }) {
    this.#fleet = fleet;
    this.#metrics = metrics;
    this.#services = new ServicesByHost(hosts);
    for (const service of fleet.services.values()) this.#services.add(service);
    fleet.listen({
      serviceAdded: (service) => {
        this.#services.add(service);
      },
      serviceDropped: (service) => {
        this.#services.drop(service);
        this.#meters.delete(service);
        this.#metrics.forgetService(service.name);
      },
    });
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
    if (!state) return undefined;
    let meters = this.#meters.get(state);
    if (!meters) {
      meters = this.#metrics.service(service);
      this.#meters.set(state, meters);
    }
    return meters;
  }
}
