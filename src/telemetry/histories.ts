import type { TimelineEvent } from './timeline-event.ts';

/** No event. */
const NONE = -1;
/** Texts of an event, one behind the other: kind, from, to, cause, evidence. */
const TEXTS = 5;

/**
 * The events of each subject, as columns: tens of thousands are kept at all times, and an object for each, in a list for
 * each subject, would hold twice as much. Those of a subject are a list from the newest to the oldest.
 */
export class Histories {
  readonly #perSubject: number;
  readonly #total: number;
  /** The newest event of each subject; least recently changed first. */
  readonly #newest = new Map<string, number>();
  #sequences = new Float64Array(0);
  #walls = new Float64Array(0);
  /** The next older event of the same subject; of one that is free, the next that is. */
  #older = new Int32Array(0);
  readonly #texts: (string | undefined)[] = [];
  #free = NONE;
  #used = 0;
  #count = 0;

  constructor(perSubject: number, total: number) {
    this.#perSubject = perSubject;
    this.#total = total;
  }

  /** Events of all subjects together. */
  get size(): number {
    return this.#count;
  }

  /** Names hold no slash, so that no two subjects share a key. */
  static keyOf(service: string | undefined, instance: string | undefined): string {
    return `${service ?? ''}/${instance ?? ''}`;
  }

  add(event: TimelineEvent): void {
    const key = Histories.keyOf(event.service, event.instance);
    const before = this.#newest.get(key) ?? NONE;
    const at = this.#take();
    this.#write(at, event);
    this.#older[at] = before;
    this.#newest.delete(key);
    this.#newest.set(key, at);
    this.#shorten(at);
    while (this.#count > this.#total) this.#forgetQuietest();
  }

  /** Oldest first. */
  of(service: string | undefined, instance: string | undefined): TimelineEvent[] {
    const events: TimelineEvent[] = [];
    let at = this.#newest.get(Histories.keyOf(service, instance)) ?? NONE;
    for (; at !== NONE; at = this.#older[at] as number) events.push(this.#read(at, service, instance));
    return events.reverse();
  }

  #write(at: number, { sequence, wall, kind, from, to, cause, evidence }: TimelineEvent): void {
    this.#sequences[at] = sequence;
    this.#walls[at] = wall;
    [kind, from, to, cause, evidence].forEach((text, nth) => {
      this.#texts[at * TEXTS + nth] = text;
    });
  }

  #read(at: number, service: string | undefined, instance: string | undefined): TimelineEvent {
    const [kind, from, to, cause, evidence] = this.#texts.slice(at * TEXTS, (at + 1) * TEXTS);
    return {
      sequence: this.#sequences[at] as number,
      wall: this.#walls[at] as number,
      kind: kind as TimelineEvent['kind'],
      service,
      instance,
      from,
      to: to as string,
      cause: cause as string,
      evidence,
    };
  }

  /** Of a subject that has too many, the oldest go. */
  #shorten(newest: number): void {
    let last = newest;
    for (let kept = 1; kept < this.#perSubject && last !== NONE; kept++) last = this.#older[last] as number;
    if (last === NONE) return;
    this.#give(this.#older[last] as number);
    this.#older[last] = NONE;
  }

  #forgetQuietest(): void {
    const [quietest] = this.#newest;
    if (!quietest) return;
    this.#newest.delete(quietest[0]);
    this.#give(quietest[1]);
  }

  #take(): number {
    this.#count++;
    const at = this.#free;
    if (at !== NONE) {
      this.#free = this.#older[at] as number;
      return at;
    }
    if (this.#used === this.#older.length) this.#grow();
    return this.#used++;
  }

  /** The event and all older ones of its subject. */
  #give(newest: number): void {
    for (let at = newest; at !== NONE;) {
      const older = this.#older[at] as number;
      this.#texts.fill(undefined, at * TEXTS, (at + 1) * TEXTS);
      this.#older[at] = this.#free;
      this.#free = at;
      this.#count--;
      at = older;
    }
  }

  #grow(): void {
    const room = Math.min(2 * this.#used + 64, this.#total + 1);
    this.#sequences = widened(this.#sequences, new Float64Array(room));
    this.#walls = widened(this.#walls, new Float64Array(room));
    this.#older = widened(this.#older, new Int32Array(room));
  }
}

function widened<Column extends Float64Array | Int32Array>(narrow: Column, wide: Column): Column {
  wide.set(narrow);
  return wide;
}
