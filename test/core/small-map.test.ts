import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SmallMap } from '../../src/core/small-map.ts';

interface Named {
  readonly name: string;
}

describe('a small map', () => {
  it('is a Map in all that it answers, with few values and with many', () => {
    const toggles = fc.array(fc.nat(40), { maxLength: 200, size: 'max' });
    fc.assert(
      fc.property(toggles, (keys) => {
        const small = new SmallMap<Named>((value) => value.name);
        const model = new Map<string, Named>();
        for (const key of keys) {
          const name = `service-${key}`;
          expect(small.has(name)).toBe(model.has(name));
          if (model.has(name)) {
            expect(small.delete(name)).toBe(model.delete(name));
          } else {
            const value = { name };
            small.add(value);
            model.set(name, value);
          }
          expect(small.delete('nobody')).toBe(false);
          expect(small.get(name)).toBe(model.get(name));
          expect(small.size).toBe(model.size);
        }
        expect([...small]).toEqual([...model]);
        expect([...small.keys()]).toEqual([...model.keys()]);
        expect([...small.values()]).toEqual([...model.values()]);
        const told: unknown[] = [];
        small.forEach((value, key) => told.push([key, value]));
        expect(told).toEqual([...model]);
      }),
      { numRuns: 50 },
    );
  });

  it('lets what is iterated over be taken out meanwhile', () => {
    for (const size of [3, 50]) {
      const small = new SmallMap<Named>((value) => value.name);
      for (let at = 0; at < size; at += 1) small.add({ name: String(at) });
      let seen = 0;
      for (const { name } of small.values()) {
        small.delete(name);
        seen += 1;
      }
      expect(seen).toBe(size);
      expect(small.size).toBe(0);
    }
  });
});
