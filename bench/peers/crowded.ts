import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fairlead } from './fairlead.ts';
import type { Peer } from './peer.ts';

const binary = join(import.meta.dirname, '../../bin/fairlead.js');
const weigh = join(import.meta.dirname, '../lab/weigh.ts');

/** A gateway that looks after many instances besides those of the service `bench`. */
export interface Crowd {
  /** `host:port` of each instance, by service. */
  readonly services: ReadonlyMap<string, readonly string[]>;
  /** YAML of `defaults.health`. */
  readonly health: string;
  /** It has its embedded registry too, and keeps it on disk. */
  readonly embedded?: true;
  /** It can be asked what its threads hold: see lab/weigh.ts. */
  readonly weighed?: true;
}

/** Where the gateway told what it did. */
export interface CrowdedSite {
  adminPort: number;
  /** Of the embedded registry, where it has one. */
  registryPort: number;
  logFile: string;
}

/** The same gateway as `fairlead`, and where its admin API and its log are once it has been launched. */
export function crowded({ services, health, embedded, weighed }: Crowd): {
  readonly peer: Peer;
  readonly site: CrowdedSite;
} {
  const where: CrowdedSite = { adminPort: 0, registryPort: 0, logFile: '' };
  const peer: Peer = {
    name: fairlead.name,
    version: () => fairlead.version(),
    launch(site) {
      where.adminPort = site.secondPort;
      where.registryPort = site.registryPort;
      where.logFile = join(site.dir, 'events.log');
      const instances = join(site.dir, 'instances.json');
      writeFileSync(instances, JSON.stringify({ services: Object.fromEntries(services) }));
      const bench = site.originPorts.map((port) => `"127.0.0.1:${port}"`).join(', ');
      const file = join(site.dir, 'fairlead.yaml');
      writeFileSync(
        file,
        `
gateway:
  listen: ["127.0.0.1:${site.port}"]
  domain: localhost
  accessLog: off
  stateDir: off
  upstreamAddresses: { allowLoopback: true }
  limits: { connections: ${site.maxConnections + 1024} }
workers: ${site.threads}
admin: { listen: "127.0.0.1:${site.secondPort}" }
registries:
  - { name: fixed, type: static, services: { bench: [${bench}] } }
  - { name: crowd, type: file, path: "${instances}" }
${embedded ? `  - { name: local, type: embedded, listen: ["127.0.0.1:${site.registryPort}"], dataDir: "${join(site.dir, 'registry')}" }` : ''}
defaults: { health: ${health} }
services: { bench: { health: { type: tcp } } }
log: { destination: "${where.logFile}" }
metrics: { perInstance: false }
`,
      );
      const own = weighed ? ['--expose-gc', '--import', weigh] : [];
      return {
        command: process.execPath,
        args: [...own, binary, 'run', '-c', file],
        env: { BENCH_THREADS: String(site.threads) },
      };
    },
  };
  return { peer, site: where };
}
