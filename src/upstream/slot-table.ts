/** Gives out small numbers, each to one owner at a time; those given back longest ago first, then fresh ones. */
export class SlotTable<Owner> {
  readonly capacity: number;
  readonly #owners: (Owner | undefined)[] = [];
  /** A queue: `#free[#next…]` are free, oldest first. */
  #free: number[] = [];
  #next = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  /** By slot. */
  get owners(): readonly (Owner | undefined)[] {
    return this.#owners;
  }

  get full(): boolean {
    return this.#next === this.#free.length && this.#owners.length === this.capacity;
  }

  /** Obligation: not while `full`. `own` makes the owner of the slot it is given. */
  take<Made extends Owner>(own: (slot: number) => Made): Made {
    const slot = this.#next < this.#free.length ? (this.#free[this.#next++] as number) : this.#owners.length;
    if (slot >= this.capacity) throw new Error(`no slot is left of ${this.capacity}`);
    const owner = own(slot);
    this.#owners[slot] = owner;
    return owner;
  }

  give(slot: number): void {
    if (this.#owners[slot] === undefined) throw new Error(`slot ${slot} is given back twice`);
    this.#owners[slot] = undefined;
    // What has been taken from the queue goes when it is half of it: amortized constant time.
    if (2 * this.#next > this.#free.length) {
      this.#free = this.#free.slice(this.#next);
      this.#next = 0;
    }
    this.#free.push(slot);
  }
}
