import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Roster } from '../../src/proxy/roster.ts';

describe('a roster', () => {
  it('names those that came and have not left, whatever the order', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(30), { maxLength: 200 }), (moves) => {
        const roster = new Roster<number>();
        const there = new Set<number>();
        const leaving = new Map<number, () => void>();
        for (const who of moves) {
          if (there.delete(who)) leaving.get(who)?.();
          else {
            there.add(who);
            leaving.set(who, roster.add(who));
          }
          expect(roster.size).toBe(there.size);
          expect(roster.all.sort((a, b) => a - b)).toEqual([...there].sort((a, b) => a - b));
        }
      }),
    );
  });

  it('lets nobody else go where somebody leaves twice', () => {
    const roster = new Roster<string>();
    const [first, second, third] = ['a', 'b', 'c'].map((who) => roster.add(who));
    first?.();
    first?.();
    expect(roster.all.sort()).toEqual(['b', 'c']);
    third?.();
    roster.add('d');
    third?.();
    expect(roster.all.sort()).toEqual(['b', 'd']);
    second?.();
    expect(roster.all).toEqual(['d']);
  });

  it('may be left while it is gone through', () => {
    const roster = new Roster<() => void>();
    for (let count = 0; count < 5; count += 1) {
      let leave = (): void => undefined;
      leave = roster.add(() => leave());
    }
    for (const each of roster.all) each();
    expect(roster.size).toBe(0);
  });
});
