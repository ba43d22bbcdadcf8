import { addressOf, type Instance } from '../../src/core/instance.ts';
import type { MergeSource, RegistryMerge } from '../../src/registry/merge.ts';
import { type ServiceTable, Slot } from '../../src/registry/slot.ts';
import { SmallMap } from '../../src/core/small-map.ts';

/** Stands for the table of one registry: has a claim for each instance that it is told to put. */
export class Registrant {
  readonly source: MergeSource;
  readonly #slots = new Map<string, Slot>();

  constructor(merge: RegistryMerge, name: string) {
    this.source = merge.source(name);
  }

  put(instance: Instance, held: boolean): void {
    const slot = this.#slots.get(keyOf(instance)) ?? new Slot(this.#tableOf(instance), instance);
    this.#slots.set(keyOf(instance), slot);
    slot.show(instance, held);
    this.source.put(slot);
  }

  drop(instance: Instance): void {
    const slot = this.#slots.get(keyOf(instance));
    if (slot) this.source.drop(slot);
    this.#slots.delete(keyOf(instance));
  }

  #tableOf({ service }: Instance): ServiceTable {
    const slots = new SmallMap<Slot>(({ id }) => id);
    return { name: service, source: this.source, slots, known: true, reported: 0, kept: 0 };
  }
}

function keyOf(instance: Instance): string {
  return `${instance.service}/${instance.id}@${addressOf(instance)}`;
}
