/**
 * What one registry change costs between the backend and the fleet: `node --expose-gc bench/micro/merge.ts`.
 * Goal: at most 50 µs a change whatever the size; 100,000 instances at once within 150 ms of CPU, no turn above 10 ms.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { systemClock } from '../../src/core/clock.ts';
import { type Instance, instance } from '../../src/core/instance.ts';
import { seededRandom } from '../../src/core/random.ts';
import type { RegistryBackend, RegistryEvent } from '../../src/registry/backend.ts';
import { GUARD_DEFAULTS, RegistryGuard } from '../../src/registry/guard.ts';
import { type MergeSink, RegistryMerge } from '../../src/registry/merge.ts';
import { RegistrySource } from '../../src/registry/source.ts';
import { SourceTable, type TableEvent } from '../../src/registry/table.ts';
import { collect, measure } from './measure.ts';

const SHAPES = [
  { services: 1, each: 10 },
  { services: 1, each: 1000 },
  { services: 1, each: 100_000 },
  { services: 10_000, each: 10 },
] as const;

/** The fleet's own work is measured in bench/micro/view.ts. */
const sink: MergeSink = { upsert: () => undefined, remove: () => undefined };

function member(service: number, number: number, weight = 1): Instance {
  const host = `10.${(number >> 14) & 255}.${(number >> 7) & 127}.${number & 127}`;
  return instance({ service: `service-${service}`, id: `i${number}`, host, port: 1024 + (service % 60_000), weight });
}

function reset(service: number, count: number): RegistryEvent & { kind: 'reset' } {
  const instances = Array.from({ length: count }, (_, number) => member(service, number));
  return { kind: 'reset', service: `service-${service}`, instances };
}

/** Table, guard and merge as a source joins them, without its event loop. */
function chain(registries: number): (registry: number, event: TableEvent) => void {
  const merge = new RegistryMerge(sink, systemClock);
  const parts = Array.from({ length: registries }, (_, at) => {
    const table: SourceTable = new SourceTable(
      merge.source(`r${at}`),
      { instances: 1e6, services: 1e6 },
      () => undefined,
      (slot) => guard.returned(slot),
    );
    const host = {
      confirm: (services: ReadonlySet<string>) => Promise.resolve(services),
      inContact: () => true,
      passes: () => true,
      changed: () => undefined,
    };
    const guard: RegistryGuard = new RegistryGuard(table, host, systemClock, GUARD_DEFAULTS);
    return { table, guard };
  });
  return (registry, event) => {
    const { table, guard } = parts[registry]!;
    const departure = table.apply(event, systemClock.now());
    if (departure) guard.judge(departure);
    table.show(() => false);
  };
}

async function changes(services: number, each: number, registries: number): Promise<void> {
  const apply = chain(registries);
  for (let registry = 0; registry < registries; registry += 1) {
    for (let service = 0; service < services; service += 1) apply(registry, reset(service, each));
  }
  const random = seededRandom(1);
  const any = (below: number): number => Math.floor(random() * below);
  const size = `${services} × ${each}, ${registries} ${registries === 1 ? 'registry' : 'registries'}`;
  let weight = 1;
  await measure(`${size}: changed instance`, () => {
    weight += 1;
    apply(any(registries), { kind: 'upsert', instance: member(any(services), any(each), weight) });
  });
  await measure(`${size}: gone and back`, () => {
    const service = any(services);
    const number = any(each);
    const registry = any(registries);
    apply(registry, { kind: 'remove', service: `service-${service}`, id: `i${number}` });
    apply(registry, { kind: 'upsert', instance: member(service, number, weight) });
  });
}

/** A full first read through a whole source: CPU, longest turn, and what stays in memory. */
async function firstRead(services: number, each: number): Promise<void> {
  const events = Array.from({ length: services }, (_, service) => reset(service, each));
  const backend: RegistryBackend = {
    type: 'bench',
    async *watch(_interest, signal) {
      yield* events;
      yield { kind: 'synced', revision: '1' };
      await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    },
    list: () => Promise.resolve(new Map()),
    info: () => ({ endpoint: undefined, leader: undefined, revision: undefined }),
  };
  const costs: { cpuMs: number; turnMs: number; bytes: number }[] = [];
  for (let round = 0; round < 7; round += 1) {
    const merge = new RegistryMerge(sink, systemClock);
    const source = new RegistrySource({
      name: 'bench',
      backend: () => backend,
      merge,
      clock: systemClock,
      random: seededRandom(1),
    });
    await new Promise((resolve) => setTimeout(resolve, 50));
    collect();
    const heapBefore = process.memoryUsage().heapUsed;
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    const before = process.cpuUsage();
    source.start();
    await source.ready;
    const { user, system } = process.cpuUsage(before);
    await new Promise((resolve) => setTimeout(resolve, 5));
    delay.disable();
    collect();
    const bytes = (process.memoryUsage().heapUsed - heapBefore) / (services * each);
    costs.push({ cpuMs: (user + system) / 1000, turnMs: delay.max / 1e6, bytes });
    await source.stop();
    source.withdraw();
  }
  const middle = (key: keyof (typeof costs)[number]): string => {
    const values = costs.map((cost) => cost[key]).sort((one, other) => one - other);
    return `${values[3]?.toFixed(1)} (${values[0]?.toFixed(1)} to ${values[6]?.toFixed(1)})`;
  };
  console.log(
    `first read of ${services} × ${each}: ${middle('cpuMs')} ms CPU, longest turn ${middle('turnMs')} ms, ` +
      `${middle('bytes')} B an instance beside the instances themselves`,
  );
}

console.log('nanoseconds per change: median (best to worst of 9 rounds), garbage');
for (const { services, each } of SHAPES) await changes(services, each, 1);
await changes(10_000, 10, 2);
await firstRead(10_000, 10);
await firstRead(1, 100_000);
