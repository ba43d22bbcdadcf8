import type { LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';

type Ip = ipaddr.IPv4 | ipaddr.IPv6;
/** A network and the length of its prefix. */
export type Cidr = readonly [Ip, number];

export interface AddressPolicyOptions {
  /**
   * Networks; when there are any, an address must lie in one of them. Link-local addresses are let in only by an entry
   * that lies within the link-local range itself: `0.0.0.0/0` must not open the metadata service of a cloud.
   */
  readonly allow?: readonly string[];
  /** Networks that are refused whatever `allow` says. */
  readonly deny?: readonly string[];
  /** Off, and instances on the gateway's own machine must be registered by another of its addresses. */
  readonly allowLoopback?: boolean;
  /** Ranges, both ends included; none = every port. */
  readonly ports?: readonly (readonly [number, number])[];
  /** Where this gateway itself listens: traffic sent there would go round for ever. */
  readonly ownListeners?: readonly { readonly host: string; readonly port: number }[];
  /** The machine's own addresses, for listeners on `0.0.0.0` and `::`. Asked at every check, as interfaces come and go. */
  readonly localAddresses?: () => readonly string[];
}

export const HOST_RULE = 'an IP address (IPv6 without brackets) or a host name (RFC 1123)';

/**
 * Which addresses the gateway may connect to. Registrations are hostile: without this a registered instance could
 * point the gateway at a metadata service, at itself, or at what only this machine can reach.
 *
 * A host name says nothing before it is resolved: use `refuseHost` when it is registered, and `guardedLookup` (or
 * `refuseAddress` on what was resolved) when connecting.
 */
export class AddressPolicy {
  #allow: readonly Cidr[] = [];
  #deny: readonly Cidr[] = [];
  #allowLoopback = false;
  #ports: readonly (readonly [number, number])[] = [];
  #ownListeners: readonly { readonly host: string; readonly port: number }[] = [];
  #localAddresses: () => readonly string[] = () => [];

  /** Throws a TypeError that names the entry where `allow` or `deny` holds no network. */
  constructor(options: AddressPolicyOptions = {}) {
    this.configure(options);
  }

  /** Holds from the next question on, in place of all that was said before. Throws as the constructor does. */
  configure(options: AddressPolicyOptions): void {
    this.#allow = (options.allow ?? []).map(cidrOrThrow);
    this.#deny = (options.deny ?? []).map(cidrOrThrow);
    this.#allowLoopback = options.allowLoopback ?? false;
    this.#ports = options.ports ?? [];
    this.#ownListeners = (options.ownListeners ?? []).map(({ host, port }) => ({
      host: normalizeHost(host) ?? host,
      port,
    }));
    this.#localAddresses = options.localAddresses ?? (() => []);
  }

  /** Why nothing may connect to this IP address and port, as a sentence for people; undefined = it may. */
  refuseAddress(ip: string, port: number): string | undefined {
    const parsed = parseIp(ip);
    if (!parsed) return `${ip} is not an IP address`;
    return this.refusePort(port) ?? this.#refuseIp(parsed) ?? this.#refuseOwn(parsed.toString(), port);
  }

  refusePort(port: number): string | undefined {
    if (!Number.isInteger(port) || port < 1 || port > 65_535) return `port ${port} is not a port (1 to 65535)`;
    if (this.#ports.length === 0 || this.#ports.some(([from, to]) => port >= from && port <= to)) return undefined;
    const ranges = this.#ports.map(([from, to]) => (from === to ? String(from) : `${from}-${to}`));
    return `port ${port} is outside of gateway.upstreamAddresses.ports (${ranges.join(', ')})`;
  }

  /**
   * The same for what a registration names. Of a host name only the syntax can be judged here (and `localhost`, which
   * can mean one thing only): what it resolves to is checked by `guardedLookup`.
   */
  refuseHost(host: string, port: number): string | undefined {
    const normal = normalizeHost(host);
    if (normal === undefined) return `${JSON.stringify(host)} is not ${HOST_RULE}`;
    if (parseIp(normal)) return this.refuseAddress(normal, port);
    if (normal === 'localhost' || normal.endsWith('.localhost')) {
      return this.refuseAddress('127.0.0.1', port) && this.refuseAddress('::1', port)
        ? this.refuseAddress('127.0.0.1', port)
        : undefined;
    }
    return this.refusePort(port);
  }

  #refuseIp(ip: Ip): string | undefined {
    const text = ip.toString();
    const special = this.#refuseSpecial(ip);
    if (special !== undefined) return `${text} ${special}`;
    const denied = this.#deny.find((network) => contains(network, ip));
    if (denied) return `${text} is in ${cidrText(denied)}, which gateway.upstreamAddresses.deny names`;
    if (this.#allow.length > 0 && !this.#allow.some((network) => contains(network, ip))) {
      return `${text} is in no network of gateway.upstreamAddresses.allow (${this.#allow.map(cidrText).join(', ')})`;
    }
    const carried = embeddedIpv4(ip);
    if (!carried) return undefined;
    const inner =
      this.#refuseSpecial(carried) ??
      (this.#deny.some((network) => contains(network, carried)) ? 'is in a denied network' : undefined);
    return inner === undefined ? undefined : `${text} leads to ${carried.toString()}, which ${inner}`;
  }

  #refuseSpecial(ip: Ip): string | undefined {
    const range = ip.range();
    if (range === 'loopback' && this.#allowLoopback) return undefined;
    if (range === 'linkLocal' && this.#allow.some((network) => isLinkLocal(network) && contains(network, ip)))
      return undefined;
    return SPECIAL.get(range);
  }

  #refuseOwn(ip: string, port: number): string | undefined {
    const own = this.#ownListeners.some((listener) => {
      if (listener.port !== port) return false;
      if (listener.host === 'localhost') return ip === '127.0.0.1' || ip === '::1';
      if (listener.host !== '0.0.0.0' && listener.host !== '::') return listener.host === ip;
      return parseIp(ip)?.range() === 'loopback' || this.#localAddresses().some((local) => normalizeIp(local) === ip);
    });
    return own ? `${ip} port ${port} is a listener of this gateway: its traffic would come back to itself` : undefined;
  }
}

const SPECIAL: ReadonlyMap<string, string> = new Map([
  ['unspecified', 'is an unspecified address'],
  ['broadcast', 'is the broadcast address'],
  ['multicast', 'is a multicast address'],
  ['linkLocal', 'is a link-local address'],
  ['loopback', 'is a loopback address: gateway.upstreamAddresses.allowLoopback permits them'],
]);

/** What a guarded lookup reports when no address of a name may be connected to. */
export class AddressRefused extends Error {
  override readonly name = 'AddressRefused';
  readonly code = 'ERR_ADDRESS_REFUSED';
}

/**
 * A `lookup` for `net.connect` and its kin that hands out only addresses the policy lets pass. What was checked is what
 * gets connected to: there is no second resolution in between for a hostile name server to answer differently.
 *
 * Node does not look up hosts that are IP addresses: check those with `refuseAddress`.
 */
export function guardedLookup(policy: AddressPolicy, port: number, lookup: LookupFunction): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, options, (error, resolved, family) => {
      if (error) {
        callback(error, resolved, family);
        return;
      }
      const found = Array.isArray(resolved) ? resolved : [{ address: resolved, family: family ?? 4 }];
      const reasons = found.map((each) => policy.refuseAddress(each.address, port));
      const passed = found.filter((_, at) => reasons[at] === undefined);
      const first = passed[0];
      if (!first) {
        const why = reasons[0] ?? 'it has no address';
        callback(new AddressRefused(`${hostname} may not be connected to: ${why}`), '', 0);
        return;
      }
      if (Array.isArray(resolved)) callback(null, passed);
      else callback(null, first.address, first.family);
    });
  };
}

/**
 * The one spelling of an address: dotted IPv4, RFC 5952 IPv6 with `::ffff:a.b.c.d` turned into the IPv4 it means.
 * Undefined for everything else: octal, hexadecimal and short IPv4, brackets, zone ids (`%eth0`).
 */
export function normalizeIp(text: string): string | undefined {
  return parseIp(text)?.toString();
}

/**
 * The one spelling of a host: `normalizeIp`, or a host name in lower case. Undefined where the text is neither, above
 * all for names a resolver would take for an IPv4 address (`0x7f.1`, `2130706433`, `017700000001`).
 */
export function normalizeHost(text: string): string | undefined {
  return normalizeIp(text) ?? (isHostName(text) ? text.toLowerCase() : undefined);
}

/** `10.0.0.0/8`, `fd00::/8`, or a single address. Undefined if not exact: host bits must be zero, as they are mostly a slip. */
export function parseCidr(text: string): Cidr | undefined {
  const [base = '', bits, more] = text.split('/');
  const ip = base.includes(':') ? parseIpv6(base) : parseIp(base);
  // An IPv4-mapped network would match nothing, as every address is unmapped first.
  if (!ip || more !== undefined || (ip instanceof ipaddr.IPv6 && ip.isIPv4MappedAddress())) return undefined;
  const width = ip.kind() === 'ipv4' ? 32 : 128;
  if (bits === undefined) return [ip, width];
  if (!/^(0|[1-9]\d{0,2})$/.test(bits) || Number(bits) > width) return undefined;
  const network = (ip.kind() === 'ipv4' ? ipaddr.IPv4 : ipaddr.IPv6).networkAddressFromCIDR(`${ip.toString()}/${bits}`);
  return network.toString() === ip.toString() ? [ip, Number(bits)] : undefined;
}

/** Whether the address lies in the network. IPv4 never lies in an IPv6 network, nor the other way round. */
export function contains(network: Cidr, ip: Ip): boolean {
  return network[0].kind() === ip.kind() && ip.match([network[0], network[1]]);
}

const IPV4 = /^(?:0|[1-9]\d{0,2})(?:\.(?:0|[1-9]\d{0,2})){3}$/;
const LONGEST_IPV6 = 45;

function parseIp(text: string): Ip | undefined {
  if (text.includes(':')) {
    const ip = parseIpv6(text);
    return ip?.isIPv4MappedAddress() ? ip.toIPv4Address() : ip;
  }
  return IPV4.test(text) && ipaddr.IPv4.isValid(text) ? ipaddr.IPv4.parse(text) : undefined;
}

function parseIpv6(text: string): ipaddr.IPv6 | undefined {
  // The dotted tail must be strict as well: ipaddr.js reads 010 there as ten, a resolver as eight.
  if (text.length > LONGEST_IPV6 || text.includes('%') || !ipaddr.IPv6.isValid(text)) return undefined;
  const tail = text.slice(text.lastIndexOf(':') + 1);
  if (tail.includes('.')) {
    if (!IPV4.test(tail)) return undefined;
    // ipaddr.js takes `::a.b.c.d` for an IPv4-mapped address; by RFC 4291 section 2.5.5.1 it is another one.
    if (text.startsWith('::') && text.lastIndexOf(':') === 1) return ipaddr.IPv6.parse(`::0:${tail}`);
  }
  return ipaddr.IPv6.parse(text);
}

const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i;
/** A last label like this makes the whole name an IPv4 address (WHATWG URL, "ends in a number"). */
const NUMBER = /^(?:\d+|0x[0-9a-f]*)$/i;

function isHostName(text: string): boolean {
  if (text.length > 253) return false;
  const labels = text.split('.');
  return labels.every((label) => LABEL.test(label)) && !NUMBER.test(labels.at(-1) ?? '');
}

/** The IPv4 address to which translators and tunnels carry an IPv6 one (RFC 4291 2.5.5.1, 6052, 3056, 7915). */
function embeddedIpv4(ip: Ip): ipaddr.IPv4 | undefined {
  if (!(ip instanceof ipaddr.IPv6)) return undefined;
  const bytes = ip.toByteArray();
  const range = ip.range();
  if (range === '6to4') return new ipaddr.IPv4(bytes.slice(2, 6));
  const compatible = bytes.slice(0, 12).every((byte) => byte === 0) && range !== 'loopback' && range !== 'unspecified';
  return range === 'rfc6052' || range === 'rfc6145' || compatible ? new ipaddr.IPv4(bytes.slice(12)) : undefined;
}

function isLinkLocal([ip, bits]: Cidr): boolean {
  return ip.range() === 'linkLocal' && bits >= (ip.kind() === 'ipv4' ? 16 : 10);
}

function cidrText([ip, bits]: Cidr): string {
  return `${ip.toString()}/${bits}`;
}

function cidrOrThrow(text: string): Cidr {
  const network = parseCidr(text);
  if (!network)
    throw new TypeError(`${JSON.stringify(text)} is not a network such as 10.0.0.0/8 (host bits must be zero)`);
  return network;
}

/** For `contains`; IPv4-mapped IPv6 becomes IPv4. Undefined where the text is no address. */
export function ipOf(text: string): Ip | undefined {
  return parseIp(text);
}
