import type { Instance } from '../core/instance.ts';
import { addressOf } from '../core/instance.ts';

/** What one registry has of a service: its instances, in its own words. */
export type RegistryTable = ReadonlyMap<string, readonly Instance[]>;

/** One difference between two registries, seen in our names of services. */
export interface Difference {
  readonly service: string;
  /** Address, which is the identity of an instance across registries. */
  readonly address: string;
  readonly kind: 'only-first' | 'only-second' | 'differs';
  /** Where both have it: what they say differently. */
  readonly fields: readonly { readonly name: string; readonly first: string; readonly second: string }[];
}

export interface RegistryDiff {
  readonly first: string;
  readonly second: string;
  readonly same: number;
  readonly differences: readonly Difference[];
}

/** Compares by service and address; ids are each registry's own affair. In the order of services and addresses. */
export function diffTables(first: RegistryTable, second: RegistryTable): Omit<RegistryDiff, 'first' | 'second'> {
  const differences: Difference[] = [];
  let same = 0;
  for (const service of [...new Set([...first.keys(), ...second.keys()])].sort()) {
    const inFirst = byAddress(first.get(service) ?? []);
    const inSecond = byAddress(second.get(service) ?? []);
    for (const address of [...new Set([...inFirst.keys(), ...inSecond.keys()])].sort()) {
      const one = inFirst.get(address);
      const other = inSecond.get(address);
      if (!one || !other) {
        differences.push({ service, address, kind: one ? 'only-first' : 'only-second', fields: [] });
        continue;
      }
      const fields = differingFields(one, other);
      if (fields.length > 0) differences.push({ service, address, kind: 'differs', fields });
      else same++;
    }
  }
  return { same, differences };
}

function byAddress(instances: readonly Instance[]): Map<string, Instance> {
  return new Map(instances.map((each) => [addressOf(each), each]));
}

const COMPARED = ['weight', 'zone', 'version', 'secure', 'state'] as const;

function differingFields(one: Instance, other: Instance): Difference['fields'] {
  return COMPARED.filter((name) => one[name] !== other[name]).map((name) => ({
    name,
    first: String(one[name] ?? 'none'),
    second: String(other[name] ?? 'none'),
  }));
}
