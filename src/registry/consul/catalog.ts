import { isName, NAME_RULE } from '../../core/names.ts';
import { quote } from '../record.ts';

/**
 * The names in `/v1/catalog/services` that are worth following: not Consul's own service, which is no place for
 * traffic, and none without an instance that could carry all the tags. `onBadName` is told of names we cannot use.
 */
export function wantedNames(
  services: ReadonlyMap<string, unknown>,
  tags: readonly string[],
  onBadName: (name: string, why: string) => void,
): ReadonlySet<string> {
  const wanted = new Set<string>();
  for (const [name, present] of services) {
    // Of all instances together: enough to leave services out, not to let instances in.
    const mayMatch = !Array.isArray(present) || tags.every((tag) => present.includes(tag));
    if (name === 'consul' || !mayMatch) continue;
    if (isName(name)) wanted.add(name);
    else onBadName(quote(name), `must be ${NAME_RULE}`);
  }
  return wanted;
}
