import type { Clock } from '../core/clock.ts';

export type TimelineKind =
  | 'registered'
  | 'deregistered'
  // The gates of an instance, as the fleet calls them.
  | 'drain'
  | 'ejection'
  | 'breaker'
  | 'probe'
  /** An instance does clearly worse than its peers, and is not ejected for it. */
  | 'outlier'
  /** Of a whole service: panic begins or ends. */
  | 'panic'
  /** Of a whole service: its fallback instances come into use, or are needed no longer. */
  | 'fallback'
  /** Of a registry: lost, back, resynced, a change held back. */
  | 'registry'
  /** Of a data-plane thread: it has died, and another takes its place. */
  | 'thread'
  | 'config';

/** One change, and why it came. */
export interface TimelineEvent {
  /** Counts up by one; a gap means that events have been forgotten. */
  readonly sequence: number;
  /** Milliseconds since the epoch. */
  readonly wall: number;
  readonly kind: TimelineKind;
  /** undefined: the event is not about one service. */
  readonly service: string | undefined;
  /** undefined: the event is about the whole service. */
  readonly instance: string | undefined;
  readonly from: string | undefined;
  readonly to: string;
  /** Who or what decided: "3 probes in a row failed", "operator". */
  readonly cause: string;
  /** What was seen: "connect ECONNREFUSED 10.0.0.7:80". */
  readonly evidence: string | undefined;
}

export type TimelineEntry = Pick<TimelineEvent, 'kind' | 'to' | 'cause'> &
  Partial<Pick<TimelineEvent, 'service' | 'instance' | 'from' | 'evidence'>>;

export interface TimelineOptions {
  readonly clock: Clock;
  /** Events kept of one subject (an instance, a service as a whole, the gateway itself). */
  readonly perSubject?: number;
  /** Events kept of all subjects together: those of the subject that has been quiet for longest go first. */
  readonly total?: number;
  /** The latest events of everything, in order. */
  readonly latest?: number;
}

const EVIDENCE_CHARS = 256;

/**
 * What changed and why, in bounded memory: a flapping instance forgets its own past only, and with very many
 * instances the quiet ones are forgotten first.
 */
export class Timeline {
  readonly #clock: Clock;
  readonly #perSubject: number;
  readonly #total: number;
  readonly #latestLimit: number;
  /** Least recently changed first. */
  readonly #bySubject = new Map<string, readonly TimelineEvent[]>();
  readonly #latest: TimelineEvent[] = [];
  readonly #listeners = new Set<(event: TimelineEvent) => void>();
  #count = 0;
  #sequence = 0;

  constructor(options: TimelineOptions) {
    this.#clock = options.clock;
    this.#perSubject = options.perSubject ?? 16;
    this.#total = options.total ?? 65_536;
    this.#latestLimit = options.latest ?? 2048;
  }

  /** Events kept by subject, all together. */
  get size(): number {
    return this.#count;
  }

  add(entry: TimelineEntry): TimelineEvent {
    const event: TimelineEvent = {
      sequence: ++this.#sequence,
      wall: this.#clock.wall(),
      kind: entry.kind,
      service: entry.service,
      instance: entry.instance,
      from: entry.from,
      to: entry.to,
      cause: bounded(entry.cause),
      evidence: entry.evidence === undefined ? undefined : bounded(entry.evidence),
    };
    this.#keep(subjectOf(event.service, event.instance), event);
    this.#latest.push(event);
    // Cut rarely: shifting at every event would move the whole array each time.
    if (this.#latest.length >= this.#latestLimit * 2) this.#latest.splice(0, this.#latest.length - this.#latestLimit);
    for (const listener of this.#listeners) listener(event);
    return event;
  }

  /** Oldest first. Without an instance: what concerned the service as a whole. */
  of(service: string | undefined, instance?: string): readonly TimelineEvent[] {
    return [...(this.#bySubject.get(subjectOf(service, instance)) ?? [])];
  }

  /** The latest events of everything, oldest first, with a higher sequence number than `after`. */
  latest({
    after = 0,
    limit = this.#latestLimit,
  }: { readonly after?: number; readonly limit?: number } = {}): readonly TimelineEvent[] {
    const newer = this.#latest.filter(({ sequence }) => sequence > after);
    return newer.slice(-Math.min(limit, this.#latestLimit));
  }

  /** `listener` is called within `add`: it must not throw, and must not take long. Returns the end of it. */
  subscribe(listener: (event: TimelineEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  #keep(subject: string, event: TimelineEvent): void {
    const before = this.#bySubject.get(subject) ?? [];
    // Replaced rather than grown: V8 makes room for 16 more, and most of 30,000 subjects have one or two.
    const events = (before.length < this.#perSubject ? before : before.slice(1)).concat([event]);
    this.#bySubject.delete(subject);
    this.#bySubject.set(subject, events);
    this.#count += events.length - before.length;
    while (this.#count > this.#total) {
      const [quietest] = this.#bySubject;
      if (!quietest) return;
      this.#bySubject.delete(quietest[0]);
      this.#count -= quietest[1].length;
    }
  }
}

/** Names hold no slash, so no two subjects share a key. */
function subjectOf(service: string | undefined, instance: string | undefined): string {
  return `${service ?? ''}/${instance ?? ''}`;
}

function bounded(text: string): string {
  return text.length > EVIDENCE_CHARS ? `${text.slice(0, EVIDENCE_CHARS)}…` : text;
}
