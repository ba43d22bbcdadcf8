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

/** Beyond so many, looking through an array takes longer than a hash. */
const FEW = 16;

/** The entries of one service, by address and by the id under which they are published. Few are looked through. */
export class Entries {
  /** Replaced, not changed: so it is no longer than it must be. */
  #few: readonly Entry[] = [];
  #many: { readonly byAddress: AddressIndex; readonly byId: Map<string, Entry> } | undefined;

  get isEmpty(): boolean {
    return this.#many ? this.#many.byAddress.isEmpty : this.#few.length === 0;
  }

  at(address: Instance): Entry | undefined {
    if (this.#many) return this.#many.byAddress.get(address);
    return this.#few.find((entry) => sameAddress(instanceOf(entry), address));
  }

  /** By published id. */
  get(id: string): Entry | undefined {
    return this.#many ? this.#many.byId.get(id) : this.#few.find(({ published }) => published?.id === id);
  }

  /** An entry with one claim, in place of none. */
  add(claim: Claim): Entry {
    const entry: Entry = { claims: claim, published: undefined };
    if (this.#many) this.#many.byAddress.add(entry);
    else if (this.#few.length < FEW) this.#few = this.#few.concat([entry]);
    else this.#index(entry);
    return entry;
  }

  /** Obligation: no other entry is published under this id; undefined = under none any more. */
  publish(entry: Entry, published: Instance | undefined): void {
    if (this.#many && entry.published) this.#many.byId.delete(entry.published.id);
    entry.published = published;
    if (this.#many && published) this.#many.byId.set(published.id, entry);
  }

  /** Obligation: it is published no more. */
  delete(entry: Entry, address: Instance): void {
    if (this.#many) this.#many.byAddress.delete(address);
    else this.#few = this.#few.toSpliced(this.#few.indexOf(entry), 1);
  }

  [Symbol.iterator](): Iterator<Entry> {
    return this.#many ? this.#many.byAddress[Symbol.iterator]() : this.#few.values();
  }

  #index(newcomer: Entry): void {
    this.#many = { byAddress: new AddressIndex(), byId: new Map() };
    for (const entry of this.#few) {
      this.#many.byAddress.add(entry);
      if (entry.published) this.#many.byId.set(entry.published.id, entry);
    }
    this.#many.byAddress.add(newcomer);
    this.#few = [];
  }
}

/** Many entries by address. A host mostly has one port; the map of ports comes with the second one. */
class AddressIndex {
  readonly #byHost = new Map<string, Entry | Map<number, Entry>>();

  get isEmpty(): boolean {
    return this.#byHost.size === 0;
  }

  get(instance: Instance): Entry | undefined {
    const found = this.#byHost.get(instance.host);
    if (found instanceof Map) return found.get(instance.port);
    return found && instanceOf(found).port === instance.port ? found : undefined;
  }

  add(entry: Entry): void {
    const { host, port } = instanceOf(entry);
    const found = this.#byHost.get(host);
    if (!found) this.#byHost.set(host, entry);
    else if (found instanceof Map) found.set(port, entry);
    else
      this.#byHost.set(
        host,
        new Map([
          [instanceOf(found).port, found],
          [port, entry],
        ]),
      );
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

/** One of its address. */
function instanceOf(entry: Entry): Instance {
  // Of an entry whose last claim has just gone, what is still published tells.
  const instance = entry.claims?.instance ?? entry.published;
  if (!instance) throw new Error('an entry has neither a claim nor anything published');
  return instance;
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
export function suffixed(wanted: string, entry: Entry, taken: Pick<Entries, 'get'>): string {
  const address = addressOf(decider(entry).instance);
  for (let digits = 8; digits < 64; digits += 8) {
    const id = `${wanted.slice(0, 127 - digits)}-${shortHash(address, digits)}`;
    if ((taken.get(id) ?? entry) === entry) return id;
  }
  throw new Error(`no id is left for ${address}`);
}
