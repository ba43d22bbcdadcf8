import type { Clock } from '../core/clock.ts';
import { Histories } from './histories.ts';
import type { TimelineEvent } from './timeline-event.ts';

export type { TimelineEvent };

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
  readonly #latestLimit: number;
  readonly #histories: Histories;
  readonly #latest: TimelineEvent[] = [];
  readonly #listeners = new Set<(event: TimelineEvent) => void>();
  #sequence = 0;

  constructor(options: TimelineOptions) {
    this.#clock = options.clock;
    this.#histories = new Histories(options.perSubject ?? 16, options.total ?? 65_536);
    this.#latestLimit = options.latest ?? 2048;
  }

  /** Events kept by subject, all together. */
  get size(): number {
    return this.#histories.size;
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
    this.#histories.add(event);
    this.#latest.push(event);
    // Cut rarely: shifting at every event would move the whole array each time.
    if (this.#latest.length >= this.#latestLimit * 2) this.#latest.splice(0, this.#latest.length - this.#latestLimit);
    for (const listener of this.#listeners) listener(event);
    return event;
  }

  /** Oldest first. Without an instance: what concerned the service as a whole. */
  of(service: string | undefined, instance?: string): readonly TimelineEvent[] {
    return this.#histories.of(service, instance);
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
}

function bounded(text: string): string {
  return text.length > EVIDENCE_CHARS ? `${text.slice(0, EVIDENCE_CHARS)}…` : text;
}
