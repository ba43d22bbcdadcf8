import { type TimingWheel, WheelEntry } from '../core/wheel.ts';

/** A power of two. */
const BUCKETS = 2048;
/** Rows whose turns come in one go of the event loop; the rest follows one tick later. */
const MAX_PER_GO = 4096;
/** Links: 0 is none, then the heads of the buckets, then that of the rows of the moment, then the rows. */
const FIRST_HEAD = 1;
const MOMENT = FIRST_HEAD + BUCKETS;
const FIRST_ROW = MOMENT + 1;

/**
 * When rows of a table have their turns: a timing wheel whose entries are numbers. Of a hundred thousand checks nearly
 * all wait nearly all the time, and an entry object for each, with a boxed due time, would be most of what they hold.
 *
 * Rows of one tick form a circular list, and the list as a whole is an entry of the common wheel while it holds any.
 */
export class Turns {
  readonly #wheel: TimingWheel;
  readonly #tickMs: number;
  readonly #onTurn: (row: number, nowMs: number) => void;
  readonly #buckets: readonly Bucket[];
  /** By row. Kept when the turn has come. */
  #dueMs = new Float64Array(0);
  #next = new Int32Array(FIRST_ROW);
  #previous = new Int32Array(FIRST_ROW);
  #goMs = Number.NaN;
  #leftOfGo = 0;

  /** `tickMs`: that of the wheel. */
  constructor(wheel: TimingWheel, tickMs: number, onTurn: (row: number, nowMs: number) => void) {
    this.#wheel = wheel;
    this.#tickMs = tickMs;
    this.#onTurn = onTurn;
    this.#buckets = Array.from({ length: BUCKETS }, (_, at) => new Bucket(this, FIRST_HEAD + at));
    for (let head = FIRST_HEAD; head <= MOMENT; head++) this.#next[head] = this.#previous[head] = head;
  }

  /** When the turn of the row is, or was. */
  at(row: number): number {
    return this.#dueMs[row] as number;
  }

  /** Sets the turn of the row, in place of the one it may wait for. */
  schedule(row: number, dueMs: number): void {
    if (Number.isNaN(dueMs)) throw new RangeError('a turn needs a time, not NaN');
    if (row >= this.#dueMs.length) this.#grow(row);
    this.cancel(row);
    this.#dueMs[row] = dueMs;
    const bucket = this.#bucketOf(dueMs);
    this.#append(bucket.head, FIRST_ROW + row);
    this.#wake(bucket, dueMs);
  }

  /** The row waits no more. */
  cancel(row: number): void {
    const link = FIRST_ROW + row;
    const next = this.#next[link] ?? 0;
    if (next === 0) return;
    this.#unlink(link, next);
    // It was the only one of its bucket: nobody is to wake up for that.
    if (next < MOMENT && this.#next[next] === next) this.#wheel.cancel(this.#buckets[next - FIRST_HEAD] as Bucket);
  }

  /** A turn of at least one row of the bucket has come. */
  come(bucket: Bucket, nowMs: number): void {
    if (nowMs !== this.#goMs) {
      this.#goMs = nowMs;
      this.#leftOfGo = MAX_PER_GO;
    }
    // Apart, so that whatever a turn does to the bucket cannot disturb the walk.
    this.#moveAll(bucket.head, MOMENT);
    let soonestMs = Number.POSITIVE_INFINITY;
    try {
      for (let link = this.#first(MOMENT); link !== MOMENT && this.#leftOfGo > 0; link = this.#first(MOMENT)) {
        this.#unlink(link, this.#next[link] as number);
        const row = link - FIRST_ROW;
        const dueMs = this.#dueMs[row] as number;
        if (dueMs > nowMs) {
          this.#append(bucket.head, link);
          soonestMs = Math.min(soonestMs, dueMs);
          continue;
        }
        this.#leftOfGo--;
        this.#onTurn(row, nowMs);
      }
    } finally {
      // Also when a turn threw: the others still have theirs.
      if (this.#first(MOMENT) !== MOMENT) soonestMs = nowMs;
      this.#moveAll(MOMENT, bucket.head);
      if (soonestMs < Number.POSITIVE_INFINITY && this.#first(bucket.head) !== bucket.head)
        this.#wake(bucket, soonestMs);
    }
  }

  #bucketOf(dueMs: number): Bucket {
    return this.#buckets[Math.ceil(dueMs / this.#tickMs) & (BUCKETS - 1)] as Bucket;
  }

  #wake(bucket: Bucket, dueMs: number): void {
    if (!bucket.scheduled || dueMs < bucket.dueMs) this.#wheel.schedule(bucket, dueMs);
  }

  #first(head: number): number {
    return this.#next[head] as number;
  }

  #append(head: number, link: number): void {
    const last = this.#previous[head] as number;
    this.#next[link] = head;
    this.#previous[link] = last;
    this.#next[last] = link;
    this.#previous[head] = link;
  }

  #unlink(link: number, next: number): void {
    const previous = this.#previous[link] as number;
    this.#next[previous] = next;
    this.#previous[next] = previous;
    this.#next[link] = 0;
  }

  /** Puts all of one list behind the other, in constant time. */
  #moveAll(from: number, to: number): void {
    const first = this.#first(from);
    if (first === from) return;
    const last = this.#previous[from] as number;
    const before = this.#previous[to] as number;
    this.#next[before] = first;
    this.#previous[first] = before;
    this.#next[last] = to;
    this.#previous[to] = last;
    this.#next[from] = this.#previous[from] = from;
  }

  #grow(row: number): void {
    const rows = roomFor(row);
    this.#dueMs = widened(this.#dueMs, new Float64Array(rows));
    this.#next = widened(this.#next, new Int32Array(FIRST_ROW + rows));
    this.#previous = widened(this.#previous, new Int32Array(FIRST_ROW + rows));
  }
}

/** The rows of one tick, modulo the number of buckets. */
class Bucket extends WheelEntry {
  readonly head: number;
  readonly #turns: Turns;

  constructor(turns: Turns, head: number) {
    super();
    this.#turns = turns;
    this.head = head;
  }

  expire(nowMs: number): void {
    this.#turns.come(this, nowMs);
  }
}

/** How many rows to make room for where this one has none: an eighth more, so that growth stays cheap and so does room. */
export function roomFor(row: number): number {
  return row + (row >>> 3) + 256;
}

/** The wider column, with what the narrower one holds. */
export function widened<Column extends Float64Array | Int32Array | Uint32Array | Uint8Array>(
  narrow: Column,
  wide: Column,
): Column {
  wide.set(narrow);
  return wide;
}
