import { addressOf, type Instance } from '../core/instance.ts';
import { shortHash } from './address.ts';

/** A registry, as far as its claims go. */
export interface ClaimSource {
  readonly name: string;
  /** Lower rank decides. */
  readonly rank: number;
}

/**
 * That one registry has one address. There is a claim for every instance of every registry, so that its size is what a
 * large pool costs: those on one address are a list that needs no other object, and the first one stands for the address.
 */
export interface Claim {
  readonly source: ClaimSource;
  /** While the claim is in a pool, always of the same id and address. */
  readonly instance: Instance;
  /** The registry does not report it any more, and it is still believed. */
  readonly held: boolean;
  /** Seconds of wall-clock time, which V8 keeps without an object for the number. Written by the pool. */
  sinceS: number;
  /** The next one on the same address. Written by `Claims`. */
  next: Claim | undefined;
  /** Of the first one on an address: as what the pool shows it. Written by `Claims`. */
  published: Instance | undefined;
}

/** All on the address that this one is the first of. */
export function* onAddress(first: Claim): Iterable<Claim> {
  for (let claim: Claim | undefined = first; claim; claim = claim.next) yield claim;
}

/** The claim whose word on weight, zone, state and metadata holds. */
export function decider(first: Claim): Claim {
  let best = first;
  for (let claim = first.next; claim; claim = claim.next) if (byPrecedence(claim, best) < 0) best = claim;
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

/** The claims on the addresses of one service, by address and by the id under which it is published. Few are looked through. */
export class Claims {
  /** The first one on each address. Replaced, not changed: so it is no longer than it must be. */
  #few: readonly Claim[] = [];
  #many: { readonly byAddress: AddressIndex; readonly byId: Map<string, Claim> } | undefined;

  get isEmpty(): boolean {
    return this.#many ? this.#many.byAddress.isEmpty : this.#few.length === 0;
  }

  /** The first one on the address. */
  at(address: Instance): Claim | undefined {
    if (this.#many) return this.#many.byAddress.get(address);
    return this.#few.find((first) => sameAddress(first.instance, address));
  }

  /** The first one on the address that is published under this id. */
  get(id: string): Claim | undefined {
    return this.#many ? this.#many.byId.get(id) : this.#few.find(({ published }) => published?.id === id);
  }

  /** Adds a claim, where it is not among them already. Returns the first one on its address. */
  add(claim: Claim): Claim {
    const first = this.at(claim.instance);
    if (!first) {
      if (this.#many) this.#many.byAddress.set(claim);
      else if (this.#few.length < FEW) this.#few = this.#few.concat([claim]);
      else this.#index(claim);
      return claim;
    }
    let last = first;
    for (; last !== claim && last.next; last = last.next);
    if (last !== claim) last.next = claim;
    return first;
  }

  /** Takes one out that is not the only one on its address. Returns the first of those that stay. */
  delete(claim: Claim, first: Claim): Claim {
    const { next } = claim;
    claim.next = undefined;
    if (claim === first && next) {
      this.#replace(first, next);
      return next;
    }
    for (let each: Claim | undefined = first; each; each = each.next) if (each.next === claim) each.next = next;
    return first;
  }

  /** Takes out the only one on its address. Obligation: it is published no more. */
  deleteOnly(claim: Claim): void {
    if (this.#many) this.#many.byAddress.delete(claim.instance);
    else this.#few = this.#few.toSpliced(this.#few.indexOf(claim), 1);
  }

  /** Obligation: no other address is published under this id; undefined = under none any more. */
  publish(first: Claim, published: Instance | undefined): void {
    if (this.#many && first.published) this.#many.byId.delete(first.published.id);
    first.published = published;
    if (this.#many && published) this.#many.byId.set(published.id, first);
  }

  /** The first one on each address. */
  [Symbol.iterator](): Iterator<Claim> {
    return this.#many ? this.#many.byAddress[Symbol.iterator]() : this.#few.values();
  }

  #replace(first: Claim, next: Claim): void {
    const { published } = first;
    this.publish(first, undefined);
    if (this.#many) this.#many.byAddress.set(next);
    else this.#few = this.#few.with(this.#few.indexOf(first), next);
    this.publish(next, published);
  }

  #index(newcomer: Claim): void {
    this.#many = { byAddress: new AddressIndex(), byId: new Map() };
    for (const first of this.#few) {
      this.#many.byAddress.set(first);
      if (first.published) this.#many.byId.set(first.published.id, first);
    }
    this.#many.byAddress.set(newcomer);
    this.#few = [];
  }
}

/** Many claims by address. A host mostly has one port; the map of ports comes with the second one. */
class AddressIndex {
  readonly #byHost = new Map<string, Claim | Map<number, Claim>>();

  get isEmpty(): boolean {
    return this.#byHost.size === 0;
  }

  get({ host, port }: Instance): Claim | undefined {
    const found = this.#byHost.get(host);
    if (found instanceof Map) return found.get(port);
    return found?.instance.port === port ? found : undefined;
  }

  /** In place of the one on the same address, if there is one. */
  set(claim: Claim): void {
    const { host, port } = claim.instance;
    const found = this.#byHost.get(host);
    if (found instanceof Map) found.set(port, claim);
    else if (!found || found.instance.port === port) this.#byHost.set(host, claim);
    else
      this.#byHost.set(
        host,
        new Map([
          [found.instance.port, found],
          [port, claim],
        ]),
      );
  }

  delete({ host, port }: Instance): void {
    const found = this.#byHost.get(host);
    if (found instanceof Map) {
      found.delete(port);
      if (found.size > 0) return;
    }
    this.#byHost.delete(host);
  }

  *[Symbol.iterator](): Iterator<Claim> {
    for (const found of this.#byHost.values()) {
      if (found instanceof Map) yield* found.values();
      else yield found;
    }
  }
}

/** The id of every address where all are known: by rank, then by address. Each by the first claim on it. */
export function idsByRight(claims: Iterable<Claim>): ReadonlyMap<string, Claim> {
  const ids = new Map<string, Claim>();
  const inOrder = [...claims].map((first) => {
    const { source, instance } = decider(first);
    return { first, rank: source.rank, id: instance.id, address: addressOf(instance) };
  });
  inOrder.sort((a, b) => a.rank - b.rank || (a.address < b.address ? -1 : 1));
  const losers: typeof inOrder = [];
  for (const each of inOrder) {
    if (ids.has(each.id)) losers.push(each);
    else ids.set(each.id, each.first);
  }
  for (const { first, id } of losers) ids.set(suffixed(id, first, ids), first);
  return ids;
}

/** Made from the address alone, so that it is the same every time; longer only where even that is taken. */
export function suffixed(wanted: string, first: Claim, taken: Pick<Claims, 'get'>): string {
  const address = addressOf(first.instance);
  for (let digits = 8; digits < 64; digits += 8) {
    const id = `${wanted.slice(0, 127 - digits)}-${shortHash(address, digits)}`;
    if ((taken.get(id) ?? first) === first) return id;
  }
  throw new Error(`no id is left for ${address}`);
}
