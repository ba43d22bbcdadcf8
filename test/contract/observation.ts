import { setTimeout } from 'node:timers/promises';
import type { Instance } from '../../src/core/instance.ts';
import type { Interest, RegistryBackend, RegistryEvent } from '../../src/registry/backend.ts';

/** Consumes one watch as `follow` would, keeps the table it describes, and notes every broken obligation. */
export class Observation {
  readonly table = new Map<string, Map<string, Instance>>();
  /** Broken promises of the contract, in words; empty for a correct backend. */
  readonly violations: string[] = [];
  readonly counts = { reset: 0, upsert: 0, remove: 0, absent: 0, synced: 0 };
  /** How the iteration ended; undefined while it runs. */
  end: { readonly error: unknown } | undefined;
  /** Settles with the iteration, whichever way it ends. */
  readonly ended: Promise<void>;
  readonly #named = new Set<string>();
  readonly #controller = new AbortController();
  readonly #waiters = new Set<() => void>();

  constructor(backend: RegistryBackend, interest: Interest) {
    this.ended = this.#consume(backend, interest);
  }

  /** Resolves once `predicate` holds; rejects with what was seen in place of it after `withinMs`. */
  async until(what: string, predicate: () => boolean, withinMs: number): Promise<void> {
    if (predicate()) return;
    await new Promise<void>((resolve, reject) => {
      const check = (): void => {
        if (!predicate()) return;
        clearTimeout(timer);
        this.#waiters.delete(check);
        resolve();
      };
      const timer = globalThis.setTimeout(() => {
        this.#waiters.delete(check);
        reject(new Error(`not seen within ${withinMs} ms: ${what}; ${this.describe()}`, { cause: this.end?.error }));
      }, withinMs);
      this.#waiters.add(check);
    });
  }

  async synced(withinMs: number): Promise<this> {
    await this.until('synced', () => this.counts.synced > 0, withinMs);
    return this;
  }

  /** The instances of a service, in the order of their addresses. */
  of(service: string): readonly Instance[] {
    return byAddress(this.table.get(service)?.values() ?? []);
  }

  abort(): void {
    this.#controller.abort();
  }

  /** Aborts and waits for the iteration to end; the answer is how long that took, or 5000 where it did not end. */
  async stop(): Promise<number> {
    const start = performance.now();
    this.abort();
    const patience = new AbortController();
    const enough = setTimeout(5000, undefined, { signal: patience.signal }).catch(() => undefined);
    await Promise.race([this.ended, enough]);
    patience.abort();
    if (!this.end) this.violations.push('the iteration did not end within 5 s of its abort');
    return performance.now() - start;
  }

  describe(): string {
    const services = [...this.table].map(
      ([service, instances]) => `${service}=[${[...instances.keys()].slice(0, 20).join(' ')}]`,
    );
    const end = this.end ? `, ended with ${String(this.end.error)}` : '';
    return `events ${JSON.stringify(this.counts)}, table ${services.slice(0, 10).join(', ')}${end}`;
  }

  async #consume(backend: RegistryBackend, interest: Interest): Promise<void> {
    try {
      for await (const event of backend.watch(interest, this.#controller.signal)) {
        this.#apply(event, interest);
        for (const check of [...this.#waiters]) check();
      }
      this.end = { error: undefined };
    } catch (error) {
      this.end = { error };
    }
    for (const check of [...this.#waiters]) check();
  }

  #apply(event: RegistryEvent, interest: Interest): void {
    this.counts[event.kind] += 1;
    if (event.kind === 'synced') {
      if (this.counts.synced === 1)
        for (const service of this.table.keys()) if (!this.#named.has(service)) this.table.delete(service);
      return;
    }
    const service = event.kind === 'upsert' ? event.instance.service : event.service;
    if (interest.kind === 'services' && !interest.names.has(service))
      this.violations.push(`${event.kind} of ${service}, which is not of interest`);
    this.#checkFirst(event, service);
    this.#named.add(service);
    this.#change(event);
  }

  /** Before `synced`, nothing but the whole truth may open a service; after it, a service not yet named is known to be absent. */
  #checkFirst(event: RegistryEvent, service: string): void {
    const opens = event.kind === 'reset' || event.kind === 'absent';
    if (!opens && this.counts.synced === 0 && !this.#named.has(service)) {
      this.violations.push(`the first event about ${service} is ${event.kind}, not reset or absent`);
    }
  }

  #change(event: Exclude<RegistryEvent, { kind: 'synced' }>): void {
    switch (event.kind) {
      case 'reset': {
        const instances = new Map(event.instances.map((each) => [each.id, each]));
        if (instances.size !== event.instances.length) this.violations.push(`reset of ${event.service} repeats an id`);
        if (event.instances.some((each) => each.service !== event.service))
          this.violations.push(`reset of ${event.service} carries another service`);
        this.table.set(event.service, instances);
        break;
      }
      case 'upsert': {
        const instances = this.table.get(event.instance.service) ?? new Map<string, Instance>();
        this.table.set(event.instance.service, instances.set(event.instance.id, event.instance));
        break;
      }
      case 'remove':
        this.table.get(event.service)?.delete(event.id);
        break;
      case 'absent':
        this.table.delete(event.service);
        break;
    }
  }
}

/** A stable order, because registries promise none. */
export function byAddress(instances: Iterable<Instance>): readonly Instance[] {
  const key = (each: Instance): string => `${each.host} ${String(each.port).padStart(5, '0')} ${each.id}`;
  return [...instances].sort((a, b) => (key(a) < key(b) ? -1 : 1));
}
