/** Beyond so many, looking through an array takes longer than a hash. */
const FEW = 16;

/**
 * Values by a key that each of them has in itself. Most services have few instances, and there are very many services:
 * few values are an array that is looked through, a third of the size of a `Map`. Iteration is in the order of arrival;
 * over few values it goes over those that were there when it began.
 */
export class SmallMap<V> implements ReadonlyMap<string, V> {
  readonly #keyOf: (value: V) => string;
  /** The array is replaced, not changed: so it is no longer than it must be. */
  #held: readonly V[] | Map<string, V> = [];

  /** Obligation: the key of a value that is held does not change. */
  constructor(keyOf: (value: V) => string) {
    this.#keyOf = keyOf;
  }

  get size(): number {
    return this.#held instanceof Map ? this.#held.size : this.#held.length;
  }

  get(key: string): V | undefined {
    const held = this.#held;
    if (held instanceof Map) return held.get(key);
    for (const value of held) if (this.#keyOf(value) === key) return value;
    return undefined;
  }

  has(key: string): boolean {
    return this.get(key) !== undefined;
  }

  /** Obligation: nothing is held by its key. */
  add(value: V): void {
    if (!(this.#held instanceof Map)) {
      if (this.#held.length < FEW) {
        this.#held = this.#held.concat([value]);
        return;
      }
      this.#held = new Map(this.#held.map((each) => [this.#keyOf(each), each]));
    }
    this.#held.set(this.#keyOf(value), value);
  }

  delete(key: string): boolean {
    const held = this.#held;
    if (held instanceof Map) return held.delete(key);
    const at = held.findIndex((value) => this.#keyOf(value) === key);
    if (at >= 0) this.#held = held.toSpliced(at, 1);
    return at >= 0;
  }

  values(): MapIterator<V> {
    return this.#held.values();
  }

  *keys(): MapIterator<string> {
    for (const value of this.values()) yield this.#keyOf(value);
  }

  *entries(): MapIterator<[string, V]> {
    for (const value of this.values()) yield [this.#keyOf(value), value];
  }

  [Symbol.iterator](): MapIterator<[string, V]> {
    return this.entries();
  }

  forEach(call: (value: V, key: string, map: ReadonlyMap<string, V>) => void): void {
    for (const [key, value] of this.entries()) call(value, key, this);
  }
}
