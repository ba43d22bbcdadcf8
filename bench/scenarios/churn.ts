import { setTimeout as pause } from 'node:timers/promises';
import { startTargets } from '../lab/crowd.ts';
import type { Lab, RunningPeer } from '../lab/lab.ts';
import { readMetrics } from '../lab/metrics.ts';
import { threadSeconds, type ThreadSeconds } from '../lab/proc.ts';
import type { ChurnKind } from '../load/churn-plan.ts';
import { BENCH_HOST } from '../peers/peer.ts';
import { crowded, type CrowdedSite } from '../peers/crowded.ts';
import { withCost } from './cost.ts';
import type { Case, Figures, Scenario, Turn } from './scenario.ts';

const CALLS_PER_S = 1000;
/** Registered at any time. One lives for two seconds: half of the calls register. */
const INSTANCES = 1000;
const PAYLOAD_BYTES = 1024;
const MAX_CONNECTIONS = 1024;
const CHURN_CONNECTIONS = 16;
const STEADY_TIMEOUT_MS = 15_000;
/** What is new has been probed, and what has gone has been forgotten. */
const SETTLE_MS = 1000;
const WARM_UP_MS = 3000;
/** Fewer changes than this share of those asked for say nothing of that rate. */
const LEAST_SHARE = 0.95;

const CASES: readonly { readonly name: string; readonly service: string; readonly services: number }[] = [
  { name: 'changes in 100 other services', service: 'other', services: 100 },
  { name: 'changes in the loaded service', service: 'bench', services: 1 },
];
const KINDS: readonly ChurnKind[] = ['none', 'again', 'real'];

interface Gateway {
  readonly peer: RunningPeer;
  readonly site: CrowdedSite;
  readonly targetPort: number;
}

/** What one stretch of full load cost, with one kind of calls beside it. */
interface Stretch {
  /** Requests a second, and CPU of the whole process for each, in µs. */
  readonly throughput: number;
  readonly cpu: number;
  /** CPU of the data-plane threads alone for each request, in µs. */
  readonly dataCpu: number;
  /** CPU of all other threads, in µs for each second. */
  readonly controlUs: number;
  readonly callsPerS: number;
  readonly changesPerS: number;
}

/** Its instances answer, wherever in 127/8 they are: one process. */
async function start(lab: Lab): Promise<Gateway & { readonly end: () => Promise<void> }> {
  const targets = await startTargets(lab, {
    hosts: ['0.0.0.0'],
    portsEach: 1,
    bodyBytes: PAYLOAD_BYTES,
    close: false,
  });
  const { peer: launched, site } = crowded({ services: new Map(), health: '{ type: tcp }', embedded: true });
  const peer = await lab.startPeer(launched, MAX_CONNECTIONS);
  const end = async (): Promise<void> => {
    await peer.stop();
    await targets.child.stop();
  };
  return { peer, site, targetPort: targets.ports[0] ?? 0, end };
}

const changesIn = async ({ adminPort }: CrowdedSite): Promise<{ count: number; atMs: number }> => {
  const scrape = await readMetrics(adminPort);
  const of = (kind: string): number => scrape.sum('fairlead_registry_events_total', `registry="local",kind="${kind}"`);
  return { count: of('upsert') + of('remove'), atMs: scrape.atMs };
};

async function stretch(gateway: Gateway, { lab, caseIndex, settings }: Turn, kind: ChurnKind): Promise<Stretch> {
  const { peer, site, targetPort } = gateway;
  const { connections, durationMs } = settings;
  const plan = {
    kind,
    service: CASES[caseIndex]?.service ?? '',
    services: CASES[caseIndex]?.services ?? 1,
    instances: INSTANCES,
    instancePort: targetPort,
  };
  const churn = await lab.generators.churn(
    { ...plan, port: site.registryPort, callsPerS: CALLS_PER_S, connections: CHURN_CONNECTIONS },
    STEADY_TIMEOUT_MS,
  );
  const startMs = performance.now();
  const request = {
    port: peer.port,
    host: BENCH_HOST,
    method: 'GET' as const,
    path: '/1k',
    bodyBytes: 0,
    close: false,
  };
  await lab.generators.closedLoop({ request, connections, durationMs: SETTLE_MS });
  const changesBefore = await changesIn(site);
  const [pid = 0] = peer.processes();
  const before = threadSeconds(pid);
  const { outcome, figures } = await withCost(peer, () =>
    lab.generators.closedLoop({ request, connections, durationMs }),
  );
  const spent = between(before, threadSeconds(pid));
  const changes = await changesIn(site);
  const { calls, failed, late } = await churn.close();
  const seconds = (performance.now() - startMs) / 1000;
  if (failed > 0 || late > 0)
    throw new Error(`of ${calls} calls of the registry ${failed} failed, ${late} were given up`);
  await pause(SETTLE_MS);
  return {
    throughput: (outcome.replies * 1000) / outcome.durationMs,
    cpu: figures['cpu'] ?? Number.NaN,
    dataCpu: (spent.data * 1e6) / outcome.replies,
    controlUs: ((spent.control + spent.runtime) * 1e9) / outcome.durationMs,
    callsPerS: calls / seconds,
    changesPerS: ((changes.count - changesBefore.count) * 1000) / (changes.atMs - changesBefore.atMs),
  };
}

function between(before: ThreadSeconds, after: ThreadSeconds): ThreadSeconds {
  return {
    control: after.control - before.control,
    data: after.data - before.data,
    runtime: after.runtime - before.runtime,
  };
}

const growth = (from: number, to: number): number => (to / from - 1) * 100;

/**
 * Throughput says what was lost where the machine has nothing else to do. Capacity says it by CPU time: requests a second
 * that one core can do beside the other threads. It holds wherever the generator or other work was what limited it.
 */
function compare({ none, again, real }: Readonly<Record<ChurnKind, Stretch>>): Figures {
  if (real.changesPerS < CALLS_PER_S * LEAST_SHARE)
    throw new Error(`${real.changesPerS.toFixed(0)} changes a second reached the gateway, not ${CALLS_PER_S}`);
  const capacity = (each: Stretch): number => (1e6 - each.controlUs) / each.dataCpu;
  return {
    room: -growth(capacity(again), capacity(real)),
    roomInAll: -growth(capacity(none), capacity(real)),
    lost: -growth(again.throughput, real.throughput),
    lostInAll: -growth(none.throughput, real.throughput),
    throughput: none.throughput,
    cpu: none.cpu,
    cpuAgain: again.cpu,
    cpuReal: real.cpu,
    dataGrowth: growth(none.dataCpu, real.dataCpu),
    perCall: (again.controlUs - none.controlUs) / again.callsPerS,
    perChange: (real.controlUs - again.controlUs) / real.changesPerS,
    rate: real.changesPerS,
  };
}

export const churn: Scenario = {
  name: 's10',
  title: 'A thousand registry changes a second at full load, GET 1 KiB; registry and gateway on one core',
  columns: [
    { key: 'room', header: 'capacity lost to changes', unit: '%', decimals: 1 },
    { key: 'roomInAll', header: 'with their HTTP calls', unit: '%', decimals: 1 },
    { key: 'lost', header: 'throughput lost to changes', unit: '%', decimals: 1 },
    { key: 'lostInAll', header: 'with their HTTP calls', unit: '%', decimals: 1 },
    { key: 'throughput', header: 'throughput without', unit: 'req/s', decimals: 0, medianOnly: true },
    { key: 'cpu', header: 'CPU per request without', unit: 'µs', decimals: 1, medianOnly: true },
    { key: 'cpuAgain', header: 'with calls that change nothing', unit: 'µs', decimals: 1, medianOnly: true },
    { key: 'cpuReal', header: 'with changes', unit: 'µs', decimals: 1, medianOnly: true },
    { key: 'dataGrowth', header: 'data thread alone', unit: '%', decimals: 1 },
    { key: 'perCall', header: 'a call', unit: 'µs', decimals: 0 },
    { key: 'perChange', header: 'its change', unit: 'µs', decimals: 0 },
    { key: 'rate', header: 'changes', unit: '1/s', decimals: 0, medianOnly: true },
  ],
  goals: [
    { column: 'room', atMost: 5 },
    { column: 'lost', atMost: 5 },
  ],
  freshPeers: false,
  without: ['direct', 'haproxy', 'nginx', 'caddy', 'node-undici'],
  maxConnections: MAX_CONNECTIONS,
  cases: ({ connections }): Case[] => CASES.map(({ name }) => ({ name, payloadBytes: PAYLOAD_BYTES, connections })),
  async measure(turn: Turn): Promise<Figures> {
    const { end, ...gateway } = await start(turn.lab);
    // Both paths get warm before either is measured.
    await stretch(gateway, { ...turn, settings: { ...turn.settings, durationMs: WARM_UP_MS } }, 'real');
    const stretches = new Map<ChurnKind, Stretch>();
    // What drifts within a turn, meets each kind first, second and last in turn.
    for (let at = 0; at < KINDS.length; at += 1) {
      const kind = KINDS[(at + turn.round) % KINDS.length] ?? 'none';
      stretches.set(kind, await stretch(gateway, turn, kind));
    }
    await end();
    return compare(Object.fromEntries(stretches) as Record<ChurnKind, Stretch>);
  },
};
