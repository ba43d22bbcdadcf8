/** Edits applied one by one; beyond it the list is made anew, which costs less than moving its tail so often. */
const MAX_EDITS = 32;

/**
 * The slots of a service in ascending order. Edits wait until the list is asked for: a change of one among 100,000
 * moves memory and looks at no other; a change of very many sorts once.
 */
export class SortedSlots {
  #slots = new Int32Array(4);
  #count = 0;
  /** A slot to add, or the complement of one to take out, in the order of the calls. */
  readonly #edits: number[] = [];
  #stale = false;

  /** Obligation: the slot is not in the list. */
  add(slot: number): void {
    this.#edit(slot);
  }

  /** Obligation: the slot is in the list. */
  delete(slot: number): void {
    this.#edit(~slot);
  }

  /** A window on the list, good until the next edit. `all` = what the list must hold, in any order. */
  current(all: Iterable<{ readonly slot: number }>, size: number): Int32Array {
    if (this.#stale) this.#rebuild(all, size);
    else for (const edit of this.#edits) this.#apply(edit);
    this.#edits.length = 0;
    this.#stale = false;
    return this.#slots.subarray(0, this.#count);
  }

  #edit(edit: number): void {
    if (this.#edits.length === MAX_EDITS) this.#stale = true;
    else this.#edits.push(edit);
  }

  #apply(edit: number): void {
    const slot = edit < 0 ? ~edit : edit;
    const at = this.#lowerBound(slot);
    if (edit < 0) {
      this.#slots.copyWithin(at, at + 1, this.#count--);
    } else {
      this.#reserve(this.#count + 1);
      this.#slots.copyWithin(at + 1, at, this.#count++);
      this.#slots[at] = slot;
    }
  }

  #rebuild(all: Iterable<{ readonly slot: number }>, size: number): void {
    this.#count = 0;
    this.#reserve(size);
    let last = -1;
    let sorted = true;
    for (const { slot } of all) {
      this.#slots[this.#count++] = slot;
      if (slot < last) sorted = false;
      last = slot;
    }
    if (!sorted) this.#slots.subarray(0, this.#count).sort();
  }

  #lowerBound(slot: number): number {
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#slots[middle] as number) < slot) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #reserve(size: number): void {
    if (size <= this.#slots.length) return;
    const grown = new Int32Array(Math.max(size, 2 * this.#slots.length));
    grown.set(this.#slots.subarray(0, this.#count));
    this.#slots = grown;
  }
}
