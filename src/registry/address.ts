import { createHash } from 'node:crypto';
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import { isName } from '../core/names.ts';

const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;
const NUMERIC = /^(?:\d+|0x[0-9a-f]*)$/;

export const HOST_RULE = 'an IP address (IPv6 with or without brackets) or a host name';
export const ADDRESS_RULE = `host:port, where host is ${HOST_RULE} and port is 1 to 65535`;

/**
 * The one spelling of a host, so that two registries that mean the same address say the same: lower case, no final
 * dot, IPv6 without brackets as RFC 5952 writes it, IPv4-mapped IPv6 as IPv4. Undefined where the text is no host.
 * A name that the resolver would read as a number (`127.1`, `0x7f000001`) is no host: it hides an address.
 */
export function canonicalHost(text: string): string | undefined {
  const bare = text.startsWith('[') && text.endsWith(']') ? text.slice(1, -1) : text;
  if (bare.includes(':')) {
    if (isIP(bare) !== 6 || bare.includes('%')) return undefined;
    return ipaddr.process(bare).toString();
  }
  if (bare !== text || text.length === 0 || text.length > 254) return undefined;
  if (isIP(text) === 4) return text;
  const name = text.toLowerCase().replace(/\.$/, '');
  const labels = name.split('.');
  if (name.length > 253 || NUMERIC.test(labels.at(-1) ?? '')) return undefined;
  return labels.every((label) => LABEL.test(label)) ? name : undefined;
}

/** `10.0.0.7:80`, `[::1]:80`, `web-1.internal:80`. Undefined where the text is not `ADDRESS_RULE`. */
export function parseAddress(text: string): { readonly host: string; readonly port: number } | undefined {
  const colon = text.lastIndexOf(':');
  const digits = text.slice(colon + 1);
  const hostText = text.slice(0, Math.max(colon, 0));
  // An IPv6 address without brackets would lose its last group to the port.
  if (!/^[1-9]\d{0,4}$/.test(digits) || (hostText.includes(':') && !hostText.startsWith('['))) return undefined;
  const host = canonicalHost(hostText);
  const port = Number(digits);
  return host === undefined || port > 65_535 ? undefined : { host, port };
}

/** The id of an instance whose registry gives it none: the same address has the same id after every restart. */
export function idOfAddress(host: string, port: number): string {
  const plain = `${host.replaceAll(':', '-')}-${port}`;
  return isName(plain) ? plain : shortHash(`${host} ${port}`, 32);
}

/** The first `digits` hexadecimal digits of SHA-256: to tell names apart, not to protect anything. */
export function shortHash(text: string, digits: number): string {
  return createHash('sha256').update(text).digest('hex').slice(0, digits);
}
