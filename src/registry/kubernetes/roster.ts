import type { Instance } from '../../core/instance.ts';
import type { OnSkip, RegistryEvent } from '../backend.ts';
import { quote } from '../record.ts';
import { sameInstance } from '../same.ts';
import { joinSlices } from './endpoints.ts';
import type { Naming } from './naming.ts';
import { readMetadata, readSlice, type PortChoice, type Slice } from './slice.ts';

export interface RosterOptions {
  readonly namespace: string;
  readonly naming: Naming;
  /** The services of interest, by their names in the namespace. */
  readonly wanted: ReadonlySet<string> | 'all';
  readonly port: PortChoice;
  readonly onSkip: OnSkip;
}

type TableEvent = Exclude<RegistryEvent, { kind: 'synced' }>;

/** All slices of one namespace, joined per service, so that each change of a slice becomes the events it means. */
export class SliceRoster {
  readonly #options: RosterOptions;
  readonly #slices = new Map<string, Slice>();
  readonly #byService = new Map<string, Set<string>>();
  /** As last told, by id. */
  readonly #told = new Map<string, ReadonlyMap<string, Instance>>();

  constructor(options: RosterOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#slices.size;
  }

  /** The services told so far, by their names here. */
  get services(): Iterable<string> {
    return this.#told.keys();
  }

  /** Enters a slice of a list, without telling. */
  enter(object: unknown): void {
    this.#put(object);
  }

  /** Every service as a whole. Called once, after the list. */
  tellAll(): ReadonlyMap<string, readonly Instance[]> {
    const all = new Map<string, readonly Instance[]>();
    for (const service of this.#byService.keys()) {
      const instances = this.#join(service);
      this.#told.set(service, new Map(instances.map((each) => [each.id, each])));
      all.set(service, instances);
    }
    return all;
  }

  /** What an added or modified slice changes. */
  put(object: unknown): TableEvent[] {
    return [...this.#put(object)].flatMap((service) => this.#changes(service));
  }

  /** What a deleted slice changes. */
  delete(object: unknown): TableEvent[] {
    const metadata = readMetadata(object);
    const service = metadata && this.#forget(metadata.name);
    return service === undefined ? [] : this.#changes(service);
  }

  /** The services that are touched: mostly one; two where a slice changed hands. */
  #put(object: unknown): Set<string> {
    const touched = new Set<string>();
    const metadata = readMetadata(object);
    const before = metadata && this.#forget(metadata.name);
    if (before !== undefined) touched.add(before);
    const flaws: [id: string, why: string][] = [];
    const slice = readSlice(object, this.#options.port, (id, why) => flaws.push([id, why]));
    const service = slice && this.#nameOf(slice);
    // A selector cannot always say what is wanted, and a registry may send what was not asked for.
    const { wanted, onSkip } = this.#options;
    if (slice && wanted !== 'all' && !wanted.has(slice.service)) return touched;
    for (const [id, why] of flaws) onSkip({ service: service ?? slice?.service ?? '', id, why });
    if (!slice || service === undefined) return touched;
    this.#slices.set(slice.name, slice);
    const names = this.#byService.get(service);
    if (names) names.add(slice.name);
    else this.#byService.set(service, new Set([slice.name]));
    return touched.add(service);
  }

  #nameOf(slice: Slice): string | undefined {
    const { naming, onSkip, namespace } = this.#options;
    const name = slice.namespace === namespace ? naming.nameOf(namespace, slice.service) : undefined;
    if (name === undefined) {
      const why = `slice ${quote(slice.name)} of namespace ${quote(slice.namespace)} names a service as Kubernetes cannot`;
      onSkip({ service: slice.service, id: slice.name, why });
    }
    return name;
  }

  /** The service that the slice belonged to. */
  #forget(name: string): string | undefined {
    const slice = this.#slices.get(name);
    if (!slice) return undefined;
    this.#slices.delete(name);
    const service = this.#options.naming.nameOf(slice.namespace, slice.service);
    const names = service === undefined ? undefined : this.#byService.get(service);
    names?.delete(name);
    if (service !== undefined && names?.size === 0) this.#byService.delete(service);
    return service;
  }

  #join(service: string): Instance[] {
    const names = this.#byService.get(service) ?? [];
    return joinSlices(
      service,
      [...names].flatMap((name) => this.#slices.get(name) ?? []),
    );
  }

  #changes(service: string): TableEvent[] {
    const told = this.#told.get(service);
    if (!this.#byService.has(service)) {
      if (!told) return [];
      this.#told.delete(service);
      return [{ kind: 'absent', service }];
    }
    const instances = this.#join(service);
    const now = new Map(instances.map((each) => [each.id, each]));
    this.#told.set(service, now);
    // The first word about a service is its whole truth.
    if (!told) return [{ kind: 'reset', service, instances }];
    const events: TableEvent[] = [];
    for (const each of instances) {
      const known = told.get(each.id);
      if (!known || !sameInstance(known, each)) events.push({ kind: 'upsert', instance: each });
    }
    for (const id of told.keys()) if (!now.has(id)) events.push({ kind: 'remove', service, id });
    return events;
  }
}
