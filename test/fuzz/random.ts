import type { Random } from '../../src/core/random.ts';

export const below = (random: Random, limit: number): number => Math.floor(random() * limit);
export const chance = (random: Random, share: number): boolean => random() < share;

export function oneOf<T>(random: Random, items: readonly T[]): T {
  const item = items[below(random, items.length)];
  if (item === undefined) throw new Error('nothing to choose from');
  return item;
}

/** Cuts into up to `most` pieces, none of them empty. */
export function pieces(random: Random, bytes: Buffer, most: number): Buffer[] {
  const cuts = new Set<number>([0, bytes.length]);
  for (let i = below(random, most); i > 0; i--) cuts.add(below(random, bytes.length + 1));
  const at = [...cuts].sort((a, b) => a - b);
  return at.slice(1).map((end, i) => bytes.subarray(at[i], end));
}
