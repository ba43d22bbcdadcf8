import type { Instance } from '../core/instance.ts';
import type { InstanceStatus } from '../registry/embedded/api/views.ts';
import { type InstanceStanding, isUp, standingOf } from '../telemetry/fleet-source.ts';
import type { Fleet } from '../upstream/fleet.ts';

const WORDS: Readonly<Record<InstanceStanding, string>> = {
  available: 'up',
  degraded: 'degraded',
  down: 'down',
  drained: 'draining',
  ejected: 'ejected',
  'breaker-open': 'ejected',
  unknown: 'starting',
  failing: 'failing',
  'half-open': 'recovering',
};

/**
 * The gateway's word on an instance, in place of its registry's own; the best one where it has several names in the pool.
 * Undefined: it has none yet.
 */
export function wordOn(fleet: Pick<Fleet, 'find'>, names: readonly Instance[]): InstanceStatus | undefined {
  let word: InstanceStatus | undefined;
  for (const { service, id } of names) {
    const member = fleet.find(service, id);
    if (!member) continue;
    const standing = standingOf(member.health);
    const healthy = isUp(standing);
    if (word && !healthy) continue;
    word = { status: WORDS[standing], healthy, reason: member.instance.stateReason };
    if (healthy) return word;
  }
  return word;
}
