import { addressOf, type Instance, instance } from '../../core/instance.ts';
import { SmallMap } from '../../core/small-map.ts';
import type { Lease } from './leases.ts';
import type { Origin } from './origin.ts';
import type { Registration, RegistrationKey } from './record.ts';

/** One registration as it stands. Kept small: there may be 100,000. */
export class Entry {
  /** As registered, or `down` after a missed heartbeat. */
  instance: Instance;
  lease: Lease | undefined = undefined;
  /** Index of the last change. */
  index: number;
  #registered: Instance;
  #ttlMs: number | undefined;
  #origin: Origin | undefined;

  constructor(registration: Registration, index: number) {
    this.instance = this.#registered = registration.instance;
    this.#ttlMs = registration.ttlMs;
    this.#origin = registration.origin;
    this.index = index;
  }

  /** Made anew each time. */
  get registration(): Registration {
    return { instance: this.#registered, ttlMs: this.#ttlMs, origin: this.#origin };
  }

  get alias(): string | undefined {
    return this.#origin?.alias;
  }

  /** It is registered anew, under the same id. */
  register({ instance, ttlMs, origin }: Registration, index: number): void {
    this.instance = this.#registered = instance;
    this.#ttlMs = ttlMs;
    this.#origin = origin;
    this.index = index;
  }
}

/** Beyond so many, looking through an array takes longer than a hash. */
const FEW = 16;

/** A service stays known for a while after its last instance has gone. */
export class ServiceEntry {
  readonly name: string;
  /** By id. */
  readonly entries = new SmallMap<Entry>(idOf);
  /** Index of the last change of any of its instances. */
  index = 0;
  /** By `host:port`, from when there were too many to look them through. */
  #byAddress: Map<string, Entry> | undefined;

  constructor(name: string) {
    this.name = name;
  }

  /** By `host:port`. */
  at(address: string): Entry | undefined {
    if (this.#byAddress) return this.#byAddress.get(address);
    for (const entry of this.entries.values()) if (addressOf(entry.instance) === address) return entry;
    return undefined;
  }

  add(entry: Entry): void {
    this.entries.add(entry);
    if (this.#byAddress) this.#byAddress.set(addressOf(entry.instance), entry);
    else if (this.entries.size > FEW)
      this.#byAddress = new Map(Array.from(this.entries.values(), (each) => [addressOf(each.instance), each]));
  }

  delete(entry: Entry): void {
    this.entries.delete(entry.instance.id);
    this.#byAddress?.delete(addressOf(entry.instance));
  }

  /** `change` may move the entry to another address. */
  change(entry: Entry, change: () => void): void {
    this.#byAddress?.delete(addressOf(entry.instance));
    change();
    this.#byAddress?.set(addressOf(entry.instance), entry);
  }
}

const idOf = (entry: Entry): string => entry.instance.id;

/** What is registered, in memory: the truth. Every path but iteration is O(1). Knows no time and no disk. */
export class Table {
  readonly #services = new Map<string, ServiceEntry>();
  /** An id is unique within its service; in the rare case that several services use it, all of them are here. */
  readonly #byId = new Map<string, Entry | Entry[]>();
  readonly #byAlias = new Map<string, Entry>();
  #size = 0;
  #liveServices = 0;

  get size(): number {
    return this.#size;
  }

  /** Services with at least one instance. */
  get liveServices(): number {
    return this.#liveServices;
  }

  get services(): ReadonlyMap<string, ServiceEntry> {
    return this.#services;
  }

  find({ service, id }: RegistrationKey): Entry | undefined {
    return this.#services.get(service)?.entries.get(id);
  }

  /** The entries with this id, of whichever service. */
  findById(id: string): readonly Entry[] {
    const found = this.#byId.get(id);
    if (!found) return [];
    return Array.isArray(found) ? found : [found];
  }

  findByAlias(alias: string): Entry | undefined {
    return this.#byAlias.get(alias);
  }

  findByAddress(service: string, address: string): Entry | undefined {
    return this.#services.get(service)?.at(address);
  }

  /** The id must be free in the service and its address too, or be of the same entry. */
  put(given: Registration, index: number): Entry {
    const service = this.#serviceOf(given.instance.service);
    service.index = index;
    // Each came with a text of its own for the name of its service.
    const registration = { ...given, instance: instance({ ...given.instance, service: service.name }) };
    const known = service.entries.get(given.instance.id);
    if (known) {
      this.#dropAlias(known);
      service.change(known, () => {
        known.register(registration, index);
      });
      this.#addAlias(known);
      return known;
    }
    const entry = new Entry(registration, index);
    if (service.entries.size === 0) this.#liveServices++;
    service.add(entry);
    this.#addId(entry.instance.id, entry);
    this.#addAlias(entry);
    this.#size++;
    return entry;
  }

  remove(key: RegistrationKey, index: number): Entry | undefined {
    const service = this.#services.get(key.service);
    const entry = service?.entries.get(key.id);
    if (!service || !entry) return undefined;
    service.delete(entry);
    service.index = index;
    if (service.entries.size === 0) this.#liveServices--;
    this.#removeId(key.id, entry);
    this.#dropAlias(entry);
    this.#size--;
    return entry;
  }

  /** A service with instances is not forgotten. */
  forget(service: string): boolean {
    return this.#services.get(service)?.entries.size === 0 && this.#services.delete(service);
  }

  *entries(): Generator<Entry> {
    for (const service of this.#services.values()) yield* service.entries.values();
  }

  #serviceOf(name: string): ServiceEntry {
    let service = this.#services.get(name);
    if (!service) {
      service = new ServiceEntry(name);
      this.#services.set(name, service);
    }
    return service;
  }

  #addAlias(entry: Entry): void {
    const { alias } = entry;
    if (alias !== undefined) this.#byAlias.set(alias, entry);
  }

  #dropAlias(entry: Entry): void {
    const { alias } = entry;
    if (alias !== undefined && this.#byAlias.get(alias) === entry) this.#byAlias.delete(alias);
  }

  #addId(id: string, entry: Entry): void {
    const known = this.#byId.get(id);
    if (!known) this.#byId.set(id, entry);
    else if (Array.isArray(known)) known.push(entry);
    else this.#byId.set(id, [known, entry]);
  }

  #removeId(id: string, entry: Entry): void {
    const known = this.#byId.get(id);
    const rest = Array.isArray(known) ? known.filter((other) => other !== entry) : [];
    const [first] = rest;
    if (!first) this.#byId.delete(id);
    else this.#byId.set(id, rest.length === 1 ? first : rest);
  }
}
