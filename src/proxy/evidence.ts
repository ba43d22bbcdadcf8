import { CLOSED } from '../breaker/columns.ts';
import type { RoutedMember } from '../upstream/directory.ts';
import type { ProxyContext } from './context.ts';

/** Whether there is anything to find out: the instance is registered, and in the rotation as far as is known. */
export function isTrusted(context: ProxyContext, slot: number): boolean {
  const member = context.fleet.members[slot];
  return member !== undefined && !member.leaving && context.figures.breaker[slot] === CLOSED;
}

/**
 * A connection to the instance was refused (ECONNREFUSED): its machine says that nobody listens, which no instance does
 * that works. One such answer decides, where a service has others to turn to.
 */
export function reportRefusing(context: ProxyContext, slot: number): void {
  const member = context.fleet.members[slot];
  if (member && isTrusted(context, slot) && hasPeers(member))
    context.onRefusing?.(member, 'a connection to it was refused');
}

/** An attempt that was given up because nothing came. */
export interface Unanswered {
  readonly member: RoutedMember;
  /** Since when it has answered nothing at all. */
  readonly silentSinceMs: number;
  readonly waitedMs: number;
}

/** The very request that was left unanswered was then answered by a peer, in less time: it is not the request that is slow. */
export function reportSilent(
  context: ProxyContext,
  { member, silentSinceMs, waitedMs }: Unanswered,
  tookMs: number,
): void {
  const { slot } = member;
  const silent = (context.figures.lastSuccessMs[slot] as number) <= silentSinceMs;
  if (tookMs >= waitedMs || !silent || context.fleet.members[slot] !== member || !isTrusted(context, slot)) return;
  context.onHanging?.(
    member,
    `a request has waited for ${Math.round(waitedMs)} ms, and a peer then answered it in ${Math.round(tookMs)} ms`,
  );
}

function hasPeers({ slot, service }: RoutedMember): boolean {
  const { slots } = service.view;
  return slots.length > 1 || (slots.length === 1 && slots[0] !== slot);
}
