import type { ServicePolicy } from '../core/policy.ts';
import { type ServiceBase, ServiceRecord } from './service-record.ts';
import { SlotTable } from './slot-table.ts';

export interface ServiceTableOptions extends ServiceBase {
  readonly defaultPolicy: ServicePolicy;
  /** Bounds the names that registrations bring. Those that the operator names are as many as the file has. */
  readonly maxServices: number;
}

/** The services that exist, by name, each with an index of its own. */
export class ServiceTable {
  defaultPolicy: ServicePolicy;
  readonly #options: ServiceTableOptions;
  readonly #byName = new Map<string, ServiceRecord>();
  readonly #indexes = new SlotTable<ServiceRecord>(Number.MAX_SAFE_INTEGER);

  constructor(options: ServiceTableOptions) {
    this.#options = options;
    this.defaultPolicy = options.defaultPolicy;
  }

  get byName(): ReadonlyMap<string, ServiceRecord> {
    return this.#byName;
  }

  get full(): boolean {
    return this.#byName.size >= this.#options.maxServices;
  }

  /** Obligation: there is none of this name. */
  create(name: string): ServiceRecord {
    const service = this.#indexes.take((index) => new ServiceRecord(name, index, this.defaultPolicy, this.#options));
    this.#byName.set(name, service);
    return service;
  }

  /** The longest known service that nobody configured and that has no instances. */
  dispensable(): ServiceRecord | undefined {
    for (const service of this.#byName.values()) if (!service.configured && service.members.size === 0) return service;
    return undefined;
  }

  /** From here on the name is unknown. The index stays taken until `retire` finds the last member gone. */
  drop(service: ServiceRecord): void {
    service.dropped = true;
    this.#byName.delete(service.name);
  }

  retire(service: ServiceRecord): void {
    if (!service.dropped || service.leaving.size + service.departing.length > 0) return;
    if (this.#indexes.owners[service.index] === service) this.#indexes.give(service.index);
  }
}
