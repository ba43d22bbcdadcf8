import type { Lab } from '../lab/lab.ts';
import { haproxy } from '../peers/haproxy.ts';
import type { Figures, Scenario, Settings, Turn } from './scenario.ts';
import { get1k, openLoopTraffic } from './traffic.ts';

const SHARE_OF_HAPROXY = 0.3;
const WARM_UP_MS = 1000;
const MAX_CONNECTIONS = 1024;
/** With nothing in between, a generator later than this did not get the processor when it needed it. */
const LATE_US = 1000;

/** Requests per second: the median of three short closed loops against HAProxy, in this run, on this machine. */
async function haproxySaturation(lab: Lab, { connections, durationMs }: Settings): Promise<number> {
  if (haproxy.version() === undefined) throw new Error('HAProxy is not installed: give the rate with --rate N');
  const peer = await lab.startPeer(haproxy, MAX_CONNECTIONS);
  const rates: number[] = [];
  for (let turn = 0; turn < 3; turn += 1) {
    const result = await lab.generators.closedLoop({ request: get1k(peer.port), connections, durationMs });
    rates.push((result.replies * 1000) / result.durationMs);
  }
  await peer.stop();
  return rates.sort((a, b) => a - b)[1] ?? 0;
}

/** Of the same round, because the machine's mood changes from one to the next. */
function addedTo(direct: Figures, figures: Figures): Figures {
  const added: Record<string, number> = {};
  for (const key of ['p50', 'p90', 'p99', 'p999']) {
    const value = (figures[key] ?? Number.NaN) - (direct[key] ?? Number.NaN);
    if (!Number.isNaN(value)) added[`${key}Added`] = value;
  }
  return added;
}

export const openLoopLatency: Scenario = {
  name: 's2',
  title: 'Latency at 30 % of what HAProxy can do, GET 1 KiB, open loop',
  columns: [
    { key: 'p99Added', header: 'added p99', unit: 'µs', decimals: 0 },
    { key: 'p50Added', header: 'added p50', unit: 'µs', decimals: 0 },
    { key: 'p50', header: 'p50', unit: 'µs', decimals: 0, medianOnly: true },
    { key: 'p90', header: 'p90', unit: 'µs', decimals: 0, medianOnly: true },
    { key: 'p99', header: 'p99', unit: 'µs', decimals: 0, medianOnly: true },
    { key: 'p999', header: 'p99.9', unit: 'µs', decimals: 0, medianOnly: true },
    { key: 'cpu', header: 'CPU per request', unit: 'µs', decimals: 1 },
    { key: 'late', header: 'sent late, p99', unit: 'µs', decimals: 0, medianOnly: true },
    { key: 'unfinished', header: 'unfinished', unit: '', decimals: 0, medianOnly: true },
  ],
  goals: [
    { column: 'p50Added', against: 'haproxy', atMost: 1.2 },
    { column: 'p99Added', against: 'haproxy', atMost: 1.5 },
  ],
  freshPeers: false,
  without: [],
  maxConnections: MAX_CONNECTIONS,
  cases: ({ connections }) => [{ name: '1 KiB', payloadBytes: 1024, connections }],
  async prepare(lab, settings) {
    if (settings.ratePerS !== undefined) return settings;
    return { ...settings, ratePerS: Math.round((await haproxySaturation(lab, settings)) * SHARE_OF_HAPROXY) };
  },
  async measure(turn: Turn): Promise<Figures> {
    const { ratePerS } = turn.settings;
    if (ratePerS === undefined) throw new Error('s2 was not prepared');
    const { outcome, figures } = await openLoopTraffic(turn, turn.peer, { ratePerS, warmUpMs: WARM_UP_MS });
    const { p50, p90, p99, p999 } = outcome.latencyUs;
    return { ...figures, p50, p90, p99, p999, late: outcome.lateUs.p99, unfinished: outcome.unfinished };
  },
  doubt(median) {
    const late = median('direct', 'late');
    if (late === undefined) return 'without direct, nothing shows what the generator itself added';
    return late > LATE_US
      ? `the generator itself was ${Math.round(late)} µs late (p99): is the machine busy?`
      : undefined;
  },
  relate(round) {
    const direct = round.get('direct');
    if (!direct) return new Map();
    const others = [...round].filter(([name]) => name !== 'direct');
    return new Map(others.map(([name, figures]) => [name, addedTo(direct, figures)]));
  },
};
