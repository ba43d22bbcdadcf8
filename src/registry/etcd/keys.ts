import { isName } from '../../core/names.ts';
import type { Interest } from '../backend.ts';
import { idOfAddress, parseAddress, shortHash } from '../address.ts';
import type { KeyRange } from './messages.ts';

/** `<prefix><service>/<rest>`: where a key belongs. Undefined for keys without a service, or with nothing after it. */
export function splitKey(prefix: string, key: string): { readonly service: string; readonly rest: string } | undefined {
  if (!key.startsWith(prefix)) return undefined;
  const slash = key.indexOf('/', prefix.length);
  const rest = key.slice(slash + 1);
  return slash < 0 || rest === '' ? undefined : { service: key.slice(prefix.length, slash), rest };
}

/**
 * The id of an instance is a function of its key alone, because a deletion names nothing but the key: the rest of the
 * key where that is a name, made from the address in gRPC naming (`10.0.0.7:80`), otherwise readable and hashed.
 */
export function idOfRest(rest: string): string {
  if (isName(rest)) return rest;
  const address = parseAddress(rest);
  if (address) return idOfAddress(address.host, address.port);
  return `${rest.replaceAll(/[^A-Za-z0-9._-]+/g, '-').slice(0, 100)}-${shortHash(rest, 12)}`;
}

/** Ends in `/`, or is empty: without the slash, `/services` would take in `/services-old/…`. */
export function normalizePrefix(prefix: string): string {
  return prefix === '' || prefix.endsWith('/') ? prefix : `${prefix}/`;
}

/**
 * The key ranges of an interest: the whole prefix, or one range per service while they are few. Narrow ranges spare
 * both sides the rest of a large store, and are all that a role with `--prefix /services/web/` may read.
 */
export function rangesOf(prefix: string, interest: Interest): readonly KeyRange[] {
  if (interest.kind === 'all' || interest.names.size === 0 || interest.names.size > MAX_RANGES)
    return [prefixRange(prefix)];
  return [...interest.names].map((name) => prefixRange(`${prefix}${name}/`));
}

/** Each is a list and a watcher of its own on the server. */
const MAX_RANGES = 64;

/** Every key that begins with the prefix; every key at all for the empty one. */
export function prefixRange(prefix: string): KeyRange {
  const from = Buffer.from(prefix, 'utf8');
  // A key is never empty, and the range end \0 means "to the last key".
  if (from.length === 0) return { from: Buffer.of(0), to: Buffer.of(0) };
  const to = Buffer.from(from);
  // UTF-8 has no byte 0xff, so the last byte can always grow.
  to[to.length - 1] = (to[to.length - 1] ?? 0) + 1;
  return { from, to };
}

/** What is left of a range after the last key that was read. */
export function rangeAfter(range: KeyRange, lastKey: Buffer): KeyRange {
  return { from: Buffer.concat([lastKey, Buffer.of(0)]), to: range.to };
}
