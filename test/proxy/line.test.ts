import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Line } from '../../src/proxy/line.ts';

describe('a line', () => {
  it('is served in the order in which they came, whoever leaves meanwhile', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(20), { maxLength: 200 }), (moves) => {
        const line = new Line<number>();
        const there = new Set<number>();
        const leaving = new Map<number, () => boolean>();
        for (const who of moves) {
          if (there.delete(who)) expect(leaving.get(who)?.()).toBe(true);
          else {
            expect(leaving.get(who)?.() ?? false).toBe(false);
            there.add(who);
            leaving.set(who, line.add(who));
          }
          const [first] = there;
          expect(line.first).toBe(first);
          expect(line.size).toBe(there.size);
        }
        const order: number[] = [];
        for (let who = line.first; who !== undefined; who = line.first) {
          order.push(who);
          leaving.get(who)?.();
        }
        expect(order).toEqual([...there]);
        expect(line.size).toBe(0);
      }),
    );
  });
});
