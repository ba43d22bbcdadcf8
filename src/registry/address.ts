import { createHash } from 'node:crypto';
import { normalizeHost } from '../core/address.ts';
import { isName } from '../core/names.ts';

export const HOST_RULE = 'an IP address (IPv6 with or without brackets) or a host name';
export const ADDRESS_RULE = `host:port, where host is ${HOST_RULE} and port is 1 to 65535`;

/**
 * `normalizeHost` of what registries write: brackets around IPv6 and the final dot of a name go. Two registries that
 * mean the same address must say the same, or the merge does not see it.
 */
export function canonicalHost(text: string): string | undefined {
  const bracketed = text.startsWith('[') && text.endsWith(']');
  const bare = bracketed ? text.slice(1, -1) : text.replace(/\.$/, '');
  return bracketed && !bare.includes(':') ? undefined : normalizeHost(bare);
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
