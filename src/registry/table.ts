import type { Instance } from '../core/instance.ts';
import { SmallMap } from '../core/small-map.ts';
import type { OnSkip, RegistryEvent } from './backend.ts';
import { canonicalHost } from './address.ts';
import { type Claim, type ClaimSource, sameAddress } from './claims.ts';
import { sameInstance } from './same.ts';
import { type ServiceTable, Slot } from './slot.ts';

/** Where the table shows what it believes: `MergeSource`. */
export interface TableOutput extends ClaimSource {
  put(claim: Claim): void;
  drop(claim: Claim): void;
  know(service: string): void;
  forget(service: string): void;
  flush(): void;
}

export type TableEvent = Exclude<RegistryEvent, { kind: 'synced' }>;

/** Instances that one event took out of the registry's report. Until somebody keeps them they go with the next `show`. */
export interface Departure {
  readonly service: ServiceTable;
  readonly gone: readonly { readonly slot: Slot; readonly instance: Instance }[];
  /** The registry named the instance (`remove`), rather than leaving it out of a list. */
  readonly explicit: boolean;
  /** Somebody took them back, as the registry knows for certain. */
  readonly deliberate: boolean;
}

const LEFT_OUT = { explicit: false, deliberate: false };

export interface TableLimits {
  readonly instances: number;
  readonly services: number;
}

export interface Shown {
  /** Changes that reached the output. */
  readonly changes: number;
  /** When the oldest of them arrived; undefined = none. */
  readonly oldestMs: number | undefined;
  readonly finished: boolean;
}

/**
 * What one registry says, and what is believed of it.
 *
 * Events change the table at once; the output is brought in line with it by `show`, in slices. A slot that changes
 * twice in between is shown once, as it is then: a slow consumer costs no memory, and sees the latest.
 */
export class SourceTable {
  readonly #services = new Map<string, ServiceTable>();
  readonly #output: TableOutput;
  readonly #limits: TableLimits;
  readonly #onSkip: OnSkip;
  readonly #onReturn: (slot: Slot) => void;
  /** Changed slots in order, and when the first change of each arrived. */
  #waiting: Slot[] = [];
  #arrivedMs: number[] = [];
  #next = 0;
  #reported = 0;
  #kept = 0;

  /** `onReturn` is told of every kept instance that the registry reports again. */
  constructor(output: TableOutput, limits: TableLimits, onSkip: OnSkip, onReturn: (slot: Slot) => void) {
    this.#output = output;
    this.#limits = limits;
    this.#onSkip = onSkip;
    this.#onReturn = onReturn;
  }

  /** Instances believed to be registered, held ones included. */
  get instances(): number {
    return this.#reported + this.#kept;
  }

  get held(): number {
    return this.#kept;
  }

  get size(): number {
    return this.#services.size;
  }

  services(): Iterable<ServiceTable> {
    return this.#services.values();
  }

  service(name: string): ServiceTable | undefined {
    return this.#services.get(name);
  }

  /** Takes over one event. What it took away is for the caller to judge before the next `show`. */
  apply(event: TableEvent, arrivedMs: number): Departure | undefined {
    switch (event.kind) {
      case 'upsert': {
        const service = this.#open(event.instance.service);
        if (service) this.#report(service, event.instance, arrivedMs);
        return undefined;
      }
      case 'remove': {
        const slot = this.#services.get(event.service)?.slots.get(event.id);
        if (!slot?.reported) return undefined;
        return this.#depart(slot.service, [slot], arrivedMs, { explicit: true, deliberate: event.deliberate ?? false });
      }
      case 'absent': {
        const service = this.#services.get(event.service);
        if (!service) return undefined;
        service.known = false;
        const departure = this.#depart(service, service.slots.values(), arrivedMs, LEFT_OUT);
        this.#closeIfEmpty(service);
        return departure;
      }
      case 'reset':
        return this.#reset(event.service, event.instances, arrivedMs);
    }
  }

  /** Believes a departed instance for longer. */
  keep(slot: Slot): void {
    if (slot.reported || slot.kept) return;
    slot.keep(true);
    slot.service.kept += 1;
    this.#kept += 1;
  }

  /** Ends `keep`. Nothing where the registry reports the instance again. */
  letGo(slot: Slot, nowMs: number): void {
    if (this.#unkeep(slot)) this.#wait(slot, nowMs);
  }

  /** The services of which the registry says other than the table, in either direction; of `only`, where it is given. */
  differences(listed: ReadonlyMap<string, readonly Instance[]>, only?: ReadonlySet<string>): string[] {
    const names = only ?? new Set([...listed.keys(), ...this.#services.keys()]);
    return [...names].filter((name) => !agrees(this.#services.get(name), listed.get(name) ?? []));
  }

  /** Shows waiting changes until all are shown or `enough` says so; it is asked every few dozen changes. */
  show(enough: () => boolean): Shown {
    let oldestMs: number | undefined;
    let changes = 0;
    const first = this.#next;
    for (let slot = this.#waiting[first]; slot; slot = this.#waiting[this.#next]) {
      if ((this.#next - first) % 32 === 31 && enough()) break;
      const sinceMs = this.#arrivedMs[this.#next] ?? 0;
      this.#next += 1;
      slot.waiting = false;
      if (!this.#tryShow(slot, sinceMs)) continue;
      changes += 1;
      oldestMs = Math.min(oldestMs ?? sinceMs, sinceMs);
    }
    const finished = this.#next >= this.#waiting.length;
    // Under a flood that never lets up, what has been shown must go all the same.
    if (finished || this.#next > 10_000) {
      this.#waiting = this.#waiting.slice(this.#next);
      this.#arrivedMs = this.#arrivedMs.slice(this.#next);
      this.#next = 0;
    }
    if (changes > 0) this.#output.flush();
    return { changes, oldestMs, finished };
  }

  /** Takes everything out, as when the registry leaves the configuration. */
  clear(nowMs: number): void {
    for (const service of this.#services.values()) {
      for (const slot of service.slots.values()) this.letGo(slot, nowMs);
      this.apply({ kind: 'absent', service: service.name }, nowMs);
    }
    this.show(() => false);
  }

  #reset(name: string, instances: readonly Instance[], arrivedMs: number): Departure | undefined {
    const service = this.#open(name);
    if (!service) return undefined;
    const left = new Set(service.reported > 0 ? service.slots.keys() : []);
    for (const each of instances) {
      left.delete(each.id);
      this.#report(service, each, arrivedMs);
    }
    if (left.size === 0) return undefined;
    const gone = [...left].flatMap((id) => service.slots.get(id) ?? []);
    return this.#depart(service, gone, arrivedMs, LEFT_OUT);
  }

  #open(name: string): ServiceTable | undefined {
    let service = this.#services.get(name);
    if (!service) {
      if (this.#services.size >= this.#limits.services) {
        this.#onSkip({ service: name, id: '*', why: `there are more than ${this.#limits.services} services` });
        return undefined;
      }
      service = { name, source: this.#output, slots: new SmallMap(idOf), known: true, reported: 0, kept: 0 };
      this.#services.set(name, service);
      this.#output.know(name);
    }
    service.known = true;
    return service;
  }

  #closeIfEmpty(service: ServiceTable): void {
    if (service.known || service.slots.size > 0) return;
    this.#services.delete(service.name);
    this.#output.forget(service.name);
  }

  #report(service: ServiceTable, said: Instance, arrivedMs: number): void {
    const instance = withCanonicalHost(said);
    let slot = service.slots.get(instance.id);
    if (slot?.reported) {
      // The old object stays, and the new one is garbage while it is young.
      if (sameInstance(slot.reported, instance)) return;
    } else {
      if (!slot && this.instances >= this.#limits.instances) {
        this.#onSkip({
          service: service.name,
          id: instance.id,
          why: `there are more than ${this.#limits.instances} instances`,
        });
        return;
      }
      if (!slot) {
        slot = new Slot(service, instance);
        service.slots.add(slot);
      }
      service.reported += 1;
      this.#reported += 1;
    }
    slot.reported = instance;
    if (this.#unkeep(slot)) this.#onReturn(slot);
    this.#wait(slot, arrivedMs);
  }

  #depart(
    service: ServiceTable,
    slots: Iterable<Slot>,
    arrivedMs: number,
    how: Pick<Departure, 'explicit' | 'deliberate'>,
  ): Departure | undefined {
    const gone: { slot: Slot; instance: Instance }[] = [];
    for (const slot of slots) {
      const instance = slot.reported;
      if (!instance) continue;
      slot.reported = undefined;
      service.reported -= 1;
      this.#reported -= 1;
      this.#wait(slot, arrivedMs);
      gone.push({ slot, instance });
    }
    return gone.length > 0 ? { service, gone, ...how } : undefined;
  }

  #unkeep(slot: Slot): boolean {
    if (!slot.kept) return false;
    slot.keep(false);
    slot.service.kept -= 1;
    this.#kept -= 1;
    return true;
  }

  #wait(slot: Slot, sinceMs: number): void {
    if (slot.waiting) return;
    slot.waiting = true;
    this.#waiting.push(slot);
    this.#arrivedMs.push(sinceMs);
  }

  #tryShow(slot: Slot, sinceMs: number): boolean {
    try {
      return this.#showSlot(slot);
    } catch (error) {
      // A bug further down; the change must not be lost with it.
      this.#wait(slot, sinceMs);
      throw error;
    }
  }

  /** True where the output was told something. */
  #showSlot(slot: Slot): boolean {
    const { shown } = slot;
    const next = slot.reported ?? slot.kept;
    const held = slot.reported === undefined && next !== undefined;
    if (!next) {
      if (shown) this.#unshow(slot);
      slot.service.slots.delete(slot.id);
      this.#closeIfEmpty(slot.service);
      return shown !== undefined;
    }
    if (next === shown && held === slot.held && slot.told) return false;
    if (shown && !sameAddress(shown, next)) this.#unshow(slot);
    slot.show(next, held);
    this.#output.put(slot);
    slot.told = true;
    return true;
  }

  #unshow(slot: Slot): void {
    this.#output.drop(slot);
    slot.shown = undefined;
  }
}

const idOf = (slot: Slot): string => slot.id;

const MAYBE_NOT_CANONICAL = /[A-Z:[]|\.$/;

/** An adapter may have passed on what its registry spells otherwise than another one: the merge goes by the spelling. */
export function withCanonicalHost(instance: Instance): Instance {
  if (!MAYBE_NOT_CANONICAL.test(instance.host)) return instance;
  const host = canonicalHost(instance.host) ?? instance.host;
  return host === instance.host ? instance : { ...instance, host };
}

function agrees(service: ServiceTable | undefined, listed: readonly Instance[]): boolean {
  const said = new Map(listed.map((each) => [each.id, each]));
  if ((service?.reported ?? 0) !== said.size) return false;
  for (const [id, each] of said) {
    const reported = service?.slots.get(id)?.reported;
    if (!reported || !sameInstance(reported, withCanonicalHost(each))) return false;
  }
  return true;
}
