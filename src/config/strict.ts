import { z } from 'zod';

/**
 * A group of keys in which every other key is a mistake. `elsewhere` says where a key belongs that is right in
 * another place.
 *
 * The message of an unknown key is one line per key, in the order of the issue's `keys`.
 */
export function group<T extends z.core.$ZodShape>(shape: T, elsewhere: ReadonlyMap<string, string> = new Map()) {
  const known = Object.keys(shape);
  return z.strictObject(shape, {
    error: (issue) => {
      if (issue.code === 'unrecognized_keys')
        return issue.keys.map((key) => unknownKey(key, known, elsewhere)).join('\n');
      return issue.input === undefined ? 'is missing' : 'wants keys and values, indented below it';
    },
  });
}

function unknownKey(key: string, known: readonly string[], elsewhere: ReadonlyMap<string, string>): string {
  if (key === '<<') return 'merge keys are not read; what services share belongs into `defaults`';
  const hint = elsewhere.get(key);
  if (hint !== undefined) return hint;
  const close = closest(key, known);
  return close === undefined ? `unknown key; known here: ${known.join(', ')}` : `unknown key; did you mean ${close}?`;
}

/** The word that is nearest to a misspelt one, if any is near enough to be worth saying. */
export function closest(word: string, among: readonly string[]): string | undefined {
  if (word.length > 40) return undefined;
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of among) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** Insertions, deletions, replacements and swaps of neighbours that turn one word into the other. */
function editDistance(from: string, to: string): number {
  const rows: number[][] = [Array.from({ length: to.length + 1 }, (_, column) => column)];
  const at = (row: number, column: number): number => rows[row]?.[column] ?? Number.POSITIVE_INFINITY;
  for (let row = 1; row <= from.length; row++) {
    rows.push([row]);
    for (let column = 1; column <= to.length; column++) {
      const replaced = at(row - 1, column - 1) + (from[row - 1] === to[column - 1] ? 0 : 1);
      const swapped =
        from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1]
          ? at(row - 2, column - 2) + 1
          : Number.POSITIVE_INFINITY;
      rows[row]?.push(Math.min(replaced, swapped, at(row - 1, column) + 1, at(row, column - 1) + 1));
    }
  }
  return at(from.length, to.length);
}
