import { addressOf, type Instance } from '../core/instance.ts';
import { shortHash } from './address.ts';

/*
 * There is one entry and one claim for every instance of every registry, so that their size is what a large pool costs:
 * a claim links to the next one in place of an array around it, and addresses are indexed by strings that exist anyway.
 */

/** That one registry has one address. */
export interface Claim {
  /** Lower rank decides. */
  readonly source: { readonly name: string; readonly rank: number };
  instance: Instance;
  held: boolean;
  readonly sinceWallMs: number;
  next: Claim | undefined;
}

/** One address of one service, with everyone who claims it. */
export interface Entry {
  /** The first of a list; never missing while the entry is in a service. */
  claims: Claim | undefined;
  published: Instance | undefined;
}

export function* claimsOf(entry: Entry): Iterable<Claim> {
  for (let claim = entry.claims; claim; claim = claim.next) yield claim;
}

export function findClaim(entry: Entry, source: Claim['source'], id: string): Claim | undefined {
  for (let claim = entry.claims; claim; claim = claim.next) {
    if (claim.source === source && claim.instance.id === id) return claim;
  }
  return undefined;
}

export function dropClaim(entry: Entry, source: Claim['source'], id: string): void {
  let before: Claim | undefined;
  for (let claim = entry.claims; claim; before = claim, claim = claim.next) {
    if (claim.source !== source || claim.instance.id !== id) continue;
    if (before) before.next = claim.next;
    else entry.claims = claim.next;
    return;
  }
}

/** The claim whose word on weight, zone, state and metadata holds. */
export function decider({ claims }: Entry): Claim {
  if (!claims) throw new Error('an entry has no claim');
  let best = claims;
  for (let claim = claims.next; claim; claim = claim.next) if (byPrecedence(claim, best) < 0) best = claim;
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

/** Host and port are the identity of an instance across registries. Hosts have their one spelling: see `SourceTable`. */
export function sameAddress(a: Instance, b: Instance): boolean {
  return a.port === b.port && a.host === b.host;
}

/** The entries of one service by address. A host mostly has one port; the map of ports comes with the second one. */
export class AddressIndex {
  readonly #byHost = new Map<string, Entry | Map<number, Entry>>();

  get isEmpty(): boolean {
    return this.#byHost.size === 0;
  }

  get(instance: Instance): Entry | undefined {
    const found = this.#byHost.get(instance.host);
    if (found instanceof Map) return found.get(instance.port);
    return found && portOf(found) === instance.port ? found : undefined;
  }

  /** An entry with one claim, in place of none. */
  add(claim: Claim): Entry {
    const { host } = claim.instance;
    const entry: Entry = { claims: claim, published: undefined };
    const found = this.#byHost.get(host);
    if (!found) this.#byHost.set(host, entry);
    else if (found instanceof Map) found.set(claim.instance.port, entry);
    else
      this.#byHost.set(
        host,
        new Map([
          [portOf(found), found],
          [claim.instance.port, entry],
        ]),
      );
    return entry;
  }

  delete(instance: Instance): void {
    const { host } = instance;
    const found = this.#byHost.get(host);
    if (found instanceof Map) {
      found.delete(instance.port);
      if (found.size > 0) return;
    }
    this.#byHost.delete(host);
  }

  *[Symbol.iterator](): Iterator<Entry> {
    for (const found of this.#byHost.values()) {
      if (found instanceof Map) yield* found.values();
      else yield found;
    }
  }
}

function portOf(entry: Entry): number {
  // Of an entry whose last claim has just gone, what is still published tells.
  const instance = entry.claims?.instance ?? entry.published;
  if (!instance) throw new Error('an entry has neither a claim nor anything published');
  return instance.port;
}

/** The id of every entry where all are known: by rank, then by address. */
export function idsByRight(entries: Iterable<Entry>): ReadonlyMap<string, Entry> {
  const ids = new Map<string, Entry>();
  const inOrder = [...entries].map((entry) => {
    const { source, instance } = decider(entry);
    return { entry, rank: source.rank, id: instance.id, address: addressOf(instance) };
  });
  inOrder.sort((a, b) => a.rank - b.rank || (a.address < b.address ? -1 : 1));
  const losers: typeof inOrder = [];
  for (const each of inOrder) {
    if (ids.has(each.id)) losers.push(each);
    else ids.set(each.id, each.entry);
  }
  for (const { entry, id } of losers) ids.set(suffixed(id, entry, ids), entry);
  return ids;
}

/** Made from the address alone, so that it is the same every time; longer only where even that is taken. */
export function suffixed(wanted: string, entry: Entry, taken: ReadonlyMap<string, Entry>): string {
  const address = addressOf(decider(entry).instance);
  for (let digits = 8; digits < 64; digits += 8) {
    const id = `${wanted.slice(0, 127 - digits)}-${shortHash(address, digits)}`;
    if ((taken.get(id) ?? entry) === entry) return id;
  }
  throw new Error(`no id is left for ${address}`);
}
