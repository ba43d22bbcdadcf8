import type { Instance } from '../../core/instance.ts';
import type { Interest, RegistryBackend, RegistryEvent, RegistryInfo } from '../backend.ts';
import { type Change, serviceOf } from './changes.ts';
import type { EmbeddedRegistry } from './registry.ts';
import type { ServiceEntry } from './table.ts';

/** The embedded registry as a source of instances: in the same process, without a wire and without a delay. */
export class EmbeddedBackend implements RegistryBackend {
  readonly type = 'embedded';
  /** Nothing lies between the registry and its followers that could make what they know old. */
  readonly alwaysFresh = true;
  readonly #registry: EmbeddedRegistry;
  readonly #endpoint: string | undefined;

  /** `endpoint`: where instances register, for status pages. */
  constructor(registry: EmbeddedRegistry, endpoint?: string) {
    this.#registry = registry;
    this.#endpoint = endpoint;
  }

  /** A consumer that falls behind costs one pending event per instance, not more. Throws when the registry closes. */
  async *watch(interest: Interest, signal: AbortSignal): AsyncGenerator<RegistryEvent, void> {
    const registry = this.#registry;
    const pending = new PendingEvents(interest);
    const wake = (): void => {
      pending.wake();
    };
    if (signal.aborted) return;
    this.#mustBeOpen();
    const unsubscribe = registry.subscribe((change) => {
      pending.add(change);
    });
    signal.addEventListener('abort', wake, { once: true });
    registry.closing.addEventListener('abort', wake, { once: true });
    try {
      const opening = this.#opening(interest);
      const aborted = (): boolean => signal.aborted;
      const ended = (): boolean => aborted() || registry.closing.aborted;
      for (const event of opening) {
        if (ended()) break;
        yield event;
      }
      while (!ended()) {
        const event = pending.take();
        if (event) yield event;
        else await pending.arrival();
      }
      if (!aborted()) this.#mustBeOpen();
    } finally {
      unsubscribe();
      signal.removeEventListener('abort', wake);
      registry.closing.removeEventListener('abort', wake);
    }
  }

  async list(interest: Interest, signal: AbortSignal): Promise<ReadonlyMap<string, readonly Instance[]>> {
    signal.throwIfAborted();
    this.#mustBeOpen();
    return Promise.resolve(new Map(this.#known(interest).map((service) => [service.name, instancesOf(service)])));
  }

  info(): RegistryInfo {
    return { endpoint: this.#endpoint, leader: undefined, revision: String(this.#registry.index) };
  }

  #mustBeOpen(): void {
    if (this.#registry.closing.aborted) throw new Error('the embedded registry is closed');
  }

  /** The table as it is at the call: what changes while it is consumed comes behind it. */
  #opening(interest: Interest): RegistryEvent[] {
    const known = this.#known(interest);
    const events: RegistryEvent[] = known.map((service) => ({
      kind: 'reset',
      service: service.name,
      instances: instancesOf(service),
    }));
    if (interest.kind === 'services') {
      for (const service of interest.names) {
        if (!this.#registry.services.has(service)) events.push({ kind: 'absent', service });
      }
    }
    events.push({ kind: 'synced', revision: String(this.#registry.index) });
    return events;
  }

  #known(interest: Interest): ServiceEntry[] {
    const { services } = this.#registry;
    if (interest.kind === 'all') return [...services.values()];
    return [...interest.names].flatMap((name) => services.get(name) ?? []);
  }
}

function instancesOf(service: ServiceEntry): Instance[] {
  return Array.from(service.entries.values(), (entry) => entry.instance);
}

/** Events on their way to one consumer. A newer one about the same instance takes the place of an older one. */
class PendingEvents {
  readonly #interest: Interest;
  /** In the order of the last change. */
  readonly #events = new Map<string, RegistryEvent>();
  #wake: (() => void) | undefined;

  constructor(interest: Interest) {
    this.#interest = interest;
  }

  add(change: Change): void {
    const service = serviceOf(change);
    if (this.#interest.kind === 'services' && !this.#interest.names.has(service)) return;
    const event = eventOf(change);
    if (!event) return;
    const key = change.kind === 'absent' ? service : `${service}/${change.instance.id}`;
    this.#events.delete(key);
    this.#events.set(key, event);
    this.wake();
  }

  take(): RegistryEvent | undefined {
    for (const [key, event] of this.#events) {
      this.#events.delete(key);
      return event;
    }
    return undefined;
  }

  /** Resolves when there may be something to take, or `wake` was called. */
  arrival(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  wake(): void {
    this.#wake?.();
    this.#wake = undefined;
  }
}

/** undefined: only the gateway's own word on the instance has changed. */
function eventOf(change: Change): RegistryEvent | undefined {
  switch (change.kind) {
    case 'upsert':
      return change.cause === 'status' ? undefined : { kind: 'upsert', instance: change.instance };
    case 'remove':
      return {
        kind: 'remove',
        service: change.instance.service,
        id: change.instance.id,
        deliberate: change.reason !== 'expired',
      };
    case 'absent':
      return { kind: 'absent', service: change.service };
  }
}
