import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { descriptorLimit } from '../../src/gateway/descriptors.ts';
import { probeSockets } from '../../src/gateway/probing.ts';
import { startTargets } from '../lab/crowd.ts';
import type { Lab, RunningPeer } from '../lab/lab.ts';
import { readMetrics, type Scrape } from '../lab/metrics.ts';
import { cpuSeconds } from '../lab/proc.ts';
import { crowded, type CrowdedSite } from '../peers/crowded.ts';
import type { Case, Figures, Scenario, Settings, Turn } from './scenario.ts';
import { openLoopTraffic } from './traffic.ts';

const INSTANCES = 100_000;
const PER_SERVICE = 10;
const PROBES_PER_S = 10_000;
const RATE_PER_S = 2000;
const WARM_UP_MS = 2000;
const MAX_CONNECTIONS = 1024;
/** New checks are asked at so many a second. */
const FIRST_PROBES_PER_S = 5000;
const SETTLE_MS = 4000;
/** Each holds a part of the probes that a host may have under way. */
const BLACK_HOSTS = ['127.0.0.2', '127.0.0.3', '127.0.0.4', '127.0.0.5', '127.0.0.6'];

interface Crowd {
  readonly name: string;
  readonly instances: number;
  /** Of each service so many are black holes. */
  readonly black: number;
}

/** How many connections the gateway keeps between probes here. */
const mayKeep = (): number => probeSockets(descriptorLimit()).maxKept;

function crowdsOf({ instances: wanted = INSTANCES }: Settings): Crowd[] {
  const kept = Math.min(wanted, Math.floor(mayKeep() / PER_SERVICE) * PER_SERVICE);
  const all: Crowd[] = [{ name: `${kept} instances, every connection kept`, instances: kept, black: 0 }];
  if (wanted > kept) all.push({ name: `${wanted} instances, ${kept} connections kept`, instances: wanted, black: 0 });
  all.push({ name: `${wanted} instances, half of them black holes`, instances: wanted, black: PER_SERVICE / 2 });
  return all;
}

interface Population {
  readonly services: ReadonlyMap<string, readonly string[]>;
  readonly end: () => Promise<void>;
}

/** By service: on one host, at a port each; and black holes on theirs. */
async function populate(lab: Lab, { instances, black }: Crowd): Promise<Population> {
  const answering = await startTargets(lab, { ...ANSWERING, hosts: ['127.0.0.1'], portsEach: PER_SERVICE - black });
  const children = [answering.child];
  const addresses = answering.ports.map((port) => `127.0.0.1:${port}`);
  if (black > 0) {
    const holes = await startTargets(lab, { ...BLACK, hosts: BLACK_HOSTS, portsEach: 1 });
    children.push(holes.child);
    addresses.push(...holes.ports.map((port, at) => `${BLACK_HOSTS[at] ?? ''}:${port}`));
  }
  return {
    services: new Map(Array.from({ length: instances / PER_SERVICE }, (_, at) => [`s-${at}`, addresses])),
    end: async () => {
      await Promise.all(children.map((child) => child.stop()));
    },
  };
}

const ANSWERING = { bodyBytes: 15, close: false };
const BLACK = { bodyBytes: undefined, close: false };

async function trafficP99(turn: Turn, peer: RunningPeer): Promise<number> {
  const { outcome } = await openLoopTraffic(turn, peer, { ratePerS: RATE_PER_S, warmUpMs: WARM_UP_MS });
  return outcome.latencyUs.p99;
}

/** Between two scrapes: what was asked and how late. */
function probesBetween(before: Scrape, after: Scrape): { count: number; lagP99Ms: number; discarded: number } {
  const grown = (name: string, label?: string): number => after.sum(name, label) - before.sum(name, label);
  const count = grown('fairlead_probe_lag_seconds_count');
  const bucket = after.bounds('fairlead_probe_lag_seconds').find((bound) => {
    return grown('fairlead_probe_lag_seconds_bucket', `le="${bound}"`) >= 0.99 * count;
  });
  return {
    count,
    lagP99Ms: Number(bucket === '+Inf' || bucket === undefined ? Number.NaN : bucket) * 1000,
    discarded: grown('fairlead_probes_total', 'result="discarded"'),
  };
}

/** Instances that answer, and that a verdict has taken out. */
function healthyEjected({ logFile }: CrowdedSite): number {
  const line = /"service":"s-\d+","instance":"127\.0\.0\.1-\d+".*"to":"failing"/;
  return readFileSync(logFile, 'utf8')
    .split('\n')
    .filter((each) => line.test(each)).length;
}

async function costOfProbes(peer: RunningPeer, site: CrowdedSite, durationMs: number): Promise<Figures> {
  const before = await readMetrics(site.adminPort);
  const cpuBefore = cpuSeconds(peer.processes());
  const startMs = performance.now();
  await pause(durationMs);
  const busySeconds = cpuSeconds(peer.processes()) - cpuBefore;
  const seconds = (performance.now() - startMs) / 1000;
  const after = await readMetrics(site.adminPort);
  const { count, lagP99Ms, discarded } = probesBetween(before, after);
  const perSecond = count / ((after.atMs - before.atMs) / 1000);
  const cores = busySeconds / seconds;
  return { cores, perProbe: (cores * 1e6) / perSecond, rate: perSecond, lag: lagP99Ms, discarded };
}

export const probes: Scenario = {
  name: 's7',
  title: 'Prober: 10,000 HTTP probes a second of up to 100,000 instances',
  columns: [
    { key: 'cores', header: 'prober', unit: 'cores', decimals: 3 },
    { key: 'perProbe', header: 'CPU per probe', unit: 'µs', decimals: 1 },
    { key: 'rate', header: 'probes', unit: '1/s', decimals: 0 },
    { key: 'lag', header: 'lag p99 at most', unit: 'ms', decimals: 0 },
    { key: 'before', header: 'traffic p99 without probes', unit: 'µs', decimals: 0 },
    { key: 'during', header: 'with', unit: 'µs', decimals: 0 },
    { key: 'change', header: 'change', unit: '%', decimals: 0 },
    { key: 'ejected', header: 'healthy ones taken out', unit: '', decimals: 0, medianOnly: true },
    { key: 'discarded', header: 'results not believed', unit: '', decimals: 0, medianOnly: true },
  ],
  goals: [
    { column: 'cores', atMost: 0.3 },
    { column: 'lag', atMost: 50 },
    { column: 'change', atMost: 10 },
    { column: 'ejected', atMost: 0 },
  ],
  freshPeers: false,
  without: ['direct', 'haproxy', 'nginx', 'caddy', 'node-undici'],
  maxConnections: MAX_CONNECTIONS,
  cases: (settings): Case[] =>
    crowdsOf(settings).map(({ name }) => ({ name, payloadBytes: 15, connections: settings.connections })),
  async measure(turn: Turn): Promise<Figures> {
    const { lab, caseIndex, settings } = turn;
    const crowd = crowdsOf(settings)[caseIndex];
    if (!crowd) throw new Error(`s7 has no case ${caseIndex}`);
    const { services, end } = await populate(lab, crowd);
    const unprobed = await lab.startPeer(crowded({ services, health: '[]' }).peer, MAX_CONNECTIONS);
    const before = await trafficP99(turn, unprobed);
    await unprobed.stop();

    const intervalMs = Math.round((crowd.instances * 1000) / PROBES_PER_S);
    const health = `{ type: http, path: /health, interval: ${intervalMs}ms, timeout: 2s }`;
    const { peer, site } = crowded({ services, health });
    const probed = await lab.startPeer(peer, MAX_CONNECTIONS);
    const detectionMs = crowd.black > 0 ? 3 * intervalMs + 2000 : intervalMs;
    await pause((crowd.instances * 1000) / FIRST_PROBES_PER_S + detectionMs + SETTLE_MS);
    const cost = await costOfProbes(probed, site, settings.durationMs);
    const during = await trafficP99(turn, probed);
    await probed.stop();
    await end();
    return { ...cost, before, during, change: (during / before - 1) * 100, ejected: healthyEjected(site) };
  },
};
