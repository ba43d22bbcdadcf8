import type { Clock } from '../core/clock.ts';
import type { Instance } from '../core/instance.ts';
import {
  byPrecedence,
  claimsOf,
  decider,
  dropClaim,
  Entries,
  type Entry,
  findClaim,
  idsByRight,
  suffixed,
} from './claims.ts';
import { sameInstance } from './same.ts';

/** Where the merged pool goes: the fleet. All calls are made in the turn of the change that causes them. */
export interface MergeSink {
  /** New, or changed in anything but its address. */
  upsert(instance: Instance): void;
  /** Also called before `upsert` where an id moves to another address: that is another instance. */
  remove(service: string, id: string): void;
  /** Whether any registry knows the service, be it with no instance: tells "nobody to send to" from "no such host". */
  known?(service: string, known: boolean): void;
  /** A batch of changes is complete. */
  flush?(): void;
}

/** One registry's word about one address, for `explain`. */
export interface Origin {
  readonly registry: string;
  /** The id that this registry has for it; another than the pool's where registries disagree. */
  readonly registeredId: string;
  readonly state: Instance['state'];
  /** The registry does not report it any more, and the guard still holds it. */
  readonly held: boolean;
  /** Wall-clock milliseconds since which this registry has had it, as seen from here. */
  readonly sinceWallMs: number;
  /** Its weight, zone, state and metadata are the ones in use. */
  readonly decides: boolean;
}

interface Service {
  readonly name: string;
  readonly entries: Entries;
  knownBy: number;
}

/**
 * Several registries into one pool per service.
 *
 * An address (host and port) is there as soon as one registry has it, and gone when none has it any more. What is said
 * of it is taken whole from the first registry in the order that has it. A change costs the claims of its own address,
 * whatever the size of the service.
 *
 * Ids of the pool are the registries' own. Where two addresses share one, the first registry's address has it and the
 * other gets a suffix made from its address, so that the same registrations have the same ids after every restart. Up to
 * `settle` ids follow what arrives; after it an address keeps its id for as long as it stays, because health, breaker
 * and figures hang on it, and the next start may choose differently.
 */
export class RegistryMerge {
  readonly #sink: MergeSink;
  readonly #clock: Clock;
  readonly #services = new Map<string, Service>();
  readonly #sources = new Map<string, MergeSource>();
  #settled = false;
  /** One reading of the wall clock for all changes up to the next flush. */
  #turnWallMs: number | undefined;

  constructor(sink: MergeSink, clock: Clock) {
    this.#sink = sink;
    this.#clock = clock;
  }

  /** Adds a registry at the end of the order. Throws where the name is taken. */
  source(name: string): MergeSource {
    if (this.#sources.has(name)) throw new Error(`there are two registries named ${name}`);
    const last = Math.max(-1, ...[...this.#sources.values()].map((each) => each.rank));
    const source = new MergeSource(name, last + 1, {
      put: (instance, held) => this.#put(source, instance, held),
      drop: (instance) => this.#drop(source, instance),
      know: (service) => this.#know(service),
      forget: (service) => this.#forget(service),
      publishedOf: (instance) => this.publishedAt(instance),
      flush: () => this.#flush(),
      close: () => this.#sources.delete(name),
    });
    this.#sources.set(name, source);
    return source;
  }

  /** Changes the order after a reload, and who decides with it. Costs the whole pool. */
  setOrder(names: readonly string[]): void {
    for (const source of this.#sources.values()) {
      const at = names.indexOf(source.name);
      source.rank = at < 0 ? names.length + source.rank : at;
    }
    for (const service of this.#services.values()) {
      for (const entry of service.entries) this.#publish(service, entry);
    }
    this.#flush();
  }

  /** To be called when every registry has answered once: puts ids as they shall be, and from then on they stay. */
  settle(): void {
    if (this.#settled) return;
    for (const service of this.#services.values()) this.#settleIds(service);
    this.#settled = true;
    this.#flush();
  }

  /** The services that some registry knows. */
  services(): Iterable<string> {
    return this.#services.keys();
  }

  *instances(service: string): Iterable<Instance> {
    for (const { published } of this.#services.get(service)?.entries ?? []) if (published) yield published;
  }

  /** Who has the instance with this id of the pool, the registry that decides first. */
  origins(service: string, id: string): readonly Origin[] {
    return this.#originsOf(this.#services.get(service)?.entries.get(id));
  }

  /** The same by service, host and port, which it has before it has an id, and whatever a registry calls it. */
  originsAt(instance: Instance): readonly Origin[] {
    return this.#originsOf(this.#services.get(instance.service)?.entries.at(instance));
  }

  /** What the pool has at the service, host and port of this instance. */
  publishedAt(instance: Instance): Instance | undefined {
    return this.#services.get(instance.service)?.entries.at(instance)?.published;
  }

  #originsOf(entry: Entry | undefined): readonly Origin[] {
    if (!entry) return [];
    const decides = decider(entry);
    return [...claimsOf(entry)].sort(byPrecedence).map((claim) => ({
      registry: claim.source.name,
      registeredId: claim.instance.id,
      state: claim.instance.state,
      held: claim.held,
      sinceWallMs: claim.sinceWallMs,
      decides: claim === decides,
    }));
  }

  #put(source: MergeSource, instance: Instance, held: boolean): void {
    const service = this.#service(instance.service);
    let entry = service.entries.at(instance);
    const claim = entry && findClaim(entry, source, instance.id);
    if (claim) {
      claim.instance = instance;
      claim.held = held;
    } else {
      const fresh = {
        source,
        instance,
        held,
        sinceWallMs: (this.#turnWallMs ??= this.#clock.wall()),
        next: entry?.claims,
      };
      if (entry) entry.claims = fresh;
      else entry = service.entries.add(fresh);
    }
    if (entry) this.#publish(service, entry);
  }

  #drop(source: MergeSource, instance: Instance): void {
    const service = this.#services.get(instance.service);
    const entry = service?.entries.at(instance);
    if (!service || !entry) return;
    dropClaim(entry, source, instance.id);
    if (entry.claims) {
      this.#publish(service, entry);
      return;
    }
    this.#withdraw(service, entry);
    service.entries.delete(entry, instance);
    this.#dropIfUnknown(service);
  }

  #publish(service: Service, entry: Entry): void {
    const { instance } = decider(entry);
    const id = this.#idFor(service, entry, instance.id);
    const next = instance.id === id ? instance : { ...instance, id };
    const { published } = entry;
    if (published?.id === id && sameInstance(published, next)) return;
    if (published && published.id !== id) this.#withdraw(service, entry);
    // The sink first: if it throws, the same call again must find the work undone.
    this.#sink.upsert(next);
    service.entries.publish(entry, next);
  }

  #withdraw(service: Service, entry: Entry): void {
    const { published } = entry;
    if (!published) return;
    this.#sink.remove(service.name, published.id);
    service.entries.publish(entry, undefined);
  }

  #idFor(service: Service, entry: Entry, wanted: string): string {
    const current = entry.published?.id;
    if (current !== undefined && (this.#settled || current === wanted)) return current;
    const holder = service.entries.get(wanted);
    return !holder || holder === entry ? wanted : suffixed(wanted, entry, service.entries);
  }

  /** Which registry answered first must not show in the ids. */
  #settleIds(service: Service): void {
    const goal = idsByRight(service.entries);
    const wrong = [...goal].filter(([id, entry]) => entry.published?.id !== id);
    for (const [, entry] of wrong) this.#withdraw(service, entry);
    for (const [id, entry] of wrong) {
      const { instance } = decider(entry);
      const published = instance.id === id ? instance : { ...instance, id };
      service.entries.publish(entry, published);
      this.#sink.upsert(published);
    }
  }

  #flush(): void {
    this.#turnWallMs = undefined;
    this.#sink.flush?.();
  }

  #service(name: string): Service {
    let service = this.#services.get(name);
    if (!service) {
      service = { name, entries: new Entries(), knownBy: 0 };
      this.#services.set(name, service);
      this.#sink.known?.(name, true);
    }
    return service;
  }

  #know(name: string): void {
    this.#service(name).knownBy += 1;
  }

  #forget(name: string): void {
    const service = this.#services.get(name);
    if (!service) return;
    service.knownBy -= 1;
    this.#dropIfUnknown(service);
  }

  #dropIfUnknown(service: Service): void {
    if (service.knownBy > 0 || !service.entries.isEmpty) return;
    this.#services.delete(service.name);
    this.#sink.known?.(service.name, false);
  }
}

interface MergeOperations {
  put(instance: Instance, held: boolean): void;
  drop(instance: Instance): void;
  know(service: string): void;
  forget(service: string): void;
  publishedOf(instance: Instance): Instance | undefined;
  flush(): void;
  close(): void;
}

/** One registry's way into the pool. Its calls name instances as this registry does. */
export class MergeSource {
  readonly name: string;
  /** Place in the order; lower decides. */
  rank: number;
  readonly #operations: MergeOperations;

  constructor(name: string, rank: number, operations: MergeOperations) {
    this.name = name;
    this.rank = rank;
    this.#operations = operations;
  }

  /** Adds or changes a claim. The host is spelled as `canonicalHost` does. Where an id moves to another address, `drop` the old instance first. */
  put(instance: Instance, held: boolean): void {
    this.#operations.put(instance, held);
  }

  drop(instance: Instance): void {
    this.#operations.drop(instance);
  }

  /** The registry knows the service; to be taken back once by `forget`. */
  know(service: string): void {
    this.#operations.know(service);
  }

  forget(service: string): void {
    this.#operations.forget(service);
  }

  /** What the pool shows at the address of this instance. */
  publishedOf(instance: Instance): Instance | undefined {
    return this.#operations.publishedOf(instance);
  }

  flush(): void {
    this.#operations.flush();
  }

  /** Frees the name. What was put must have been dropped before. */
  close(): void {
    this.#operations.close();
  }
}
