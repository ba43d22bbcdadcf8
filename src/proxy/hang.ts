import type { RoutedMember } from '../upstream/directory.ts';
import type { Figures } from '../upstream/figures.ts';

export interface Waiting {
  /** Slot of the instance whose response head is awaited, or -1. */
  readonly waitingOn: number;
  readonly attemptBeganMs: number;
}

export interface Hanging {
  readonly slot: number;
  /** How long the oldest attempt has waited. */
  readonly oldestMs: number;
}

/** Below this an instance without samples is not slow by any standard. */
const UNKNOWN_P99_MS = 100;

/**
 * Instances that hang: their oldest attempt has waited for longer than the policy's minimum and its multiple of their
 * recent p99, they have answered nothing since it began, and a peer has. A stopped process still accepts TCP
 * connections, so that no TCP probe and no refused connection tells.
 */
export function findHanging(
  exchanges: Iterable<Waiting>,
  nowMs: number,
  members: readonly (RoutedMember | undefined)[],
  figures: Pick<Figures, 'latencyP99Ms' | 'lastSuccessMs'>,
): Hanging[] {
  const oldest = new Map<number, number>();
  for (const exchange of exchanges) {
    const slot = exchange.waitingOn;
    if (slot < 0) continue;
    const began = oldest.get(slot);
    if (began === undefined || exchange.attemptBeganMs < began) oldest.set(slot, exchange.attemptBeganMs);
  }
  const hanging: Hanging[] = [];
  for (const [slot, beganMs] of oldest) {
    const member = members[slot];
    const policy = member?.service.policy.hang;
    if (!member || !policy?.enabled) continue;
    const oldestMs = nowMs - beganMs;
    const p99Ms = figures.latencyP99Ms[slot] || UNKNOWN_P99_MS;
    if (oldestMs < policy.minWaitMs || oldestMs < policy.p99Factor * p99Ms) continue;
    if ((figures.lastSuccessMs[slot] as number) > beganMs) continue;
    if (peerAnswered(member, beganMs, figures)) hanging.push({ slot, oldestMs });
  }
  return hanging;
}

/** A service that is slow as a whole is not an instance that hangs. */
function peerAnswered(member: RoutedMember, sinceMs: number, figures: Pick<Figures, 'lastSuccessMs'>): boolean {
  for (const slot of member.service.view.slots) {
    if (slot !== member.slot && (figures.lastSuccessMs[slot] as number) > sinceMs) return true;
  }
  return false;
}
