import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Figures, Scenario } from './scenario.ts';

const script = join(import.meta.dirname, '../micro/threads.ts');
const TIMEOUT_MS = 120_000;

/** What a data-plane thread costs that has to know everything: no traffic, one process that is both sides. */
export const snapshot: Scenario = {
  name: 's8',
  title: 'A full snapshot of 10,000 services with 100,000 instances on a data-plane thread, then changes',
  columns: [
    { key: 'applying', header: 'applied in', unit: 'ms of CPU', decimals: 0 },
    { key: 'longest', header: 'longest update', unit: 'ms', decimals: 1 },
    { key: 'replicaMb', header: 'memory of the thread', unit: 'MB', decimals: 0 },
    { key: 'fleetMb', header: 'of the control side', unit: 'MB', decimals: 0 },
    { key: 'changeUs', header: 'one change, both sides', unit: 'µs of CPU', decimals: 1 },
  ],
  goals: [
    { column: 'applying', atMost: 150 },
    { column: 'longest', atMost: 10 },
    { column: 'replicaMb', atMost: 30 },
    { column: 'fleetMb', atMost: 100 },
    // A thousand a second are then a twentieth of a core.
    { column: 'changeUs', atMost: 50 },
  ],
  freshPeers: false,
  without: ['direct', 'haproxy', 'nginx', 'caddy', 'node-undici'],
  maxConnections: 64,
  cases: () => [{ name: '100,000 instances', payloadBytes: 0, connections: 0 }],
  async measure(): Promise<Figures> {
    const args = ['--expose-gc', script, '--json'];
    const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: TIMEOUT_MS });
    return JSON.parse(stdout) as Figures;
  },
};
