import { setTimeout as pause } from 'node:timers/promises';
import { readMetrics } from '../lab/metrics.ts';
import type { RunningPeer } from '../lab/lab.ts';
import { allPeers } from '../peers/index.ts';
import { BENCH_HOST, type Peer } from '../peers/peer.ts';
import type { LoadRequest } from '../load/request.ts';
import { withCost } from './cost.ts';
import type { Figures, Scenario, Turn } from './scenario.ts';

const THREADS = 4;
const RATES_PER_S = [2000, 6000, 12_000];
/** Every thread compiles its own code: one that is still cold would be the tail. */
const COMPILE_MS = 4000;
const COMPILE_CONNECTIONS = 64;
const WARM_UP_MS = 1000;
const CONNECTIONS = 256;
const MAX_CONNECTIONS = 1024;
const SETTLE_MS = 1500;

const requestTo = (port: number): LoadRequest => ({
  port,
  host: BENCH_HOST,
  method: 'GET',
  path: '/1k',
  bodyBytes: 0,
  close: false,
});

/** The same peer on one thread, on the same cores: each peer is its own yardstick. */
const alone = new WeakMap<RunningPeer, Promise<RunningPeer>>();

async function onOneThread({ lab, peer }: Turn): Promise<RunningPeer> {
  const known = alone.get(peer);
  if (known) return known;
  const kind = allPeers.find(({ name }) => name === peer.name);
  if (!kind) throw new Error(`no peer is called ${peer.name}`);
  const single: Peer = { ...kind, launch: (site) => kind.launch({ ...site, threads: 1 }) };
  const started = lab.startPeer(single, MAX_CONNECTIONS);
  alone.set(peer, started);
  for (const each of [peer, await started])
    await lab.generators.closedLoop({
      request: requestTo(each.port),
      connections: COMPILE_CONNECTIONS,
      durationMs: COMPILE_MS,
    });
  return started;
}

/** Connections of the busiest thread by the mean of all, as the gateway's own metrics count them. */
async function imbalance(adminPort: number): Promise<number> {
  const scrape = await readMetrics(adminPort);
  const counts = Array.from({ length: THREADS }, (_, thread) =>
    scrape.sum('fairlead_data_thread_connections', `thread="${thread}"`),
  );
  return (Math.max(...counts) * THREADS) / counts.reduce((sum, count) => sum + count, 0);
}

export const threadsTail: Scenario = {
  name: 'tail',
  title: `p99 of ${THREADS} threads on all cores, beside the same proxy on one thread at the same rate; open loop`,
  columns: [
    { key: 'ratio', header: 'p99 × its own on one thread', unit: '', decimals: 2 },
    { key: 'p99', header: `p99, ${THREADS} threads`, unit: 'µs', decimals: 0 },
    { key: 'p99One', header: 'p99, one thread', unit: 'µs', decimals: 0 },
    { key: 'p50', header: `p50, ${THREADS} threads`, unit: 'µs', decimals: 0, medianOnly: true },
    { key: 'p50One', header: 'p50, one thread', unit: 'µs', decimals: 0, medianOnly: true },
    { key: 'late', header: 'sent late, p99', unit: 'µs', decimals: 0, medianOnly: true },
    { key: 'imbalance', header: 'busiest thread’s connections', unit: '× mean', decimals: 2 },
  ],
  goals: [{ column: 'ratio', atMost: 1.5 }],
  freshPeers: false,
  without: ['direct', 'caddy', 'node-undici'],
  maxConnections: MAX_CONNECTIONS,
  threads: THREADS,
  cases: ({ ratePerS }) =>
    (ratePerS === undefined ? RATES_PER_S : [ratePerS]).map((rate) => ({
      name: `${rate} requests/s`,
      payloadBytes: 1024,
      connections: CONNECTIONS,
    })),
  async measure(turn: Turn): Promise<Figures> {
    const { lab, peer, round, caseIndex, settings } = turn;
    const single = await onOneThread(turn);
    const ratePerS = settings.ratePerS ?? RATES_PER_S[caseIndex] ?? 0;
    const load = async (on: RunningPeer): ReturnType<typeof lab.generators.openLoop> => {
      const { durationMs } = settings;
      const options = { ratePerS, durationMs, connections: CONNECTIONS, warmUpMs: WARM_UP_MS, seed: round };
      const run = withCost(on, () => lab.generators.openLoop({ request: requestTo(on.port), ...options }));
      return (await run).outcome;
    };
    const many = load(peer);
    const [over, busiest] = await Promise.all([
      many,
      peer.name === 'fairlead' ? pause(SETTLE_MS).then(() => imbalance(peer.adminPort)) : undefined,
    ]);
    const one = await load(single);
    return {
      ratio: over.latencyUs.p99 / one.latencyUs.p99,
      p99: over.latencyUs.p99,
      p99One: one.latencyUs.p99,
      p50: over.latencyUs.p50,
      p50One: one.latencyUs.p50,
      late: over.lateUs.p99,
      ...(busiest === undefined ? {} : { imbalance: busiest }),
    };
  },
};
