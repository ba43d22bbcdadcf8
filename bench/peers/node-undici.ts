import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Peer } from './peer.ts';

const installed = new URL('../../node_modules/undici/package.json', import.meta.url);

/** What one writes in TypeScript with the parts that are at hand: `node:http` in, undici out. */
export const nodeUndici: Peer = {
  name: 'node-undici',
  version() {
    const { version } = JSON.parse(readFileSync(installed, 'utf8')) as { version: string };
    return `node ${process.versions.node}, undici ${version}`;
  },
  launch: (site) => ({
    command: process.execPath,
    args: [join(import.meta.dirname, 'node-undici-proxy.ts'), String(site.port), ...site.originPorts.map(String)],
  }),
};
