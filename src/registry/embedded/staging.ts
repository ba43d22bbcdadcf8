import { addressOf } from '../../core/instance.ts';
import type { Registration, RegistrationKey } from './record.ts';
import type { Table } from './table.ts';

/**
 * The table as it will be once everything planned in this batch is on disk. Operations of one batch see each other;
 * the table itself changes only afterwards, so that a failed write leaves nothing to undo.
 */
export class Staging {
  readonly #table: Table;
  /** undefined = dropped. */
  readonly #byKey = new Map<string, Registration | undefined>();
  readonly #byAddress = new Map<string, Registration | undefined>();
  readonly #byId = new Map<string, Set<Registration>>();
  readonly #sizes = new Map<string, number>();
  #size: number;
  #liveServices: number;

  constructor(table: Table) {
    this.#table = table;
    this.#size = table.size;
    this.#liveServices = table.liveServices;
  }

  /** Registrations, all services together. */
  get size(): number {
    return this.#size;
  }

  /** Services with at least one instance. */
  get liveServices(): number {
    return this.#liveServices;
  }

  sizeOf(service: string): number {
    return this.#sizes.get(service) ?? this.#table.services.get(service)?.entries.size ?? 0;
  }

  /** Whether this batch changes the registration. */
  touches(key: RegistrationKey): boolean {
    return this.#byKey.has(keyText(key));
  }

  find(key: RegistrationKey): Registration | undefined {
    const text = keyText(key);
    return this.#byKey.has(text) ? this.#byKey.get(text) : this.#table.find(key)?.registration;
  }

  findById(id: string): readonly Registration[] {
    const untouched = this.#table
      .findById(id)
      .map((entry) => entry.registration)
      .filter((registration) => !this.touches(registration.instance));
    return [...untouched, ...(this.#byId.get(id) ?? [])];
  }

  findByAddress(service: string, address: string): Registration | undefined {
    const text = `${service}/${address}`;
    return this.#byAddress.has(text)
      ? this.#byAddress.get(text)
      : this.#table.findByAddress(service, address)?.registration;
  }

  put(registration: Registration): void {
    const { instance } = registration;
    if (this.find(instance)) this.drop(instance);
    this.#byKey.set(keyText(instance), registration);
    this.#byAddress.set(`${instance.service}/${addressOf(instance)}`, registration);
    const namesakes = this.#byId.get(instance.id) ?? new Set();
    this.#byId.set(instance.id, namesakes.add(registration));
    this.#count(instance.service, 1);
  }

  drop(key: RegistrationKey): void {
    const known = this.find(key);
    if (!known) return;
    this.#byKey.set(keyText(key), undefined);
    this.#byAddress.set(`${key.service}/${addressOf(known.instance)}`, undefined);
    this.#byId.get(key.id)?.delete(known);
    this.#count(key.service, -1);
  }

  #count(service: string, by: 1 | -1): void {
    const before = this.sizeOf(service);
    this.#sizes.set(service, before + by);
    this.#size += by;
    if (before === 0) this.#liveServices++;
    if (before + by === 0) this.#liveServices--;
  }
}

/** Names hold no slash. */
function keyText({ service, id }: RegistrationKey): string {
  return `${service}/${id}`;
}
