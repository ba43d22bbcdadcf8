import { setTimeout as pause } from 'node:timers/promises';
import { readMetrics } from '../lab/metrics.ts';
import type { RunningPeer } from '../lab/lab.ts';
import { runQueueOf } from '../lab/run-queue.ts';
import type { OpenLoopResult } from '../load/open-loop.ts';
import { allPeers } from '../peers/index.ts';
import type { Peer } from '../peers/peer.ts';
import type { Figures, Scenario, Turn } from './scenario.ts';
import { get1k, openLoopTraffic } from './traffic.ts';

const THREADS = 4;
const RATES_PER_S = [2000, 6000, 12_000];
/** Every thread compiles its own code: one that is still cold would be the tail. */
const COMPILE_MS = 4000;
const COMPILE_CONNECTIONS = 64;
const WARM_UP_MS = 1000;
const CONNECTIONS = 256;
const MAX_CONNECTIONS = 1024;
const SETTLE_MS = 1500;
/** A generator that was later than this (p99) did not get the processor when it needed it: its figures are its own. */
const LATE_US = 300;
/** So often is a stretch measured again whose generator was late. */
const ATTEMPTS = 4;

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
      request: get1k(each.port),
      connections: COMPILE_CONNECTIONS,
      durationMs: COMPILE_MS,
    });
  return started;
}

interface Stretch extends OpenLoopResult {
  /** How long threads of the peer were ready to run and had no core, in µs for each reply. */
  readonly queuedUs: number;
  readonly cpuUs: number;
  readonly attempts: number;
}

/** One stretch of load in which the generator kept its times; the last one tried, where it never did. */
async function stretch(turn: Turn, on: RunningPeer): Promise<Stretch> {
  const ratePerS = RATES_PER_S[turn.caseIndex] ?? 0;
  for (let attempts = 1; ; attempts += 1) {
    const before = runQueueOf(on.processes());
    const { outcome, figures } = await openLoopTraffic(turn, on, {
      ratePerS,
      warmUpMs: WARM_UP_MS,
      connections: CONNECTIONS,
      pace: 'sleep',
    });
    const queuedUs = ((runQueueOf(on.processes()).waitMs - before.waitMs) * 1000) / outcome.replies;
    if (outcome.lateUs.p99 > LATE_US && attempts < ATTEMPTS) continue;
    return { ...outcome, queuedUs, cpuUs: figures['cpu'] ?? Number.NaN, attempts };
  }
}

/** Connections of the busiest thread by the mean of all, as the gateway's own metrics count them. */
async function imbalance(adminPort: number): Promise<number> {
  const scrape = await readMetrics(adminPort);
  const counts = Array.from({ length: THREADS }, (_, thread) =>
    scrape.sum('fairlead_data_thread_connections', `thread="${thread}"`),
  );
  return (Math.max(...counts) * THREADS) / counts.reduce((sum, count) => sum + count, 0);
}

/** Which of the two is first changes with the round. */
async function both(turn: Turn, single: RunningPeer): Promise<{ many: Stretch; one: Stretch; busiest?: number }> {
  const { peer, round } = turn;
  const onMany = async (): Promise<{ many: Stretch; busiest?: number }> => {
    const many = stretch(turn, peer);
    if (peer.name !== 'fairlead') return { many: await many };
    const busiest = pause(SETTLE_MS).then(() => imbalance(peer.adminPort));
    return { many: await many, busiest: await busiest };
  };
  if (round % 2 === 1) return { ...(await onMany()), one: await stretch(turn, single) };
  const one = await stretch(turn, single);
  return { ...(await onMany()), one };
}

export const threadsTail: Scenario = {
  name: 'tail',
  title: `p99 of ${THREADS} threads on all cores, beside the same proxy on one thread at the same rate; open loop`,
  columns: [
    { key: 'ratio', header: 'p99 × its own on one thread', unit: '', decimals: 2 },
    { key: 'p99', header: `p99, ${THREADS} threads`, unit: 'µs', decimals: 0 },
    { key: 'p99One', header: 'one', unit: 'µs', decimals: 0 },
    { key: 'p50', header: `p50, ${THREADS} threads`, unit: 'µs', decimals: 0, medianOnly: true },
    { key: 'p50One', header: 'one', unit: 'µs', decimals: 0, medianOnly: true },
    { key: 'cpu', header: `CPU per request, ${THREADS} threads`, unit: 'µs', decimals: 1, medianOnly: true },
    { key: 'cpuOne', header: 'one', unit: 'µs', decimals: 1, medianOnly: true },
    { key: 'queued', header: `waited for a core per request, ${THREADS} threads`, unit: 'µs', decimals: 1 },
    { key: 'queuedOne', header: 'one', unit: 'µs', decimals: 1 },
    { key: 'imbalance', header: 'busiest thread’s connections', unit: '× mean', decimals: 2 },
    { key: 'late', header: 'sent late, p99', unit: 'µs', decimals: 0 },
    { key: 'generator', header: 'generator busy', unit: '% of a core', decimals: 0, medianOnly: true },
    { key: 'repeated', header: 'measured again', unit: '', decimals: 0 },
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
    const { many, one, busiest } = await both(turn, await onOneThread(turn));
    return {
      ratio: many.latencyUs.p99 / one.latencyUs.p99,
      p99: many.latencyUs.p99,
      p99One: one.latencyUs.p99,
      p50: many.latencyUs.p50,
      p50One: one.latencyUs.p50,
      cpu: many.cpuUs,
      cpuOne: one.cpuUs,
      queued: many.queuedUs,
      queuedOne: one.queuedUs,
      ...(busiest === undefined ? {} : { imbalance: busiest }),
      late: Math.max(many.lateUs.p99, one.lateUs.p99),
      generator: Math.max(many.busy, one.busy) * 100,
      repeated: many.attempts + one.attempts - 2,
    };
  },
  doubt(median) {
    const late = median('fairlead', 'late') ?? 0;
    return late > LATE_US ? `the generator was ${Math.round(late)} µs late (p99): is the machine busy?` : undefined;
  },
};
