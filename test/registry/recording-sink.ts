import { expect } from 'vitest';
import { addressOf, type Instance } from '../../src/core/instance.ts';
import { isName } from '../../src/core/names.ts';
import type { MergeSink } from '../../src/registry/merge.ts';

/** Stands for the fleet: keeps what it is told, writes down every call, and checks what the merge promises. */
export class RecordingSink implements MergeSink {
  readonly pool = new Map<string, Instance>();
  readonly calls: string[] = [];
  readonly services = new Set<string>();
  /** Called before an instance goes. */
  onRemove: (instance: Instance) => void = () => undefined;

  upsert(each: Instance): void {
    const key = `${each.service}/${each.id}`;
    const before = this.pool.get(key);
    if (before) expect(addressOf(before), 'a new address needs a remove first').toBe(addressOf(each));
    expect(isName(each.id)).toBe(true);
    expect(this.services).toContain(each.service);
    this.pool.set(key, each);
    this.calls.push(`+${key}`);
  }

  remove(service: string, id: string): void {
    const key = `${service}/${id}`;
    const gone = this.pool.get(key);
    expect(gone, `${key} was there`).toBeDefined();
    this.onRemove(gone!);
    this.pool.delete(key);
    this.calls.push(`-${key}`);
  }

  known(service: string, known: boolean): void {
    if (known) this.services.add(service);
    else this.services.delete(service);
  }

  /** The calls since the last time. */
  take(): string[] {
    return this.calls.splice(0);
  }

  ids(): string[] {
    return [...this.pool.keys()].sort();
  }
}
