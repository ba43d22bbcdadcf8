import { type Clock, sleep } from '../core/clock.ts';
import type { TargetEvidence } from '../health/evidence.ts';
import type { Member } from '../upstream/directory.ts';

const POLL_MS = 50;

/**
 * Resolves when every instance has been probed once, or after `withinMs`: with the number of those that have not. What
 * waits for a heartbeat is not waited for.
 */
export async function firstProbes(
  members: readonly (Member | undefined)[],
  evidenceOf: (member: Member) => TargetEvidence | undefined,
  clock: Clock,
  withinMs: number,
): Promise<number> {
  const endMs = clock.now() + withinMs;
  const unprobed = (member: Member): boolean => {
    const evidence = member.leaving ? undefined : evidenceOf(member);
    return evidence?.checks.some(({ type, last }) => type !== 'ttl' && last === undefined) ?? false;
  };
  let waiting = members.filter((member) => member !== undefined);
  for (;;) {
    waiting = waiting.filter(unprobed);
    if (waiting.length === 0 || clock.now() >= endMs) return waiting.length;
    await sleep(clock, POLL_MS);
  }
}
