import type { Clock } from '../core/clock.ts';
import type { Member } from '../upstream/directory.ts';
import type { Fleet } from '../upstream/fleet.ts';

/** An ejection without a breaker to end it. */
const EJECTED_FOR_MS = 5000;

/**
 * Takes instances out on what the data path has seen of them. Their breakers decide when they may be tried again; without
 * one, time does.
 */
export class Suspects {
  readonly #fleet: Fleet;
  readonly #clock: Clock;
  /** The ends of ejections without a breaker; no more than there are members. */
  readonly #ends = new Map<Member, () => void>();
  readonly #stopListening: () => void;

  constructor(fleet: Fleet, clock: Clock) {
    this.#fleet = fleet;
    this.#clock = clock;
    this.#stopListening = fleet.listen({
      removed: (member) => {
        this.#ends.get(member)?.();
        this.#ends.delete(member);
      },
    });
  }

  /** It hangs, or (`unreachable`) nobody listens there. The ejection cap may forbid it. */
  eject(slot: number, cause: string, unreachable: boolean): void {
    const member = this.#fleet.memberBySlot(slot);
    if (!member || member.leaving) return;
    const breaker = member.guard();
    if (breaker) {
      breaker.trip(cause, unreachable);
      return;
    }
    if (member.health.ejected || !this.#fleet.setEjected(member, true, cause)) return;
    const end = this.#clock.after(EJECTED_FOR_MS, () => {
      this.#ends.delete(member);
      this.#fleet.setEjected(member, false, 'its time out of the rotation is over');
    });
    this.#ends.set(member, end);
  }

  close(): void {
    this.#stopListening();
    for (const cancel of this.#ends.values()) cancel();
    this.#ends.clear();
  }
}
