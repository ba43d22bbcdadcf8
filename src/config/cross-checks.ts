import { normalizeHost } from '../core/address.ts';
import { isName } from '../core/names.ts';
import { isLoopback, parseHostPattern, parseHostPort } from './addresses.ts';
import type { HostPort } from './config.ts';
import { isGroup } from './merge-policy.ts';
import type { Path } from './yaml-source.ts';

/** Each is compared with every other; more than a machine could want. */
const MAX_LISTENERS = 1000;

export interface Finding {
  readonly path: Path;
  readonly message: string;
  /** It is about the key rather than its value. */
  readonly at?: 'key';
}

/**
 * What no single value shows: names given twice, listeners in each other's way, listeners without a token. Reads the
 * values as written and passes over what is wrong in itself, so that these findings do not wait for others to be mended.
 * `unread`: paths, as `pathText`, of values that could not be read at all.
 */
export function crossChecks(root: Readonly<Record<string, unknown>>, unread: ReadonlySet<string>): readonly Finding[] {
  const listeners = listenersOf(root).slice(0, MAX_LISTENERS);
  return [
    ...overlongNames(root),
    ...doubleHosts(root),
    ...doubleRegistries(root),
    ...listenerClashes(listeners),
    ...unguardedListeners(listeners, unread),
  ];
}

function doubleHosts(root: Readonly<Record<string, unknown>>): Finding[] {
  if (!isGroup(root.services)) return [];
  const services = root.services;
  const domain =
    isGroup(root.gateway) && typeof root.gateway.domain === 'string'
      ? (normalizeHost(root.gateway.domain) ?? 'localhost')
      : 'localhost';
  const findings: Finding[] = [];
  const owners = new Map<string, string>();
  for (const service of Object.keys(services)) {
    const host = `${service.toLowerCase()}.${domain}`;
    const owner = owners.get(host);
    if (owner === undefined) owners.set(host, service);
    else
      findings.push({
        at: 'key',
        path: ['services', service],
        message: `answers at ${host}, as the service ${owner} does: host names know no capitals`,
      });
  }
  for (const [service, policy] of Object.entries(services)) {
    if (!isGroup(policy)) continue;
    for (const { value, path } of entriesOf(policy.hosts, ['services', service, 'hosts'])) {
      const host = typeof value === 'string' ? parseHostPattern(value) : undefined;
      if (host === undefined) continue;
      if (host.startsWith('*.') && `.${domain}`.endsWith(host.slice(1))) {
        findings.push({
          path,
          message: `takes every name under ${domain}, which is \`gateway.domain\`, and so those of all other services`,
        });
      }
      const owner = owners.get(host) ?? service;
      owners.set(host, owner);
      if (owner !== service) findings.push({ path, message: `${host} leads to the service ${owner} already` });
    }
  }
  return findings;
}

function doubleRegistries(root: Readonly<Record<string, unknown>>): Finding[] {
  if (!Array.isArray(root.registries)) return [];
  const seen = new Set<unknown>();
  return root.registries.flatMap((registry: unknown, index): Finding[] => {
    if (!isGroup(registry)) return [];
    const name = registry.name ?? registry.type;
    if (name === undefined || !seen.has(name)) {
      seen.add(name);
      return [];
    }
    return registry.name === undefined
      ? [
          {
            path: ['registries', index],
            message: 'needs a `name`: without one it is called by its type, as another registry is',
          },
        ]
      : [
          {
            path: ['registries', index, 'name'],
            message: 'is the name of another registry; logs and metrics could not tell them apart',
          },
        ];
  });
}

/** `servicePrefix` and a name that are too long together. */
function overlongNames(root: Readonly<Record<string, unknown>>): Finding[] {
  if (!Array.isArray(root.registries)) return [];
  return root.registries.flatMap((registry: unknown, index): Finding[] => {
    if (!isGroup(registry) || typeof registry.servicePrefix !== 'string' || !Array.isArray(registry.services))
      return [];
    const prefix = registry.servicePrefix;
    return entriesOf(registry.services, ['registries', index, 'services'])
      .filter(({ value }) => typeof value === 'string' && isName(value) && isName(prefix) && !isName(prefix + value))
      .map(({ path }) => ({ path, message: 'is longer than 128 characters with `servicePrefix` before it' }));
  });
}

interface Listener {
  readonly at: HostPort;
  readonly path: Path;
  /** Whether the file names it; else it is the default. */
  readonly given: boolean;
  /** Where the token belongs that must guard it off loopback; undefined for the data plane. */
  readonly token: { readonly path: string; readonly given: boolean; readonly risk: string } | undefined;
}

function listenersOf(root: Readonly<Record<string, unknown>>): Listener[] {
  const found: Listener[] = [];
  const add = (value: unknown, fallback: string, path: Path, token: Listener['token']): void => {
    const given = value !== undefined && value !== null;
    for (const entry of entriesOf(given ? value : fallback, path)) {
      const at = typeof entry.value === 'string' ? parseHostPort(entry.value) : undefined;
      if (at) found.push({ at, path: entry.path, given, token });
    }
  };
  const gateway = isGroup(root.gateway) ? root.gateway : {};
  add(gateway.listen, '0.0.0.0:8080', ['gateway', 'listen'], undefined);
  const admin = isGroup(root.admin) ? root.admin : {};
  const adminRisk = 'whoever reaches it could drain your instances';
  add(admin.listen, '127.0.0.1:9901', ['admin', 'listen'], {
    path: 'admin.token',
    given: isGiven(admin.token),
    risk: adminRisk,
  });
  const registries: unknown[] = Array.isArray(root.registries) ? root.registries : [{ type: 'embedded' }];
  registries.forEach((registry, index) => {
    if (!isGroup(registry) || registry.type !== 'embedded') return;
    const risk = 'whoever reaches it could register instances and take over your traffic';
    const token = { path: `registries[${index}].token`, given: isGiven(registry.token), risk };
    add(registry.listen, '127.0.0.1:8761', ['registries', index, 'listen'], token);
  });
  return found;
}

function listenerClashes(listeners: readonly Listener[]): Finding[] {
  return listeners.flatMap((listener, index) => {
    const earlier = listeners.slice(0, index).find((other) => overlap(listener.at, other.at));
    if (!earlier) return [];
    if (listener.given)
      return [{ path: listener.path, message: `${pathText(earlier.path)} listens on this port already` }];
    // What is not in the file has no line to point to.
    const message = `is where ${pathText(listener.path)} listens by default: give one of them another port`;
    return [{ path: earlier.path, message }];
  });
}

function overlap(a: HostPort, b: HostPort): boolean {
  if (a.port !== b.port || a.port === 0) return false;
  const everywhere = (host: string): boolean => host === '0.0.0.0' || host === '::';
  if (a.host === b.host || everywhere(a.host) || everywhere(b.host)) return true;
  return (a.host === 'localhost' && isLoopback(b.host)) || (b.host === 'localhost' && isLoopback(a.host));
}

function unguardedListeners(listeners: readonly Listener[], unread: ReadonlySet<string>): Finding[] {
  return listeners.flatMap(({ at, path, token }) => {
    if (token === undefined || token.given || unread.has(token.path) || isLoopback(at.host)) return [];
    return [
      {
        path,
        message: `can be reached from other machines, and ${token.risk}: set ${token.path}, or listen on 127.0.0.1`,
      },
    ];
  });
}

function isGiven(token: unknown): boolean {
  return token !== undefined && token !== '';
}

/** One value, or each of a list. */
function entriesOf(value: unknown, path: Path): { readonly value: unknown; readonly path: Path }[] {
  return Array.isArray(value)
    ? value.map((each: unknown, index) => ({ value: each, path: [...path, index] }))
    : [{ value, path }];
}

/** `registries[0].name`; keys that are no plain words in quotes. */
export function pathText(path: Path): string {
  return path
    .map((part, index) => {
      if (typeof part === 'number') return `[${part}]`;
      const word = /^[A-Za-z0-9_-]+$/.test(part) ? part : JSON.stringify(part.slice(0, 80));
      return index === 0 ? word : `.${word}`;
    })
    .join('');
}
