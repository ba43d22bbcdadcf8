import { type Clock, sleep, systemClock } from '../../src/core/clock.ts';
import type { Instance } from '../../src/core/instance.ts';
import {
  type Interest,
  type OnSkip,
  type RegistryBackend,
  type RegistryEvent,
  type RegistryInfo,
  RegistryRefusal,
} from '../../src/registry/backend.ts';

type Service = ReadonlyMap<string, Instance>;

/** The reference registry: a server in memory that can be lost, frozen, refused, emptied, and made to lie. */
export class MemoryRegistry {
  readonly address = 'memory:1';
  readonly services = new Map<string, Map<string, Instance>>();
  /** Services with an entry that nobody can parse. */
  readonly hostile = new Set<string>();
  state: 'up' | 'down' | 'frozen' | 'refusing' = 'up';
  revision = 0;
  leader = 'memory-a';
  readonly #watchers = new Set<MemoryWatch>();

  get watchers(): number {
    return this.#watchers.size;
  }

  register(wanted: Instance): void {
    let service = this.services.get(wanted.service);
    if (!service) this.services.set(wanted.service, (service = new Map<string, Instance>()));
    service.set(wanted.id, wanted);
    this.#publish({ kind: 'upsert', instance: wanted });
  }

  deregister(name: string, id: string): void {
    const service = this.services.get(name);
    if (!service?.delete(id)) return;
    if (service.size === 0) this.services.delete(name);
    this.#publish(service.size === 0 ? { kind: 'absent', service: name } : { kind: 'remove', service: name, id });
  }

  /** Replaces a service at a stroke, as a registry does that answers with whole lists. */
  replace(name: string, instances: readonly Instance[]): void {
    this.services.set(name, new Map(instances.map((each) => [each.id, each])));
    this.#publish({ kind: 'reset', service: name, instances });
  }

  /** Tells watchers what is not so, as registries do around a leader election. The truth stays. */
  lie(event: RegistryEvent): void {
    this.#publish(event);
  }

  /** A sign of life without news. */
  beat(): void {
    this.#publish({ kind: 'synced', revision: String(this.revision) });
  }

  lose(): void {
    this.state = 'down';
    for (const watch of this.#watchers) watch.fail(this.#lost());
  }

  restore(): void {
    this.state = 'up';
    for (const watch of this.#watchers) watch.thaw(this.#lost());
  }

  /** The token is revoked: whoever is connected is thrown out, and nobody gets in. */
  refuse(): void {
    this.state = 'refusing';
    for (const watch of this.#watchers) watch.fail(this.#refusal());
  }

  freeze(): void {
    this.state = 'frozen';
    for (const watch of this.#watchers) watch.frozen = true;
  }

  restartEmpty(): void {
    this.lose();
    this.services.clear();
    this.hostile.clear();
    this.revision = 0;
    this.state = 'up';
  }

  /** What a client that connects now is told; throws where it is not served. */
  admit(): 'served' | 'silent' {
    if (this.state === 'down') throw this.#lost();
    if (this.state === 'refusing') throw this.#refusal();
    return this.state === 'frozen' ? 'silent' : 'served';
  }

  attach(watch: MemoryWatch): () => void {
    this.#watchers.add(watch);
    return () => this.#watchers.delete(watch);
  }

  #lost(): Error {
    return new Error(`memory registry ${this.address} cannot be reached: check registries[].address`);
  }

  #refusal(): RegistryRefusal {
    return new RegistryRefusal(`memory registry ${this.address} refused the token: check registries[].token`);
  }

  #publish(event: RegistryEvent): void {
    this.revision += 1;
    for (const watch of this.#watchers) watch.push(event);
  }
}

export interface MemoryBackendOptions {
  readonly clock?: Clock;
  /** A watch that heard nothing for this long throws. Signs of life are asked for at a third of it. */
  readonly silenceMs?: number;
  readonly onSkip?: OnSkip;
  /** A list shows the registry as it was this long ago when it arrives. */
  readonly listDelayMs?: number;
}

export class MemoryBackend implements RegistryBackend {
  readonly type = 'memory';
  readonly #registry: MemoryRegistry;
  readonly #clock: Clock;
  readonly #silenceMs: number;
  readonly #onSkip: OnSkip;
  readonly #listDelayMs: number;

  constructor(registry: MemoryRegistry, options: MemoryBackendOptions = {}) {
    this.#registry = registry;
    this.#clock = options.clock ?? systemClock;
    this.#silenceMs = options.silenceMs ?? 60_000;
    this.#onSkip = options.onSkip ?? (() => undefined);
    this.#listDelayMs = options.listDelayMs ?? 0;
  }

  async *watch(interest: Interest, signal: AbortSignal): AsyncIterable<RegistryEvent> {
    if (signal.aborted) return;
    const watch = new MemoryWatch(this.#clock, this.#silenceMs, signal);
    const detach = this.#registry.attach(watch);
    try {
      if (this.#registry.admit() === 'served') {
        for (const [service, instances] of this.#read(interest))
          watch.push({ kind: 'reset', service, instances: [...instances.values()] });
        watch.push({ kind: 'synced', revision: String(this.#registry.revision) });
      } else {
        watch.frozen = true;
        watch.unanswered = true;
      }
      while (true) {
        const event = await watch.next();
        if (!event) return;
        if (isOfInterest(event, interest)) yield event;
      }
    } finally {
      detach();
      watch.close();
    }
  }

  async list(interest: Interest, signal: AbortSignal): Promise<ReadonlyMap<string, readonly Instance[]>> {
    signal.throwIfAborted();
    if (this.#registry.admit() === 'silent') {
      await new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
      });
    }
    const listed = new Map([...this.#read(interest)].map(([service, table]) => [service, [...table.values()]]));
    if (this.#listDelayMs > 0) await sleep(this.#clock, this.#listDelayMs, signal);
    signal.throwIfAborted();
    return listed;
  }

  info(): RegistryInfo {
    const { address, leader, revision } = this.#registry;
    return { endpoint: address, leader, revision: String(revision) };
  }

  *#read(interest: Interest): Iterable<[string, Service]> {
    for (const [service, instances] of this.#registry.services) {
      if (interest.kind === 'services' && !interest.names.has(service)) continue;
      if (this.#registry.hostile.has(service)) this.#onSkip({ service, id: 'hostile', why: 'port must be 1 to 65535' });
      yield [service, instances];
    }
  }
}

function isOfInterest(event: RegistryEvent, interest: Interest): boolean {
  if (interest.kind === 'all' || event.kind === 'synced') return true;
  const service = event.kind === 'upsert' ? event.instance.service : event.service;
  return interest.names.has(service);
}

/** The queue between the registry and one consumer. */
class MemoryWatch {
  frozen = false;
  /** It was opened while the registry was frozen, and has had no first read. */
  unanswered = false;
  readonly #queue: RegistryEvent[] = [];
  readonly #heldUp: RegistryEvent[] = [];
  readonly #known = new Set<string>();
  readonly #clock: Clock;
  readonly #silenceMs: number;
  readonly #signal: AbortSignal;
  #error: Error | undefined;
  #wake: (() => void) | undefined;
  #cancel: (() => void) | undefined;

  constructor(clock: Clock, silenceMs: number, signal: AbortSignal) {
    this.#clock = clock;
    this.#silenceMs = silenceMs;
    this.#signal = signal;
    signal.addEventListener('abort', this.#onAbort, { once: true });
    this.#listen();
  }

  push(event: RegistryEvent): void {
    if (this.frozen) {
      this.#heldUp.push(event);
      return;
    }
    this.#listen();
    this.#queue.push(this.#opened(event));
    this.#wake?.();
  }

  /** What was on its way arrives; a connection that was never answered breaks. */
  thaw(error: Error): void {
    this.frozen = false;
    if (this.unanswered) this.fail(error);
    else for (const event of this.#heldUp.splice(0)) this.push(event);
  }

  fail(error: Error): void {
    this.#error = error;
    this.#wake?.();
  }

  async next(): Promise<RegistryEvent | undefined> {
    while (true) {
      if (this.#signal.aborted) return undefined;
      const event = this.#queue.shift();
      if (event) return event;
      if (this.#error) throw this.#error;
      await new Promise<void>((resolve) => (this.#wake = resolve));
      this.#wake = undefined;
    }
  }

  close(): void {
    this.#cancel?.();
    this.#signal.removeEventListener('abort', this.#onAbort);
  }

  readonly #onAbort = (): void => this.#wake?.();

  /** A service that this watch has not named yet opens with its whole truth. */
  #opened(event: RegistryEvent): RegistryEvent {
    if (event.kind === 'reset' || event.kind === 'absent') this.#known.add(event.service);
    if (event.kind !== 'upsert' || this.#known.has(event.instance.service)) return event;
    this.#known.add(event.instance.service);
    return { kind: 'reset', service: event.instance.service, instances: [event.instance] };
  }

  /** Asks for a sign of life until none comes any more. */
  #listen(): void {
    this.#cancel?.();
    const askMs = this.#silenceMs / 3;
    const ask = (asked: number): void => {
      if (asked === 3)
        this.fail(
          new Error(`memory registry memory:1 is silent for ${this.#silenceMs} ms: check registries[].address`),
        );
      else if (!this.frozen) this.push({ kind: 'synced', revision: undefined });
      else this.#cancel = this.#clock.after(askMs, () => ask(asked + 1));
    };
    this.#cancel = this.#clock.after(askMs, () => ask(1));
  }
}
