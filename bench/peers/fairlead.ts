import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeCheckout } from '../lab/machine.ts';
import type { Peer, Site } from './peer.ts';

const binary = join(import.meta.dirname, '../../bin/fairlead.js');

/** The whole gateway as it is by default (routing, p2c, breakers, probes every 5 s, metrics), on as many data-plane threads as the scenario asks for. */
function config(site: Site): string {
  const instances = site.originPorts.map((port) => `"127.0.0.1:${port}"`).join(', ');
  return `
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
  - { name: fixed, type: static, services: { bench: [${instances}] } }
`;
}

export const fairlead: Peer = {
  name: 'fairlead',
  version: () => `commit ${describeCheckout().commit}, node ${process.versions.node}`,
  launch(site) {
    const file = join(site.dir, 'fairlead.yaml');
    writeFileSync(file, config(site));
    return { command: process.execPath, args: [binary, 'run', '-c', file] };
  },
};
