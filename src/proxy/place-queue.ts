import type { Clock } from '../core/clock.ts';
import type { RoutedService } from '../upstream/directory.ts';

/** A request that waits for a place in flight. */
export interface PlaceSeeker {
  /** Try now. False: there is still no place, and it goes on waiting. Everything else ends its wait. */
  takePlace(): boolean;
}

/** Places also come free on other threads, by new instances and by growing limits: nobody tells of those. */
const LOOK_MS = 10;

/**
 * Requests of one thread that wait because every instance of their service has as many as it may: first come, first
 * served. Bounded by each service's `queue.size`; how long one waits is its own to limit.
 */
export class PlaceQueues {
  readonly #clock: Clock;
  readonly #queues = new Map<RoutedService, Set<PlaceSeeker>>();
  /** Services of which a place has come free in this turn. */
  readonly #freed = new Set<RoutedService>();
  #cancelLook: (() => void) | undefined;
  /** All that wait. */
  length = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  isWaitedFor(service: RoutedService): boolean {
    return this.length > 0 && this.#queues.has(service);
  }

  /** False where the queue is full. */
  join(service: RoutedService, seeker: PlaceSeeker): boolean {
    let queue = this.#queues.get(service);
    if ((queue?.size ?? 0) >= service.policy.queue.size) return false;
    if (!queue) this.#queues.set(service, (queue = new Set()));
    queue.add(seeker);
    this.length++;
    this.#lookLater();
    return true;
  }

  /** Does nothing where it does not wait. */
  leave(service: RoutedService, seeker: PlaceSeeker): void {
    const queue = this.#queues.get(service);
    if (!queue?.delete(seeker)) return;
    this.length--;
    if (queue.size === 0) this.#queues.delete(service);
  }

  /** A place has come free. Who takes it does so once the caller is done with what it is at. */
  freed(service: RoutedService): void {
    if (!this.isWaitedFor(service)) return;
    if (this.#freed.size === 0) {
      queueMicrotask(() => {
        const services = [...this.#freed];
        this.#freed.clear();
        for (const each of services) this.#serve(each);
      });
    }
    this.#freed.add(service);
  }

  close(): void {
    this.#cancelLook?.();
    this.#cancelLook = undefined;
    this.#queues.clear();
    this.length = 0;
  }

  #serve(service: RoutedService): void {
    for (const seeker of this.#queues.get(service) ?? []) {
      if (!seeker.takePlace()) return;
    }
  }

  #lookLater(): void {
    this.#cancelLook ??= this.#clock.after(LOOK_MS, () => {
      this.#cancelLook = undefined;
      for (const service of [...this.#queues.keys()]) this.#serve(service);
      if (this.length > 0) this.#lookLater();
    });
  }
}
