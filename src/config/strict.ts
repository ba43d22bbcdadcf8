import { z } from 'zod';
import { closest } from './closest.ts';

/**
 * A group of keys in which every other key is a mistake. `elsewhere` says where a key belongs that is right in
 * another place.
 *
 * The message of an unknown key is one line per key, in the order of the issue's `keys`.
 */
export function group<T extends z.core.$ZodShape>(shape: T, elsewhere: ReadonlyMap<string, string> = new Map()) {
  const known = Object.keys(shape);
  const example = known.includes('enabled') ? ', such as `enabled: false`' : '';
  return z.strictObject(shape, {
    error: (issue) => {
      if (issue.code === 'unrecognized_keys')
        return issue.keys.map((key) => unknownKey(key, known, elsewhere)).join('\n');
      return issue.input === undefined ? 'is missing' : `wants keys and values, indented below it${example}`;
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
