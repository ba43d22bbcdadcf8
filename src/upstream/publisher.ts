import type { Clock } from '../core/clock.ts';
import type { ServiceRecord } from './service-record.ts';

/** Making the view of a large service takes a while: 5 ms must lie between two of a service of 100,000. */
const GAP_MS_PER_MEMBER = 5 / 100_000;
/** Below this a gap is not worth a timer: services of less than 20,000 are published in the turn of the change. */
const SHORTEST_GAP_MS = 1;

/**
 * Publishes what has changed, once per service and turn of the event loop. A first change is never held back; a storm
 * of them in a large service is taken together.
 */
export class Publisher {
  readonly #clock: Clock;
  readonly #publish: (service: ServiceRecord, nowMs: number) => void;
  #dirty: ServiceRecord[] = [];
  #scheduled = false;
  #cancelTimer: (() => void) | undefined;
  #closed = false;

  constructor(clock: Clock, publish: (service: ServiceRecord, nowMs: number) => void) {
    this.#clock = clock;
    this.#publish = publish;
  }

  touch(service: ServiceRecord): void {
    if (service.dirty || this.#closed) return;
    service.dirty = true;
    this.#dirty.push(service);
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#run(false);
    });
  }

  /** Everything, now. */
  flush(): void {
    this.#run(true);
  }

  close(): void {
    this.#closed = true;
    this.#dirty = [];
    this.#cancelTimer?.();
  }

  #run(all: boolean): void {
    const dirty = this.#dirty;
    if (dirty.length === 0) return;
    this.#dirty = [];
    const nowMs = this.#clock.now();
    let soonestMs = Infinity;
    let done = 0;
    try {
      for (const service of dirty) {
        const waitMs = service.publishedAtMs + service.members.size * GAP_MS_PER_MEMBER - nowMs;
        done++;
        if (all || waitMs < SHORTEST_GAP_MS) {
          this.#publish(service, nowMs);
        } else {
          this.#dirty.push(service);
          soonestMs = Math.min(soonestMs, waitMs);
        }
      }
    } finally {
      // A listener that throws must not cost other services their views.
      for (; done < dirty.length; done++) this.#dirty.push(dirty[done] as ServiceRecord);
      if (this.#dirty.length > 0) this.#runAfter(Math.max(soonestMs === Infinity ? 0 : soonestMs, SHORTEST_GAP_MS));
    }
  }

  #runAfter(waitMs: number): void {
    this.#cancelTimer?.();
    this.#cancelTimer = this.#clock.after(waitMs, () => {
      this.#cancelTimer = undefined;
      this.#run(false);
    });
  }
}
