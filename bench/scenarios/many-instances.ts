import { setTimeout as pause } from 'node:timers/promises';
import { startTargets } from '../lab/crowd.ts';
import { getOnce } from '../lab/get-once.ts';
import type { Lab } from '../lab/lab.ts';
import { crowded, type CrowdedSite } from '../peers/crowded.ts';
import type { Case, Figures, Scenario, Settings, Turn } from './scenario.ts';
import { openLoopTraffic } from './traffic.ts';

const INSTANCES = 100_000;
const SMALLEST = 10;
const RATE_PER_S = 3000;
const WARM_UP_MS = 2000;
const MAX_CONNECTIONS = 1024;
const READY_TIMEOUT_MS = 60_000;
const SERVICE = 'crowd';
const PAYLOAD_BYTES = 1024;

const sizesOf = ({ instances = INSTANCES }: Settings): number[] => [
  ...new Set([SMALLEST, 100, 1000, 10_000, instances].filter((size) => size <= instances)),
];

/** The CPU of a request in the smallest service, by round: what the larger ones are compared with. */
const smallest = new WeakMap<Lab, Map<number, number>>();

/** Instances at addresses of their own, all of them one process: the whole of 127/8 is this machine. */
async function populate(lab: Lab, count: number): Promise<{ addresses: string[]; end: () => Promise<void> }> {
  const { ports, child } = await startTargets(lab, {
    hosts: ['0.0.0.0'],
    portsEach: 1,
    bodyBytes: PAYLOAD_BYTES,
    close: true,
  });
  const port = ports[0] ?? 0;
  return {
    addresses: Array.from(
      { length: count },
      (_, at) => `127.${1 + (at >>> 16)}.${(at >>> 8) & 255}.${at & 255}:${port}`,
    ),
    end: () => child.stop(),
  };
}

/** The table is taken over in slices, and what that costs is not what a request costs. */
async function serving({ adminPort }: CrowdedSite, count: number): Promise<void> {
  const endMs = performance.now() + READY_TIMEOUT_MS;
  while (performance.now() < endMs) {
    const { body } = await getOnce(adminPort, '/api/services', 'localhost');
    if (new RegExp(`"name":"${SERVICE}"[^}]*"takingTraffic":${count}\\b`).test(body)) return;
    await pause(200);
  }
  throw new Error(`not all of ${count} instances take traffic`);
}

export const manyInstances: Scenario = {
  name: 's9',
  title: 'CPU per request by the size of the service; every instance closes after each answer, whatever the size',
  columns: [
    { key: 'cpu', header: 'CPU per request', unit: 'µs', decimals: 1 },
    { key: 'growth', header: 'above 10 instances', unit: '%', decimals: 1 },
    { key: 'p99', header: 'p99', unit: 'µs', decimals: 0 },
    { key: 'busy', header: 'proxy busy', unit: '% of a core', decimals: 0 },
  ],
  goals: [{ column: 'growth', atMost: 10 }],
  freshPeers: false,
  without: ['direct', 'haproxy', 'nginx', 'caddy', 'node-undici'],
  maxConnections: MAX_CONNECTIONS,
  cases: (settings): Case[] =>
    sizesOf(settings).map((size) => ({
      name: `${size} instances`,
      payloadBytes: PAYLOAD_BYTES,
      connections: settings.connections,
    })),
  async measure(turn: Turn): Promise<Figures> {
    const { lab, caseIndex, round, settings } = turn;
    const size = sizesOf(settings)[caseIndex] ?? SMALLEST;
    const { addresses, end } = await populate(lab, size);
    const services = new Map([[SERVICE, addresses]]);
    const { peer: launched, site } = crowded({ services, health: '[]' });
    const peer = await lab.startPeer(launched, MAX_CONNECTIONS);
    await serving(site, size);
    const traffic = { ratePerS: RATE_PER_S, host: `${SERVICE}.localhost`, warmUpMs: 0 };
    await openLoopTraffic(turn, peer, { ...traffic, durationMs: WARM_UP_MS });
    const { outcome, figures } = await openLoopTraffic(turn, peer, traffic);
    await peer.stop();
    await end();
    const { cpu = Number.NaN } = figures;
    const known = smallest.get(lab) ?? new Map<number, number>();
    if (caseIndex === 0) smallest.set(lab, known.set(round, cpu));
    const growth = (cpu / (known.get(round) ?? Number.NaN) - 1) * 100;
    return { ...figures, growth, p99: outcome.latencyUs.p99 };
  },
};
