import { payloadBytes } from '../lab/origin.ts';
import type { LoadRequest } from '../load/request.ts';
import { BENCH_HOST } from '../peers/peer.ts';
import { withCost } from './cost.ts';
import type { Column, Figures, Goal, Scenario, Settings, Turn } from './scenario.ts';

type Template = Omit<LoadRequest, 'port' | 'host'> & { readonly caseName: string };

const WARM_UP_MS = 1000;

const columns: readonly [Column, ...Column[]] = [
  { key: 'cpu', header: 'CPU per request', unit: 'µs', decimals: 1 },
  { key: 'throughput', header: 'throughput', unit: 'req/s', decimals: 0 },
  { key: 'busy', header: 'proxy busy', unit: '% of a core', decimals: 0 },
];

function get(path: string, caseName: string): Template {
  return { method: 'GET', path, bodyBytes: 0, close: false, caseName };
}

/** As much as each peer can do: the same requests over the same number of connections, cost divided by replies. */
function closedLoop(name: string, title: string, templates: readonly Template[], goals: readonly Goal[]): Scenario {
  return {
    name,
    title,
    columns,
    goals,
    freshPeers: false,
    without: [],
    maxConnections: 1024,
    cases: ({ connections }: Settings) =>
      templates.map(({ caseName, bodyBytes, path }) => ({
        name: caseName,
        payloadBytes: bodyBytes > 0 ? bodyBytes : (payloadBytes[path] ?? 0),
        connections,
      })),
    async measure({ lab, peer, caseIndex, settings }: Turn): Promise<Figures> {
      const template = templates[caseIndex];
      if (!template) throw new Error(`${name} has no case ${caseIndex}`);
      const request: LoadRequest = { ...template, port: peer.port, host: BENCH_HOST };
      const { connections, durationMs } = settings;
      await lab.generators.closedLoop({ request, connections, durationMs: WARM_UP_MS });
      const load = () => lab.generators.closedLoop({ request, connections, durationMs });
      const { outcome, figures } = await withCost(peer, load);
      return { ...figures, throughput: (outcome.replies * 1000) / outcome.durationMs };
    },
  };
}

export const keepAlive = closedLoop(
  's1',
  'Keep-alive GET, 1 KiB',
  [get('/1k', '1 KiB')],
  [
    { column: 'cpu', against: 'haproxy', atMost: 1 },
    { column: 'cpu', against: 'node-undici', atMost: 0.35 },
    { column: 'cpu', against: 'caddy', atMost: 0.3 },
  ],
);

/** The whole machine for the proxy, load and origin included: what threads cost each other shows as CPU per request. */
export const twoThreads: Scenario = {
  ...closedLoop(
    's1t',
    'Keep-alive GET, 1 KiB, two threads',
    [get('/1k', '1 KiB')],
    [{ column: 'cpu', against: 'haproxy', atMost: 1.1 }],
  ),
  threads: 2,
  without: ['caddy', 'node-undici'],
};

export const largeBodies = closedLoop(
  's1b',
  'Keep-alive GET, large bodies',
  [get('/64k', '64 KiB'), get('/1m', '1 MiB')],
  [{ column: 'cpu', against: 'haproxy', atMost: 1.5 }],
);

export const connectionPerRequest = closedLoop(
  'conn',
  'A connection for every request, GET 1 KiB',
  [{ ...get('/1k', '1 KiB'), close: true }],
  [],
);

export const post = closedLoop(
  'post',
  'Keep-alive POST, 16 KiB',
  [{ method: 'POST', path: '/post', bodyBytes: 16_384, close: false, caseName: '16 KiB' }],
  [],
);
