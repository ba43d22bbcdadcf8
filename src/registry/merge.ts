import type { Clock } from '../core/clock.ts';
import { type Instance, withId } from '../core/instance.ts';
import {
  byPrecedence,
  type Claim,
  Claims,
  type ClaimSource,
  decider,
  idsByRight,
  onAddress,
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
  /** Wall-clock milliseconds since which this registry has had it, as seen from here; in whole seconds. */
  readonly sinceWallMs: number;
  /** Its weight, zone, state and metadata are the ones in use. */
  readonly decides: boolean;
}

interface Service {
  readonly name: string;
  readonly claims: Claims;
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
  #turnS: number | undefined;

  constructor(sink: MergeSink, clock: Clock) {
    this.#sink = sink;
    this.#clock = clock;
  }

  /** Adds a registry at the end of the order. Throws where the name is taken. */
  source(name: string): MergeSource {
    if (this.#sources.has(name)) throw new Error(`there are two registries named ${name}`);
    const last = Math.max(-1, ...[...this.#sources.values()].map((each) => each.rank));
    const source = new MergeSource(name, last + 1, {
      put: (claim) => this.#put(claim),
      drop: (claim) => this.#drop(claim),
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
      for (const first of service.claims) this.#publish(service, first);
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
    for (const { published } of this.#services.get(service)?.claims ?? []) if (published) yield published;
  }

  /** Who has the instance with this id of the pool, the registry that decides first. */
  origins(service: string, id: string): readonly Origin[] {
    return this.#originsOf(this.#services.get(service)?.claims.get(id));
  }

  /** The same by service, host and port, which it has before it has an id, and whatever a registry calls it. */
  originsAt(instance: Instance): readonly Origin[] {
    return this.#originsOf(this.#services.get(instance.service)?.claims.at(instance));
  }

  /** What the pool has at the service, host and port of this instance. */
  publishedAt(instance: Instance): Instance | undefined {
    return this.#services.get(instance.service)?.claims.at(instance)?.published;
  }

  #originsOf(first: Claim | undefined): readonly Origin[] {
    if (!first) return [];
    const decides = decider(first);
    return [...onAddress(first)].sort(byPrecedence).map((claim) => ({
      registry: claim.source.name,
      registeredId: claim.instance.id,
      state: claim.instance.state,
      held: claim.held,
      sinceWallMs: claim.sinceS * 1000,
      decides: claim === decides,
    }));
  }

  #put(claim: Claim): void {
    const service = this.#service(claim.instance.service);
    if (claim.sinceS === 0) claim.sinceS = this.#turnS ??= Math.floor(this.#clock.wall() / 1000);
    this.#publish(service, service.claims.add(claim));
  }

  #drop(claim: Claim): void {
    const service = this.#services.get(claim.instance.service);
    const first = service?.claims.at(claim.instance);
    if (!service || !first) return;
    claim.sinceS = 0;
    if (claim !== first || claim.next) {
      this.#publish(service, service.claims.delete(claim, first));
      return;
    }
    this.#withdraw(service, first);
    service.claims.deleteOnly(first);
    this.#dropIfUnknown(service);
  }

  #publish(service: Service, first: Claim): void {
    const { instance } = decider(first);
    const id = this.#idFor(service, first, instance.id);
    const next = withId(instance, id);
    const { published } = first;
    if (published?.id === id && sameInstance(published, next)) return;
    if (published && published.id !== id) this.#withdraw(service, first);
    // The sink first: if it throws, the same call again must find the work undone.
    this.#sink.upsert(next);
    service.claims.publish(first, next);
  }

  #withdraw(service: Service, first: Claim): void {
    const { published } = first;
    if (!published) return;
    this.#sink.remove(service.name, published.id);
    service.claims.publish(first, undefined);
  }

  #idFor(service: Service, first: Claim, wanted: string): string {
    const current = first.published?.id;
    if (current !== undefined && (this.#settled || current === wanted)) return current;
    const holder = service.claims.get(wanted);
    return !holder || holder === first ? wanted : suffixed(wanted, first, service.claims);
  }

  /** Which registry answered first must not show in the ids. */
  #settleIds(service: Service): void {
    const goal = idsByRight(service.claims);
    const wrong = [...goal].filter(([id, first]) => first.published?.id !== id);
    for (const [, first] of wrong) this.#withdraw(service, first);
    for (const [id, first] of wrong) {
      const published = withId(decider(first).instance, id);
      service.claims.publish(first, published);
      this.#sink.upsert(published);
    }
  }

  #flush(): void {
    this.#turnS = undefined;
    this.#sink.flush?.();
  }

  #service(name: string): Service {
    let service = this.#services.get(name);
    if (!service) {
      service = { name, claims: new Claims(), knownBy: 0 };
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
    if (service.knownBy > 0 || !service.claims.isEmpty) return;
    this.#services.delete(service.name);
    this.#sink.known?.(service.name, false);
  }
}

interface MergeOperations {
  put(claim: Claim): void;
  drop(claim: Claim): void;
  know(service: string): void;
  forget(service: string): void;
  publishedOf(instance: Instance): Instance | undefined;
  flush(): void;
  close(): void;
}

/** One registry's way into the pool. Its calls name instances as this registry does. */
export class MergeSource implements ClaimSource {
  readonly name: string;
  /** Place in the order; lower decides. */
  rank: number;
  readonly #operations: MergeOperations;

  constructor(name: string, rank: number, operations: MergeOperations) {
    this.name = name;
    this.rank = rank;
    this.#operations = operations;
  }

  /** Takes in a claim, or what has changed in it. Its host is spelled as `canonicalHost` does. */
  put(claim: Claim): void {
    this.#operations.put(claim);
  }

  /** Obligation: before its instance moves to another address. */
  drop(claim: Claim): void {
    this.#operations.drop(claim);
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
