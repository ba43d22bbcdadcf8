import type { Clock } from '../core/clock.ts';
import type { Fleet } from '../upstream/fleet.ts';

/** An ejection without a breaker to end it. */
const EJECTED_FOR_MS = 5000;

/**
 * Takes an instance out on what the data path has seen of it: it hangs, or (`unreachable`) nobody listens there. Its
 * breaker decides when it may be tried again; without one, time does.
 */
export function eject(fleet: Fleet, clock: Clock, slot: number, cause: string, unreachable: boolean): void {
  const member = fleet.memberBySlot(slot);
  if (!member || member.leaving) return;
  const breaker = member.guard();
  if (breaker) {
    breaker.trip(cause, unreachable);
    return;
  }
  if (!fleet.setEjected(member, true, cause)) return;
  clock.after(EJECTED_FOR_MS, () => {
    if (!member.leaving) fleet.setEjected(member, false, 'its time out of the rotation is over');
  });
}
