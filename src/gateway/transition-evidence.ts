import { ageText } from '../admin/age.ts';
import { addressOf } from '../core/instance.ts';
import type { Gate } from '../upstream/availability.ts';
import type { Member } from '../upstream/directory.ts';
import type { Figures } from '../upstream/figures.ts';

/**
 * What was known of an instance when one of its gates changed, in a line for people: what its traffic says beside what
 * the gate says, since the two may disagree.
 */
export function evidenceOf(member: Member, gate: Gate, figures: Figures, nowMs: number): string {
  const { slot, instance, service } = member;
  // One string for all: at a start there are as many of these as instances.
  if (figures.attempts[slot] === 0) return 'no request yet';
  const parts = [addressOf(instance), `${figures.inflight[slot] ?? 0} in flight`];
  const lastMs = figures.lastSuccessMs[slot] ?? 0;
  parts.push(lastMs > 0 ? `last success ${ageText(nowMs - lastMs)} ago` : 'no success yet');
  const latencyMs = figures.latencyMs[slot] ?? 0;
  if (latencyMs > 0) parts.push(`${latencyMs.toFixed(1)} ms to the response head`);
  if (gate === 'breaker') {
    const { successes, failures } = figures.breakers.counts(slot, nowMs, service.policy.breaker.windowMs);
    parts.push(
      `${counted(successes, 'success', 'successes')} and ${counted(failures, 'failure', 'failures')} in the window`,
    );
  }
  return parts.join(', ');
}

function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}
