import type { Config } from '../config/config.ts';
import { HostTable } from '../routing/hosts.ts';
import type { Fleet } from '../upstream/fleet.ts';
import type { Probing } from './probing.ts';
import { atOnce, type Reloadable } from './reload.ts';
import type { FleetRouter } from './router.ts';
import { same } from './same-config.ts';

interface PolicyParts {
  readonly fleet: Fleet;
  readonly router: FleetRouter;
  readonly probing: Probing;
}

/** Policies and hosts of services. What is known of instances survives: only what a changed policy decides is decided anew. */
export function servicePolicies({ fleet, router, probing }: PolicyParts): Reloadable {
  const take = (next: Config, before: Config): string[] => {
    const changes: string[] = [];
    if (!same(before.defaultPolicy, next.defaultPolicy)) {
      fleet.setDefaultPolicy(next.defaultPolicy);
      changes.push('defaults changed');
    }
    for (const name of before.services.keys()) {
      if (next.services.has(name)) continue;
      fleet.unconfigure(name);
      changes.push(`service ${name} is no longer configured`);
    }
    for (const [name, policy] of next.services) {
      const known = before.services.get(name);
      if (known && same(known, policy)) continue;
      fleet.configure(name, policy);
      changes.push(`service ${name} ${known ? 'changed' : 'configured'}`);
    }
    const { domain } = next.gateway;
    if (changes.length > 0 || domain !== before.gateway.domain) router.replace(hostTable(next));
    if (changes.length > 0) probing.reconfigure();
    if (domain !== before.gateway.domain) changes.push(`gateway.domain is ${domain}`);
    return changes;
  };
  return { prepare: (next, before) => atOnce(() => take(next, before)) };
}

export function hostTable(config: Config): HostTable {
  return new HostTable(configuredHosts(config), config.gateway.domain);
}

/** Each host name that is configured, with its service. */
export function configuredHosts({ services }: Config): [host: string, service: string][] {
  return [...services].flatMap(([name, { hosts }]) => hosts.map((host): [string, string] => [host, name]));
}
