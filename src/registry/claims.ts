import { addressOf, type Instance } from '../core/instance.ts';
import { canonicalHost, shortHash } from './address.ts';

/** That one registry has one address. */
export interface Claim {
  /** Lower rank decides. */
  readonly source: { readonly name: string; readonly rank: number };
  instance: Instance;
  held: boolean;
  readonly sinceWallMs: number;
}

/** One address of one service, with everyone who claims it. */
export interface Entry {
  readonly address: string;
  /** Never empty while the entry is in a service. */
  claims: Claim[];
  published: Instance | undefined;
}

const MAYBE_NOT_CANONICAL = /[A-Z:]|\.$/;

/** The identity of an instance across registries. */
export function addressKey(instance: Instance): string {
  if (!MAYBE_NOT_CANONICAL.test(instance.host)) return `${instance.host}:${instance.port}`;
  return addressOf({ host: canonicalHost(instance.host) ?? instance.host, port: instance.port });
}

/** The id of every entry where all are known: by rank, then by address. */
export function idsByRight(entries: Iterable<Entry>): ReadonlyMap<string, Entry> {
  const ids = new Map<string, Entry>();
  const inOrder = [...entries].map((entry) => ({ entry, claim: decider(entry) }));
  inOrder.sort((a, b) => a.claim.source.rank - b.claim.source.rank || (a.entry.address < b.entry.address ? -1 : 1));
  const losers: typeof inOrder = [];
  for (const each of inOrder) {
    if (ids.has(each.claim.instance.id)) losers.push(each);
    else ids.set(each.claim.instance.id, each.entry);
  }
  for (const { entry, claim } of losers) ids.set(suffixed(claim.instance.id, entry, ids), entry);
  return ids;
}

/** Made from the address alone, so that it is the same every time; longer only where even that is taken. */
export function suffixed(wanted: string, entry: Entry, taken: ReadonlyMap<string, Entry>): string {
  for (let digits = 8; digits < 64; digits += 8) {
    const id = `${wanted.slice(0, 127 - digits)}-${shortHash(entry.address, digits)}`;
    if ((taken.get(id) ?? entry) === entry) return id;
  }
  throw new Error(`no id is left for ${entry.address}`);
}

/** The claim whose word on weight, zone, state and metadata holds. */
export function decider({ claims, address }: Entry): Claim {
  let best = claims[0];
  if (!best) throw new Error(`nobody claims ${address}`);
  for (const claim of claims) if (claim !== best && byPrecedence(claim, best) < 0) best = claim;
  return best;
}

const STATE_ORDER: Readonly<Record<Instance['state'], number>> = { up: 0, degraded: 1, down: 2 };

/** Across registries the order decides; one that registers an address twice means the better and the lesser id. */
export function byPrecedence(a: Claim, b: Claim): number {
  return (
    a.source.rank - b.source.rank ||
    Number(a.held) - Number(b.held) ||
    STATE_ORDER[a.instance.state] - STATE_ORDER[b.instance.state] ||
    (a.instance.id < b.instance.id ? -1 : 1)
  );
}
