import { setTimeout as pause } from 'node:timers/promises';
import { residentBytes } from '../lab/proc.ts';
import type { Figures, Scenario, Turn } from './scenario.ts';
import { get1k, openLoopTraffic } from './traffic.ts';

const IDLE_CONNECTIONS = 10_000;
const OPENING_AT_ONCE = 64;
const OPEN_TIMEOUT_MS = 60_000;
/** Of the traffic whose p99 is watched; low enough for every peer, so that the idle ones are all that changes. */
const RATE_PER_S = 2000;
/** Each turn has a fresh process, which first has to get warm. */
const WARM_UP_MS = 2000;
const SETTLE_MS = 1000;

export const idleConnections: Scenario = {
  name: 'idle',
  title: '10,000 idle keep-alive connections',
  columns: [
    { key: 'memory', header: 'memory each', unit: 'KiB', decimals: 1 },
    { key: 'before', header: 'p99 without them', unit: 'µs', decimals: 0 },
    { key: 'during', header: 'p99 with them', unit: 'µs', decimals: 0 },
    { key: 'change', header: 'p99 change', unit: '%', decimals: 0 },
  ],
  goals: [
    { column: 'memory', atMost: 16 },
    { column: 'change', atMost: 10 },
  ],
  freshPeers: true,
  without: ['direct'],
  maxConnections: IDLE_CONNECTIONS + 1024,
  cases: () => [{ name: 'each after one GET of 1 KiB', payloadBytes: 1024, connections: IDLE_CONNECTIONS }],
  async measure(turn: Turn): Promise<Figures> {
    const { lab, peer } = turn;
    const traffic = { ratePerS: RATE_PER_S, warmUpMs: WARM_UP_MS };
    const before = await openLoopTraffic(turn, peer, traffic);
    const bytesBefore = residentBytes(peer.processes());

    const idle = { request: get1k(peer.port), connections: IDLE_CONNECTIONS, opening: OPENING_AT_ONCE };
    const held = await lab.generators.hold(idle, OPEN_TIMEOUT_MS);
    await pause(SETTLE_MS);
    const bytes = residentBytes(peer.processes()) - bytesBefore;
    const during = await openLoopTraffic(turn, peer, traffic);
    const stillOpen = await held.close();
    if (stillOpen !== IDLE_CONNECTIONS) {
      throw new Error(
        `${peer.name} closed ${IDLE_CONNECTIONS - stillOpen} idle connections; keep --duration below its keep-alive timeout`,
      );
    }
    const [p99Before, p99During] = [before.outcome.latencyUs.p99, during.outcome.latencyUs.p99];
    return {
      memory: bytes / 1024 / IDLE_CONNECTIONS,
      before: p99Before,
      during: p99During,
      change: (p99During / p99Before - 1) * 100,
    };
  },
};
