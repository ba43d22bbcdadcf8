import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SlotTable } from '../../src/upstream/slot-table.ts';

describe('the table of slots', () => {
  it('gives each slot to one owner at a time, none above its capacity, none twice back', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.constant('take' as const), fc.nat()), { maxLength: 200, size: 'max' }),
        (steps) => {
          const table = new SlotTable<{ slot: number }>(8);
          const held: number[] = [];
          for (const step of steps) {
            if (step === 'take') {
              expect(table.full).toBe(held.length === 8);
              if (table.full) continue;
              const owner = table.take((slot) => ({ slot }));
              expect(owner.slot).toBeLessThan(8);
              expect(held).not.toContain(owner.slot);
              expect(table.owners[owner.slot]).toBe(owner);
              held.push(owner.slot);
            } else if (held.length > 0) {
              const [slot] = held.splice(step % held.length, 1);
              table.give(slot!);
              expect(table.owners[slot!]).toBeUndefined();
              expect(() => table.give(slot!)).toThrow('twice');
            }
          }
        },
      ),
    );
  });

  it('reuses a slot as late as it can, and takes a fresh one only when none has come back', () => {
    const table = new SlotTable<object>(10);
    const take = (): number => {
      let taken = -1;
      table.take((slot) => ({ slot: (taken = slot) }));
      return taken;
    };
    expect([take(), take(), take()]).toEqual([0, 1, 2]);
    table.give(1);
    table.give(0);
    expect([take(), take(), take()]).toEqual([1, 0, 3]);
  });

  it('stays small over a hundred thousand owners', () => {
    const table = new SlotTable<object>(4);
    for (let owner = 0; owner < 100_000; owner++) {
      let slot = -1;
      table.take((given) => ({ given: (slot = given) }));
      expect(slot).toBe(0);
      table.give(slot);
    }
    expect(table.owners.length).toBe(1);
  });
});
