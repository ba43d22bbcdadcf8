/** Whether two parts of a configuration say the same. */
export function same(one: unknown, other: unknown): boolean {
  return fingerprint(one) === fingerprint(other);
}

/** Text that is the same for configurations that say the same. It may hold secrets. */
export function fingerprint(config: unknown): string {
  // undefined as a whole has no JSON.
  return JSON.stringify([config], (_, part: unknown) =>
    part instanceof Map || part instanceof Set ? [...part] : part,
  );
}
