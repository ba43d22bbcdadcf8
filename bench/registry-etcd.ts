// node bench/registry-etcd.ts [SERVICES] [INSTANCES]: how long the first table of a large etcd takes, what it weighs,
// and how soon a change arrives then. Starts and ends an etcd of its own on loopback; reads it from a process of its own.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { systemClock } from '../src/core/clock.ts';
import type { Instance } from '../src/core/instance.ts';
import { EtcdBackend } from '../src/registry/etcd/etcd-backend.ts';
import { etcdBinary, EtcdServer } from '../test/servers/etcd.ts';

const PREFIX = '/services/';
const ROUNDS = 5;
const CHANGES = 300;

function pairs(services: number, instances: number): [string, string][] {
  return Array.from({ length: services * instances }, (_, at) => {
    const host = `10.${at >> 16}.${(at >> 8) & 255}.${at & 255}`;
    const extras = { weight: 1 + (at % 3), zone: `zone-${at % 3}`, version: '1.4.2', metadata: { team: 'pay' } };
    const key = `${PREFIX}service-${Math.floor(at / instances)}/i${at % instances}`;
    return [key, JSON.stringify({ host, port: 8080, ...extras })];
  });
}

interface Memory {
  readonly heap: number;
  readonly rss: number;
}

function memoryMb(): Memory {
  for (let turn = 0; turn < 3; turn += 1) globalThis.gc?.();
  const { heapUsed, external, rss } = process.memoryUsage();
  return { heap: (heapUsed + external) / 1e6, rss: rss / 1e6 };
}

/** The reading process. */
async function read(url: string): Promise<void> {
  const backend = new EtcdBackend({
    name: 'bench',
    endpoints: [url],
    prefix: PREFIX,
    clock: systemClock,
    onSkip: console.error,
  });
  await backend.list({ kind: 'services', names: new Set(['service-0']) }, AbortSignal.timeout(10_000));
  const idle = memoryMb();
  for (let round = 1; round <= ROUNDS; round += 1) console.log(`round ${round}: ${await readOnce(backend, idle)}`);
}

async function readOnce(backend: EtcdBackend, idle: Memory): Promise<string> {
  const table = new Map<string, readonly Instance[]>();
  let longestMs = 0;
  let tickMs = performance.now();
  const ticker = setInterval(() => {
    longestMs = Math.max(longestMs, performance.now() - tickMs - 1);
    tickMs = performance.now();
  }, 1);
  const cpu = process.cpuUsage();
  const startMs = performance.now();
  let done = '';
  for await (const event of backend.watch({ kind: 'all' }, new AbortController().signal)) {
    if (event.kind === 'reset') table.set(event.service, event.instances);
    if (event.kind !== 'synced') continue;
    const tookMs = performance.now() - startMs;
    const { user, system } = process.cpuUsage(cpu);
    clearInterval(ticker);
    // While the watch still holds what it needs to go on.
    const full = memoryMb();
    const count = [...table.values()].reduce((sum, each) => sum + each.length, 0);
    done =
      `${table.size} services with ${count} instances in ${tookMs.toFixed(0)} ms (${((user + system) / 1000).toFixed(0)} ms CPU), ` +
      `longest block ${longestMs.toFixed(1)} ms, heap +${(full.heap - idle.heap).toFixed(1)} MB, rss +${(full.rss - idle.rss).toFixed(0)} MB`;
    break;
  }
  return done;
}

/** One change at a time, in the middle of a table of that size. */
async function propagation(etcd: EtcdServer): Promise<string> {
  const backend = new EtcdBackend({
    name: 'bench',
    endpoints: [etcd.url],
    prefix: PREFIX,
    clock: systemClock,
    onSkip: console.error,
  });
  const times: number[] = [];
  let sentMs = 0;
  let arrived = Promise.withResolvers<undefined>();
  const controller = new AbortController();
  const reading = (async () => {
    for await (const event of backend.watch({ kind: 'all' }, controller.signal)) {
      if (event.kind === 'upsert') times.push(performance.now() - sentMs);
      if (event.kind !== 'reset') arrived.resolve(undefined);
    }
  })();
  await arrived.promise;
  for (let at = 0; at < CHANGES; at += 1) {
    arrived = Promise.withResolvers();
    sentMs = performance.now();
    await etcd.put(`${PREFIX}service-1/new-${at}`, '10.0.0.1:80');
    await arrived.promise;
  }
  controller.abort();
  await reading;
  times.sort((a, b) => a - b);
  const at = (share: number): string => (times[Math.ceil(share * times.length) - 1] ?? 0).toFixed(1);
  return `${times.length} changes, put sent to event: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, max ${at(1)} ms`;
}

async function main(services: number, instances: number): Promise<void> {
  if (etcdBinary === undefined) throw new Error('no etcd on this machine: install etcd-server');
  await using etcd = await EtcdServer.start();
  await etcd.fill(pairs(services, instances));
  const reader = spawn(process.execPath, ['--expose-gc', import.meta.filename, '--read', etcd.url], {
    stdio: 'inherit',
  });
  await once(reader, 'exit');
  console.log(await propagation(etcd));
}

const [first = '10000', second = '10'] = process.argv.slice(2);
await (first === '--read' ? read(second) : main(Number(first), Number(second)));
