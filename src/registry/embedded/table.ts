import { type Instance, addressOf } from '../../core/instance.ts';
import { SmallMap } from '../../core/small-map.ts';
import type { Lease } from './leases.ts';
import type { Registration, RegistrationKey } from './record.ts';

/** One registration as it stands. */
export interface Entry {
  registration: Registration;
  /** As registered, or `down` after a missed heartbeat. */
  instance: Instance;
  lease: Lease | undefined;
  /** Index of the last change. */
  index: number;
}

/** A service stays known for a while after its last instance has gone. */
export interface ServiceEntry {
  readonly name: string;
  /** By id. */
  readonly entries: SmallMap<Entry>;
  /** By `host:port`. */
  readonly byAddress: SmallMap<Entry>;
  /** Index of the last change of any of its instances. */
  index: number;
}

const idOf = (entry: Entry): string => entry.instance.id;
const whereOf = (entry: Entry): string => addressOf(entry.instance);

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
    return this.#services.get(service)?.byAddress.get(address);
  }

  /** The id must be free in the service and its address too, or be of the same entry. */
  put(registration: Registration, index: number): Entry {
    const { instance } = registration;
    const service = this.#serviceOf(instance.service);
    service.index = index;
    const known = service.entries.get(instance.id);
    if (known) {
      this.#dropAlias(known);
      service.byAddress.delete(addressOf(known.instance));
      known.registration = registration;
      known.instance = instance;
      service.byAddress.add(known);
      known.index = index;
      this.#addAlias(known);
      return known;
    }
    const entry: Entry = { registration, instance, lease: undefined, index };
    if (service.entries.size === 0) this.#liveServices++;
    service.entries.add(entry);
    service.byAddress.add(entry);
    this.#addId(instance.id, entry);
    this.#addAlias(entry);
    this.#size++;
    return entry;
  }

  remove(key: RegistrationKey, index: number): Entry | undefined {
    const service = this.#services.get(key.service);
    const entry = service?.entries.get(key.id);
    if (!service || !entry) return undefined;
    service.entries.delete(key.id);
    service.byAddress.delete(addressOf(entry.instance));
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
      service = { name, entries: new SmallMap(idOf), byAddress: new SmallMap(whereOf), index: 0 };
      this.#services.set(name, service);
    }
    return service;
  }

  #addAlias(entry: Entry): void {
    const alias = entry.registration.origin?.alias;
    if (alias !== undefined) this.#byAlias.set(alias, entry);
  }

  #dropAlias(entry: Entry): void {
    const alias = entry.registration.origin?.alias;
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
