import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SortedSlots, withChanges } from '../../src/upstream/sorted-slots.ts';

const ascending = (slots: Iterable<number>): number[] => [...slots].sort((one, other) => one - other);
const owners = (slots: Iterable<number>): { slot: number }[] => [...slots].map((slot) => ({ slot }));

describe('sorted slots', () => {
  it('hold what was put in and not taken out, in order, however many edits lie between two looks', () => {
    const batch = fc.array(fc.nat(200), { maxLength: 80, size: 'max' });
    fc.assert(
      fc.property(fc.array(batch, { maxLength: 10 }), (batches) => {
        const slots = new SortedSlots();
        const held = new Set<number>();
        for (const toggles of batches) {
          for (const slot of toggles) {
            if (held.delete(slot)) {
              slots.delete(slot);
            } else {
              held.add(slot);
              slots.add(slot);
            }
          }
          expect([...slots.current(owners(held), held.size)]).toEqual(ascending(held));
        }
      }),
    );
  });
});

describe('changes of a list of slots', () => {
  it('make the same list as making it anew, and leave the old one as it was', () => {
    const set = fc.uniqueArray(fc.nat(100), { maxLength: 50, size: 'max' });
    fc.assert(
      fc.property(set, set, set, (before, touched, wanted) => {
        const slots = Int32Array.from(ascending(before));
        const belongs = (slot: number): boolean => wanted.includes(slot);
        const changed = withChanges(slots, ascending(touched), belongs);
        const want = new Set([...before.filter((slot) => !touched.includes(slot)), ...touched.filter(belongs)]);
        expect([...changed]).toEqual(ascending(want));
        expect([...slots]).toEqual(ascending(before));
      }),
    );
  });

  it('are no new list where nothing changes', () => {
    const slots = Int32Array.of(1, 2, 3);
    expect(withChanges(slots, [2, 4], (slot) => slot === 2)).toBe(slots);
  });
});
