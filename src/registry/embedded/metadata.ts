const NONE: ReadonlyMap<string, string> = new Map();
let previous: ReadonlyMap<string, string> = NONE;

/**
 * Metadata as a map that must not be changed. What equals the metadata made before shares its map: the instances of a
 * service tend to say the same, and a hundred thousand small maps weigh more than everything else about them.
 */
export function metadataOf(entries: readonly (readonly [string, string])[]): ReadonlyMap<string, string> {
  if (entries.length === 0) return NONE;
  const same = entries.length === previous.size && entries.every(([key, value]) => previous.get(key) === value);
  if (!same) previous = new Map(entries);
  return previous;
}
