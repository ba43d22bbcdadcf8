/** Edits applied one by one; beyond it the list is made anew, which costs less than moving its tail so often. */
const MAX_EDITS = 32;
/** Up to so many are sorted anew each time, and nothing is kept: there may be 10,000 services of this size. */
const FEW = 32;
const few = new Int32Array(FEW);
const NONE = new Int32Array(0);
/** Of a list that is made anew anyway: nothing is added to it. */
const NO_EDITS: number[] = [];

/**
 * The slots of a service in ascending order. Edits wait until the list is asked for: a change of one among 100,000
 * moves memory and looks at no other; a change of very many sorts once.
 */
export class SortedSlots {
  #slots = NONE;
  #count = 0;
  /** A slot to add, or the complement of one to take out, in the order of the calls. */
  #edits = NO_EDITS;
  #stale = true;

  /** Obligation: the slot is not in the list. */
  add(slot: number): void {
    this.#edit(slot);
  }

  /** Obligation: the slot is in the list. */
  delete(slot: number): void {
    this.#edit(~slot);
  }

  /** A window on the list, good until the next call of any such list. `all` = what the list must hold, in any order. */
  current(all: Iterable<{ readonly slot: number }>, size: number): Int32Array {
    if (size <= FEW) {
      this.#slots = NONE;
      this.#makeAnew();
      return few.subarray(0, fill(few, all));
    }
    if (this.#stale) this.#rebuild(all, size);
    else for (const edit of this.#edits) this.#apply(edit);
    this.#edits = [];
    this.#stale = false;
    return this.#slots.subarray(0, this.#count);
  }

  #edit(edit: number): void {
    if (this.#stale) return;
    if (this.#edits.length === MAX_EDITS) this.#makeAnew();
    else this.#edits.push(edit);
  }

  #makeAnew(): void {
    this.#stale = true;
    this.#edits = NO_EDITS;
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
    this.#count = fill(this.#slots, all);
  }

  #reserve(size: number): void {
    if (size <= this.#slots.length) return;
    const grown = new Int32Array(Math.max(size, 2 * this.#slots.length));
    grown.set(this.#slots.subarray(0, this.#count));
    this.#slots = grown;
  }
}

/** Writes the slots in ascending order; returns how many. */
function fill(into: Int32Array, all: Iterable<{ readonly slot: number }>): number {
  let count = 0;
  let last = -1;
  let sorted = true;
  for (const { slot } of all) {
    into[count++] = slot;
    if (slot < last) sorted = false;
    last = slot;
  }
  if (!sorted) into.subarray(0, count).sort();
  return count;
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
