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
    const at = lowerBound(this.#slots, this.#count, slot);
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

  #reserve(size: number): void {
    if (size <= this.#slots.length) return;
    const grown = new Int32Array(Math.max(size, 2 * this.#slots.length));
    grown.set(this.#slots.subarray(0, this.#count));
    this.#slots = grown;
  }
}

/** Index of the first of `count` ascending slots that is not below `slot`. */
function lowerBound(slots: Int32Array, count: number, slot: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((slots[middle] as number) < slot) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Ascending slots with each of `touched` (ascending as well, each once) in or out as `belongs` says. Copies memory in
 * one go between two changes; the same array where nothing changes.
 */
export function withChanges(
  slots: Int32Array,
  touched: readonly number[],
  belongs: (slot: number) => boolean,
): Int32Array {
  const changes: { readonly at: number; readonly slot: number; readonly added: boolean }[] = [];
  let length = slots.length;
  for (const slot of touched) {
    const at = lowerBound(slots, slots.length, slot);
    const added = belongs(slot);
    if (added === (slots[at] === slot)) continue;
    changes.push({ at, slot, added });
    length += added ? 1 : -1;
  }
  if (changes.length === 0) return slots;
  const changed = new Int32Array(length);
  let from = 0;
  let to = 0;
  for (const { at, slot, added } of changes) {
    changed.set(slots.subarray(from, at), to);
    to += at - from;
    from = added ? at : at + 1;
    if (added) changed[to++] = slot;
  }
  changed.set(slots.subarray(from), to);
  return changed;
}
