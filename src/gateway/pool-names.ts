import type { RegistryConfig } from '../config/config.ts';
import type { Instance } from '../core/instance.ts';
import { namesHere, nameThere, type ServiceMapping } from '../registry/mapping.ts';
import type { RegistryMerge } from '../registry/merge.ts';
import { withCanonicalHost } from '../registry/table.ts';

/** Service and id, as a registry knows an instance. */
export interface RegisteredName {
  readonly service: string;
  readonly id: string;
}

/**
 * What an instance is called by its registry, and what in the pool. Services may be renamed, one into several, and the id
 * is another where two registries use it for different addresses; the address is what stays.
 */
export class PoolNames {
  readonly #merge: RegistryMerge;

  constructor(merge: RegistryMerge) {
    this.#merge = merge;
  }

  /** What the pool has of an instance that its registry names; nothing where it is not taken over, or not yet. */
  inPool(registry: RegistryConfig, instance: Instance): Instance[] {
    return namesHere(mappingOf(registry), instance.service).flatMap(
      (service) => this.#merge.publishedAt(withCanonicalHost(ofService(instance, service))) ?? [],
    );
  }

  /** By what the registry knows an instance of the pool; nothing where it has it not. */
  inRegistry(registry: RegistryConfig, instance: Instance): RegisteredName[] {
    const service = nameThere(mappingOf(registry), instance.service);
    if (service === undefined) return [];
    const origins = this.#merge.originsAt(instance);
    return origins.flatMap((origin) =>
      origin.registry === registry.name ? [{ service, id: origin.registeredId }] : [],
    );
  }
}

function ofService(instance: Instance, service: string): Instance {
  return instance.service === service ? instance : { ...instance, service };
}

export function mappingOf(registry: RegistryConfig): ServiceMapping {
  // What is configured by name already is named as wanted.
  if (registry.type === 'static' || registry.type === 'dns') return { kind: 'all', prefix: '' };
  return registry.services;
}
