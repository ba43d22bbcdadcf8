/** The thread of `threads.ts`: a replica, and what applying updates to it has cost so far. */
import { getHeapStatistics } from 'node:v8';
import { parentPort, workerData } from 'node:worker_threads';
import { BreakerGate } from '../../src/breaker/gate.ts';
import { systemClock } from '../../src/core/clock.ts';
import { systemRandom } from '../../src/core/random.ts';
import { HostTable } from '../../src/routing/hosts.ts';
import { Figures, OwnFigures, type SharedFigures } from '../../src/upstream/figures.ts';
import { Replica } from '../../src/worker/replica.ts';
import type { Update } from '../../src/worker/update.ts';

export interface Applied {
  readonly cpuMs: number;
  readonly longestMs: number;
  /** Since the beginning. */
  readonly heapMb: number;
}

const shared = workerData as SharedFigures;
const figures = new Figures(shared, new OwnFigures(shared.capacity));
const silent = { failed: () => undefined, trialTaken: () => undefined, trialEnded: () => undefined };
const replica = new Replica({
  figures,
  gate: new BreakerGate(figures.breakers, systemClock, 1, silent),
  random: systemRandom,
  hosts: new HostTable([], 'localhost'),
  onFreed: () => undefined,
  onDropped: () => undefined,
});

const cpuMs = (): number => {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
};
const heapMb = (): number => {
  const { used_heap_size: heap, external_memory: external } = getHeapStatistics();
  return (heap + external) / 2 ** 20;
};

let longestMs = 0;
// From here on, so that reading the messages counts too.
const cpuBefore = cpuMs();
const heapBefore = heapMb();
parentPort?.on('message', (update: Update) => {
  const startMs = performance.now();
  replica.apply(update);
  longestMs = Math.max(longestMs, performance.now() - startMs);
  parentPort?.postMessage({ cpuMs: cpuMs() - cpuBefore, longestMs, heapMb: heapMb() - heapBefore } satisfies Applied);
});
