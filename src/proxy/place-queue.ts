import type { Clock } from '../core/clock.ts';
import type { RoutedService } from '../upstream/directory.ts';
import { Line } from './line.ts';

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
  readonly #queues = new Map<RoutedService, Line<PlaceSeeker>>();
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

  /** Returns how it leaves (idempotent); undefined where the queue is full. */
  join(service: RoutedService, seeker: PlaceSeeker): (() => void) | undefined {
    const known = this.#queues.get(service);
    if ((known?.size ?? 0) >= service.policy.queue.size) return undefined;
    const line = known ?? new Line<PlaceSeeker>();
    if (!known) this.#queues.set(service, line);
    const leave = line.add(seeker);
    this.length++;
    this.#lookLater();
    return () => {
      // After `close` nobody waits any more.
      if (!leave() || this.#queues.get(service) !== line) return;
      this.length--;
      if (line.size === 0) this.#queues.delete(service);
    };
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
    const line = this.#queues.get(service);
    // Who comes back to the end meanwhile has had its turn.
    for (let left = line?.size ?? 0; left > 0; left--) if (line?.first?.takePlace() !== true) return;
  }

  #lookLater(): void {
    this.#cancelLook ??= this.#clock.after(LOOK_MS, () => {
      this.#cancelLook = undefined;
      for (const service of [...this.#queues.keys()]) this.#serve(service);
      if (this.length > 0) this.#lookLater();
    });
  }
}
