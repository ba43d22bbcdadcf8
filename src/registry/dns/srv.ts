import type { SrvTarget } from './message.ts';

/** A target with its share of the traffic of its group: above 0. */
export interface Share {
  readonly target: string;
  readonly port: number;
  readonly weight: number;
}

/**
 * The targets by priority, the lowest number first: later ones are for when the earlier are not there (RFC 2782). The
 * target `.` means that the service is decidedly not available, and is left out.
 */
export function byPriority(targets: readonly SrvTarget[]): readonly (readonly SrvTarget[])[] {
  const groups = new Map<number, SrvTarget[]>();
  for (const each of targets) {
    if (each.target === '.' || each.target === '') continue;
    const group = groups.get(each.priority);
    if (group) group.push(each);
    else groups.set(each.priority, [each]);
  }
  return [...groups].sort(([one], [other]) => one - other).map(([, group]) => group);
}

/**
 * Weights within one priority. All 0 means equal. Beside others, 0 means "a very small chance of being selected": here
 * 1, which is what the algorithm of RFC 2782 comes to, but never more than a hundredth of the smallest other weight.
 */
export function shares(group: readonly SrvTarget[]): readonly Share[] {
  const smallest = Math.min(...group.map(({ weight }) => (weight > 0 ? weight : Infinity)));
  const least = smallest === Infinity ? 1 : Math.min(1, smallest / 100);
  return group.map(({ target, port, weight }) => ({ target, port, weight: weight > 0 ? weight : least }));
}
