interface Place<T> {
  readonly item: T;
  ahead: Place<T> | undefined;
  behind: Place<T> | undefined;
  isTaken: boolean;
}

/**
 * Who waits, in the order in which they came; left from anywhere. In place of a `Set`, for the reason that `Roster` gives:
 * where a line never becomes empty, as in an overload, a `Set` costs twice the time and a full collection in every
 * fifty thousand (`bench/micro/line.ts`). Links of those who have left are cut, so that they lead to nobody.
 */
export class Line<T> {
  #first: Place<T> | undefined;
  #last: Place<T> | undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Who has waited longest. */
  get first(): T | undefined {
    return this.#first?.item;
  }

  /** At the end. Returns how it leaves: true once; more often does nothing. */
  add(item: T): () => boolean {
    const place: Place<T> = { item, ahead: this.#last, behind: undefined, isTaken: true };
    if (this.#last) this.#last.behind = place;
    else this.#first = place;
    this.#last = place;
    this.#size++;
    return () => this.#leave(place);
  }

  #leave(place: Place<T>): boolean {
    if (!place.isTaken) return false;
    const { ahead, behind } = place;
    if (ahead) ahead.behind = behind;
    else this.#first = behind;
    if (behind) behind.ahead = ahead;
    else this.#last = ahead;
    place.ahead = place.behind = undefined;
    place.isTaken = false;
    this.#size--;
    return true;
  }
}
