/**
 * What a data-plane thread needs to know 10,000 services with 100,000 instances: CPU time and the longest single update
 * of a full snapshot, memory of the replica, and the cost of one change: `node --expose-gc bench/micro/threads.ts`.
 * Goals: ≤ 150 ms of CPU, no block above 10 ms, ≤ 30 MB.
 */
import { BreakerGate } from '../../src/breaker/gate.ts';
import { systemClock } from '../../src/core/clock.ts';
import { instance } from '../../src/core/instance.ts';
import { systemRandom } from '../../src/core/random.ts';
import { HostTable } from '../../src/routing/hosts.ts';
import { Figures } from '../../src/upstream/figures.ts';
import { Fleet } from '../../src/upstream/fleet.ts';
import { Feed } from '../../src/worker/feed.ts';
import { Replica } from '../../src/worker/replica.ts';
import type { Update } from '../../src/worker/update.ts';
import { deserialize, serialize } from 'node:v8';
import { load } from '../../test/config/load-text.ts';

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
console.log(`control side: ${(heapMb() - heapBefore).toFixed(0)} MB for the fleet`);

let rows = 2;
const sent: Update[] = [];
const feed = new Feed({ fleet, rowOf: () => rows++, send: (update) => sent.push(update) });
const replica = new Replica({
  figures,
  gate: new BreakerGate(figures.breakers, systemClock, 1, fleet.breakerReports),
  random: systemRandom,
  hosts: new HostTable([], 'localhost'),
  onFreed: () => undefined,
  onDropped: () => undefined,
});
const heapOfControl = heapMb();
let making = 0;
let applying = 0;
let longest = 0;
let updates = 0;
let began = cpuMs();
await Promise.resolve();
making += cpuMs() - began;
for (let update = sent.shift(); update; update = sent.shift()) {
  // What postMessage does between threads.
  const message = serialize(update);
  began = cpuMs();
  const startMs = performance.now();
  const arrived = deserialize(message) as Update;
  replica.apply(arrived);
  longest = Math.max(longest, performance.now() - startMs);
  applying += cpuMs() - began;
  updates++;
  began = cpuMs();
  feed.acknowledged(arrived.through);
  making += cpuMs() - began;
}
console.log(
  `full snapshot: ${updates} updates, made in ${making.toFixed(0)} ms of CPU, applied in ${applying.toFixed(0)} ms of CPU`,
);
console.log(`longest update: ${longest.toFixed(1)} ms`);
console.log(`replica: ${(heapMb() - heapOfControl).toFixed(0)} MB`);

const members = [...(fleet.service('service-77')?.members.values() ?? [])];
const CHANGES = 20_000;
began = cpuMs();
for (let change = 0; change < CHANGES; change++) {
  const member = members[change % members.length];
  if (member) fleet.setProbe(member, change % (2 * members.length) < members.length ? 'failing' : 'passing', 'bench');
  fleet.flush();
  await Promise.resolve();
  for (let update = sent.shift(); update; update = sent.shift()) {
    const arrived = deserialize(serialize(update)) as Update;
    replica.apply(arrived);
    feed.acknowledged(arrived.through);
  }
}
console.log(`one change, both sides: ${(((cpuMs() - began) * 1000) / CHANGES).toFixed(1)} µs of CPU`);
fleet.close();
process.exit();
