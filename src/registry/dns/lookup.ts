import { addressOf, instance, type Instance } from '../../core/instance.ts';
import type { OnSkip } from '../backend.ts';
import { canonicalHost, idOfAddress } from '../address.ts';
import { quote } from '../record.ts';
import { isQueryable, type DnsRecord } from './message.ts';
import { least, type Resolution, type Resolver } from './resolver.ts';
import { byPriority, shares, type Share } from './srv.ts';

/** What is asked for a service. A and AAAA records say no port, so that it is configured. */
export type DnsQuery =
  | { readonly kind: 'srv'; readonly name: string }
  | { readonly kind: 'address'; readonly name: string; readonly port: number };

export interface Lookup {
  /** Undefined: there is no such name. */
  readonly instances: readonly Instance[] | undefined;
  /** How long this holds; undefined where an empty answer does not say. */
  readonly ttlS: number | undefined;
  readonly endpoint: string;
}

/** A service with more instances than this is cut, and reported. */
const MAX_INSTANCES = 5000;

/** The instances of one service as DNS has them now. Throws `LookupFailed`, or the reason of the signal. */
export function lookUp(
  service: string,
  query: DnsQuery,
  resolver: Resolver,
  onSkip: OnSkip,
  signal: AbortSignal,
): Promise<Lookup> {
  const search = new Search(service, resolver, onSkip, signal);
  return query.kind === 'srv' ? search.srv(query.name) : search.addresses(query.name, query.port);
}

interface Found {
  readonly host: string;
  readonly port: number;
  weight: number;
  readonly target: string | undefined;
}

/** One lookup: what it found so far, and how long the shortest-lived part of it holds. */
class Search {
  readonly #service: string;
  readonly #resolver: Resolver;
  readonly #onSkip: OnSkip;
  readonly #signal: AbortSignal;
  readonly #found = new Map<string, Found>();
  #ttlS: number | undefined;

  constructor(service: string, resolver: Resolver, onSkip: OnSkip, signal: AbortSignal) {
    this.#service = service;
    this.#resolver = resolver;
    this.#onSkip = onSkip;
    this.#signal = signal;
  }

  async addresses(name: string, port: number): Promise<Lookup> {
    const both = await Promise.all([
      this.#resolver.resolve({ name, type: 'A' }, this.#signal),
      this.#resolver.resolve({ name, type: 'AAAA' }, this.#signal),
    ]);
    for (const { records, ttlS } of both) {
      // An empty answer about the one family says nothing about how long the other one holds.
      if (records.length > 0) this.#ttlS = least(this.#ttlS, ttlS);
      for (const address of addressesOf(records)) this.#add({ host: address, port, weight: 1, target: undefined });
    }
    const isMissing = both.every(({ kind }) => kind === 'nxdomain');
    const negativeTtlS = least(both[0].ttlS, both[1].ttlS);
    return this.#result(isMissing, both[0].endpoint, this.#found.size > 0 ? this.#ttlS : negativeTtlS);
  }

  async srv(name: string): Promise<Lookup> {
    const answer = await this.#resolver.resolve({ name, type: 'SRV' }, this.#signal);
    const { kind, records, endpoint } = answer;
    this.#ttlS = answer.ttlS;
    const targets = records.filter((each) => each.type === 'SRV');
    // A later priority is only for when there is no address in the ones before it (RFC 2782).
    for (const group of byPriority(targets)) {
      await Promise.all(shares(group).map((share) => this.#addTarget(share, answer)));
      if (this.#found.size > 0) break;
    }
    return this.#result(kind === 'nxdomain', endpoint, this.#ttlS);
  }

  /** A target with several addresses shares its weight among them: they stand for one entry. */
  async #addTarget({ target, port, weight }: Share, { additionals }: Resolution): Promise<void> {
    const sent = additionals.filter((each) => each.name === target);
    const hosts = isQueryable(target) ? await this.#hostsOf(target, sent) : [];
    if (hosts.length === 0) {
      const why = `target ${quote(target)} of its SRV record has no address`;
      this.#onSkip({ service: this.#service, id: target, why });
    }
    for (const host of hosts) this.#add({ host, port, weight: weight / hosts.length, target });
  }

  /** IPv4 where there is any, else IPv6: a host with both is one instance, not two. `sent`: what came along unasked. */
  async #hostsOf(target: string, sent: readonly DnsRecord[]): Promise<readonly string[]> {
    for (const type of ['A', 'AAAA'] as const) {
      const known = sent.filter((each) => each.type === type);
      const records = known.length > 0 ? known : await this.#ask(target, type);
      for (const each of records) this.#ttlS = least(this.#ttlS, each.ttlS);
      if (records.length > 0) return addressesOf(records);
    }
    return [];
  }

  async #ask(name: string, type: 'A' | 'AAAA'): Promise<readonly DnsRecord[]> {
    const { records, ttlS } = await this.#resolver.resolve({ name, type }, this.#signal);
    if (records.length > 0) this.#ttlS = least(this.#ttlS, ttlS);
    return records;
  }

  #add(found: Found): void {
    const { host, port } = found;
    const normal = canonicalHost(host);
    if (normal === undefined || port === 0) {
      const why = `${quote(host)} port ${port} is no address to connect to`;
      this.#onSkip({ service: this.#service, id: idOfAddress(host, port), why });
      return;
    }
    const key = addressOf({ host: normal, port });
    const known = this.#found.get(key);
    // Two entries for one address ask for the traffic of both.
    if (known) known.weight = Math.min(MAX_WEIGHT, known.weight + (found.target === undefined ? 0 : found.weight));
    else this.#found.set(key, { ...found, host: normal });
  }

  #result(isMissing: boolean, endpoint: string, ttlS: number | undefined): Lookup {
    if (isMissing) return { instances: undefined, ttlS, endpoint };
    const inOrder = [...this.#found].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, each]) => each);
    if (inOrder.length > MAX_INSTANCES) {
      const why = `it has ${inOrder.length} addresses; the first ${MAX_INSTANCES} are used`;
      this.#onSkip({ service: this.#service, id: '*', why });
    }
    const instances = inOrder.slice(0, MAX_INSTANCES).map(({ host, port, weight, target }) =>
      instance({
        id: idOfAddress(host, port),
        service: this.#service,
        host,
        port,
        weight,
        ...(target === undefined ? {} : { metadata: new Map([['target', target]]) }),
      }),
    );
    return { instances, ttlS, endpoint };
  }
}

/** The largest that an instance may have. */
const MAX_WEIGHT = 1_000_000;

function addressesOf(records: readonly DnsRecord[]): readonly string[] {
  return records.flatMap((each) => (each.type === 'A' || each.type === 'AAAA' ? [each.address] : []));
}
