import type { Clock } from '../../core/clock.ts';
import { TimingWheel, WheelEntry } from '../../core/wheel.ts';
import type { RegistrationKey } from './record.ts';

export interface LeasesOptions {
  readonly clock: Clock;
  /** A whole ttl has gone by without a heartbeat. */
  readonly onMissed: (lease: Lease) => void;
  /** As many as `EXPIRES_AFTER_TTLS`. The lease has ended when this is called; `revive` brings it back. */
  readonly onExpired: (lease: Lease) => void;
}

/** An instance is removed after so many missed ttls. */
export const EXPIRES_AFTER_TTLS = 3;

const TICK_MS = 50;
const SLOTS = 1024;
/** How often a stall of the process is looked for. */
const PULSE_MS = 500;
/** A timer this late means that heartbeats were waiting unread: nobody missed any. */
const STALL_MS = 500;

/** The promise of an instance to send heartbeats. Time in it is lease time: without the stalls of this process. */
export class Lease extends WheelEntry {
  readonly key: RegistrationKey;
  readonly ttlMs: number;
  /** Silence makes the instance `down`, and in the end removes it; false = it stays `down`. */
  readonly expires: boolean;
  renewedAtMs: number;
  missed = false;
  /** `onExpired` was called, and neither `end` nor `revive` since. */
  ending = false;
  readonly #leases: Leases;

  constructor(leases: Leases, key: RegistrationKey, ttlMs: number, expires: boolean) {
    super();
    this.#leases = leases;
    this.key = key;
    this.ttlMs = ttlMs;
    this.expires = expires;
    this.renewedAtMs = leases.now();
  }

  expire(): void {
    this.#leases.check(this);
  }
}

/**
 * Heartbeats on the monotonic clock. A heartbeat only writes a number; the deadline is looked at when the time comes,
 * in one timing wheel for all leases.
 *
 * While this process stands still (SIGSTOP, a blocked event loop, a frozen container) heartbeats wait unread in its
 * sockets. That time does not count, or a pause of the registry would declare every instance dead.
 */
export class Leases {
  readonly #clock: Clock;
  readonly #wheel: TimingWheel;
  readonly #onMissed: (lease: Lease) => void;
  readonly #onExpired: (lease: Lease) => void;
  readonly #pulse: Pulse;
  #stalledMs = 0;
  #size = 0;

  constructor({ clock, onMissed, onExpired }: LeasesOptions) {
    this.#clock = clock;
    this.#onMissed = onMissed;
    this.#onExpired = onExpired;
    this.#wheel = new TimingWheel({
      clock,
      tickMs: TICK_MS,
      slots: SLOTS,
      onWake: (lateMs) => {
        if (lateMs >= STALL_MS) this.#stalledMs += lateMs;
      },
    });
    this.#pulse = new Pulse(() => {
      this.#beat();
    });
  }

  get size(): number {
    return this.#size;
  }

  /** Milliseconds that this process has stood still, and that were not held against anybody. */
  get stalledMs(): number {
    return this.#stalledMs;
  }

  now(): number {
    return this.#clock.now() - this.#stalledMs;
  }

  grant(key: RegistrationKey, ttlMs: number, expires = true): Lease {
    const lease = new Lease(this, key, ttlMs, expires);
    this.#size++;
    this.#schedule(lease, ttlMs);
    if (!this.#pulse.scheduled) this.#beat();
    return lease;
  }

  /** Returns whether the lease had been missed. */
  renew(lease: Lease): boolean {
    const { missed } = lease;
    lease.renewedAtMs = this.now();
    if (missed) {
      lease.missed = false;
      lease.ending = false;
      this.#schedule(lease, lease.ttlMs);
    }
    return missed;
  }

  /** After `onExpired`, when the instance could not be removed: asks again one ttl later. */
  revive(lease: Lease): void {
    lease.ending = false;
    this.#wheel.schedule(lease, this.#clock.now() + lease.ttlMs);
  }

  end(lease: Lease): void {
    this.#wheel.cancel(lease);
    this.#size--;
    if (this.#size === 0) this.#wheel.cancel(this.#pulse);
  }

  stop(): void {
    this.#wheel.stop();
  }

  /** Called by the lease when its time may have come. */
  check(lease: Lease): void {
    const silentMs = this.now() - lease.renewedAtMs;
    const limitMs = lease.ttlMs * (lease.missed ? EXPIRES_AFTER_TTLS : 1);
    if (silentMs < limitMs) {
      this.#schedule(lease, limitMs);
      return;
    }
    if (lease.missed) {
      lease.ending = true;
      this.#onExpired(lease);
      return;
    }
    lease.missed = true;
    if (lease.expires) this.#schedule(lease, lease.ttlMs * EXPIRES_AFTER_TTLS);
    this.#onMissed(lease);
  }

  #schedule(lease: Lease, silentMs: number): void {
    this.#wheel.schedule(lease, lease.renewedAtMs + silentMs + this.#stalledMs);
  }

  /** The wheel sleeps until something is due; a stall in between would go unnoticed without a reason to wake up. */
  #beat(): void {
    if (this.#size > 0) this.#wheel.schedule(this.#pulse, this.#clock.now() + PULSE_MS);
  }
}

class Pulse extends WheelEntry {
  readonly #beat: () => void;

  constructor(beat: () => void) {
    super();
    this.#beat = beat;
  }

  expire(): void {
    this.#beat();
  }
}
