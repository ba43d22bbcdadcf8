/**
 * What a data-plane thread needs to know 10,000 services with 100,000 instances: CPU time and the longest single update
 * of a full snapshot, memory of the replica, and the cost of one change: `node --expose-gc bench/micro/threads.ts`.
 * Goals: ≤ 150 ms of CPU, no block above 10 ms, ≤ 30 MB. With `--json` for `npm run bench -- s8`.
 */
import { systemClock } from '../../src/core/clock.ts';
import { instance } from '../../src/core/instance.ts';
import { systemRandom } from '../../src/core/random.ts';
import { Figures } from '../../src/upstream/figures.ts';
import { Fleet } from '../../src/upstream/fleet.ts';
import { Feed } from '../../src/worker/feed.ts';
import type { Update } from '../../src/worker/update.ts';
import { Worker } from 'node:worker_threads';
import { load } from '../../test/config/load-text.ts';
import type { Applied } from './threads-replica.ts';

const SERVICES = 10_000;
const INSTANCES = 10;

const collect = (globalThis as { gc?: () => void }).gc ?? ((): void => undefined);
const heapMb = (): number => {
  collect();
  collect();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return (heapUsed + arrayBuffers) / 2 ** 20;
};
const cpuMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

const figures = new Figures(131_072);
const fleet = new Fleet({
  clock: systemClock,
  random: systemRandom,
  figures,
  defaultPolicy: load('').defaultPolicy,
});
const heapBefore = heapMb();
for (let service = 0; service < SERVICES; service++) {
  for (let id = 0; id < INSTANCES; id++) {
    const host = `10.${service >> 8}.${service & 255}.${id}`;
    const member = fleet.upsert(
      instance({ id: `i-${service}-${id}`, service: `service-${service}`, host, port: 8080 }),
    );
    if (member) fleet.setProbe(member, 'passing', 'bench');
  }
}
fleet.flush();
const fleetMb = heapMb() - heapBefore;

let rows = 2;
const sent: Update[] = [];
const feed = new Feed({ fleet, rowOf: () => rows++, send: (update) => sent.push(update) });

// The thread is a real one: its collector, its memory and its turns are its own.
const worker = new Worker(new URL('./threads-replica.ts', import.meta.url), { workerData: figures.shared });
let answered: (message: Applied) => void = () => undefined;
worker.on('message', (message: Applied) => {
  answered(message);
});
const apply = (update: Update): Promise<Applied> =>
  new Promise((resolve) => {
    answered = resolve;
    worker.postMessage(update);
  });

let making = 0;
let last: Applied | undefined;
let updates = 0;
let began = cpuMs();
await Promise.resolve();
making += cpuMs() - began;
for (let update = sent.shift(); update; update = sent.shift()) {
  last = await apply(update);
  updates++;
  began = cpuMs();
  feed.acknowledged(update.through);
  making += cpuMs() - began;
}
const { cpuMs: applying = 0, longestMs: longest = 0, heapMb: replicaMb = 0 } = last ?? {};

const members = [...(fleet.service('service-77')?.members.values() ?? [])];
const CHANGES = 20_000;
began = cpuMs();
for (let change = 0; change < CHANGES; change++) {
  const member = members[change % members.length];
  if (member) fleet.setProbe(member, change % (2 * members.length) < members.length ? 'failing' : 'passing', 'bench');
  fleet.flush();
  await Promise.resolve();
  for (let update = sent.shift(); update; update = sent.shift()) {
    await apply(update);
    feed.acknowledged(update.through);
  }
}
const changeUs = ((cpuMs() - began) * 1000) / CHANGES;
const measured = { fleetMb, making, applying, longest, replicaMb, changeUs };
if (process.argv.includes('--json')) console.log(JSON.stringify(measured));
else {
  console.log(`control side: ${fleetMb.toFixed(0)} MB for the fleet`);
  console.log(
    `full snapshot: ${updates} updates, made in ${making.toFixed(0)} ms of CPU, applied in ${applying.toFixed(0)}`,
  );
  console.log(`longest update: ${longest.toFixed(1)} ms`);
  console.log(`replica: ${replicaMb.toFixed(0)} MB`);
  console.log(`one change, both sides: ${changeUs.toFixed(1)} µs of CPU`);
}
fleet.close();
process.exit();
