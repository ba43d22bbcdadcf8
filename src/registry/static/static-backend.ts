import type { Instance } from '../../core/instance.ts';
import type { Interest, RegistryBackend, RegistryEvent, RegistryInfo } from '../backend.ts';

export interface StaticBackendOptions {
  /** By service; what the configuration has validated already. */
  readonly services: ReadonlyMap<string, readonly Instance[]>;
}

/** Instances listed in the configuration. They change when the configuration does, and then with a new backend. */
export class StaticBackend implements RegistryBackend {
  readonly type = 'static';
  readonly alwaysFresh = true;
  readonly #services: ReadonlyMap<string, readonly Instance[]>;

  constructor(options: StaticBackendOptions) {
    this.#services = options.services;
  }

  async *watch(interest: Interest, signal: AbortSignal): AsyncIterable<RegistryEvent> {
    if (signal.aborted) return;
    for (const [service, instances] of this.#of(interest)) yield { kind: 'reset', service, instances };
    yield { kind: 'synced', revision: undefined };
    await new Promise<void>((resolve) => {
      signal.addEventListener('abort', () => resolve(), { once: true });
      if (signal.aborted) resolve();
    });
  }

  list(interest: Interest, signal: AbortSignal): Promise<ReadonlyMap<string, readonly Instance[]>> {
    if (signal.aborted) return Promise.reject(new Error('the list was aborted', { cause: signal.reason }));
    return Promise.resolve(new Map(this.#of(interest)));
  }

  info(): RegistryInfo {
    return { endpoint: undefined, leader: undefined, revision: undefined };
  }

  *#of(interest: Interest): Iterable<[string, readonly Instance[]]> {
    for (const [service, instances] of this.#services) {
      if (interest.kind === 'all' || interest.names.has(service)) yield [service, instances];
    }
  }
}
