import ipaddr from 'ipaddr.js';
import { z } from 'zod';
import { normalizeHost, normalizeIp, parseCidr } from '../core/address.ts';
import type { HostPort } from './config.ts';
import { refuse, wants } from './scalars.ts';

const HOST_PORT = /^(?:\[([^[\]\s]+)\]|([^[\]:\s]+)):(\d{1,5})$/;
const LISTEN_RULE = 'an address to listen on such as 127.0.0.1:8080, 0.0.0.0:80 or [::1]:8080';
const HOST_RULE = 'a host name without port, such as pay.example.com or *.pay.example.com';
const CIDR_RULE = 'a network such as 10.0.0.0/8 or 2001:db8::/32, or one address';
export const ENDPOINT_RULE = 'an address such as 10.0.0.7:8080, app.internal:80 or [2001:db8::7]:8080';

/** `host:port`, IPv6 in brackets and nothing else in them. The host comes out in its one spelling. */
export function parseHostPort(text: string): HostPort | undefined {
  const [, bracketed, bare, digits = ''] = HOST_PORT.exec(text) ?? [];
  const port = Number(digits);
  if (digits === '' || port > 65_535 || String(port) !== digits) return undefined;
  if (bracketed !== undefined && !bracketed.includes(':')) return undefined;
  const host = bracketed === undefined ? normalizeHost(bare ?? '') : normalizeIp(bracketed);
  return host === undefined ? undefined : { host, port };
}

/** Exact name or IPv4 address, or `*.` and a name; in lower case. */
export function parseHostPattern(text: string): string | undefined {
  const [base, prefix] = text.startsWith('*.') ? [text.slice(2), '*.'] : [text, ''];
  const host = normalizeHost(base);
  return host === undefined || host.includes(':') || (prefix !== '' && ipaddr.isValid(host))
    ? undefined
    : prefix + host;
}

/** Whether only this machine can reach a listener there. A name other than `localhost` may resolve to anything. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || (ipaddr.isValid(host) && ipaddr.process(host).range() === 'loopback');
}

/** A network in its one spelling, or why the text is none. What readers could disagree about is refused. */
export function readCidr(text: string): { readonly cidr: string } | { readonly problem: string } {
  const parsed = parseCidr(text);
  if (parsed) {
    const [ip, bits] = parsed;
    if (ip instanceof ipaddr.IPv6 && ip.isIPv4MappedAddress())
      return { problem: 'is IPv4 inside of IPv6: write the IPv4 network' };
    return { cidr: `${ip.toString()}/${bits}` };
  }
  const [base = '', bits = ''] = text.split('/');
  const address = normalizeIp(base);
  const width = address?.includes(':') === true ? 128 : 32;
  if (
    address === undefined ||
    base.includes(':') !== address.includes(':') ||
    parseCidr(`${address}/${width}`) === undefined
  ) {
    return { problem: `wants ${CIDR_RULE}` };
  }
  if (!/^(0|[1-9]\d{0,2})$/.test(bits) || Number(bits) > width)
    return { problem: `wants a prefix length from 0 to ${width} after the slash` };
  const family = width === 128 ? ipaddr.IPv6 : ipaddr.IPv4;
  const network = family.networkAddressFromCIDR(`${address}/${bits}`).toString();
  return {
    problem: `is ambiguous: bits behind the prefix are set. The network is ${network}/${bits}, the one address ${address}/${width}`,
  };
}

export function hostPort(rule: string, { anyPort = false }: { readonly anyPort?: boolean } = {}) {
  return z.string({ error: wants(rule) }).transform((text, ctx): HostPort => {
    const parsed = parseHostPort(text);
    if (!parsed || (parsed.port === 0 && !anyPort)) {
      return refuse(
        ctx,
        anyPort && /^:\d+$/.test(text)
          ? `wants a host before the port: 0.0.0.0${text} listens on every address`
          : `wants ${rule}`,
      );
    }
    return parsed;
  });
}

/** Port 0 lets the system choose one. */
export const listenAddress = () => hostPort(LISTEN_RULE, { anyPort: true });

export const cidr = () =>
  z.string({ error: wants(CIDR_RULE) }).transform((text, ctx): string => {
    const result = readCidr(text);
    return 'cidr' in result ? result.cidr : refuse(ctx, result.problem);
  });

export const hostPattern = () =>
  z.string({ error: wants(HOST_RULE) }).transform((text, ctx): string => {
    const host = parseHostPattern(text);
    if (host !== undefined) return host;
    if (/[^\x20-\x7e]/.test(text)) return refuse(ctx, `wants ${HOST_RULE}, in ASCII (the xn-- form)`);
    return refuse(
      ctx,
      /:\d+$/.test(text)
        ? 'wants a host name without a port: every port of the gateway serves it'
        : `wants ${HOST_RULE}`,
    );
  });

/** An http or https URL without query, credentials or a slash at its end. */
export const httpUrl = (example: string) =>
  z.string({ error: wants(`a URL such as ${example}`) }).transform((text, ctx): string => {
    const url = URL.parse(text);
    if (!url || (url.protocol !== 'http:' && url.protocol !== 'https:') || url.search !== '' || url.hash !== '') {
      return refuse(ctx, `wants a URL such as ${example}`);
    }
    if (url.username !== '' || url.password !== '') {
      return refuse(ctx, 'must not carry credentials: URLs end up in logs; use the keys for them');
    }
    return url.href.replace(/\/+$/, '');
  });
