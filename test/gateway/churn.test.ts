import net, { type AddressInfo } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { AddressPolicy } from '../../src/core/address.ts';
import { systemClock } from '../../src/core/clock.ts';
import { instance } from '../../src/core/instance.ts';
import { seededRandom } from '../../src/core/random.ts';
import { fleetSource } from '../../src/gateway/fleet-source.ts';
import { observeFleet } from '../../src/gateway/observing.ts';
import { Probing } from '../../src/gateway/probing.ts';
import { FleetRouter } from '../../src/gateway/router.ts';
import { EmbeddedBackend } from '../../src/registry/embedded/backend.ts';
import { EmbeddedRegistry } from '../../src/registry/embedded/registry.ts';
import { RegistryMerge } from '../../src/registry/merge.ts';
import { RegistrySource } from '../../src/registry/source.ts';
import { HostTable } from '../../src/routing/hosts.ts';
import { silentLogger } from '../../src/telemetry/log.ts';
import { Metrics } from '../../src/telemetry/metrics.ts';
import { Timeline } from '../../src/telemetry/timeline.ts';
import { Figures } from '../../src/upstream/figures.ts';
import { Fleet } from '../../src/upstream/fleet.ts';
import { load } from '../config/load-text.ts';

vi.setConfig({ testTimeout: 120_000 });

const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** All of the gateway that an instance passes through from its registration to its last trace, but for the HTTP API. */
async function control() {
  const [clock, random] = [systemClock, seededRandom(1)];
  const config = load('defaults: { health: { type: tcp, interval: 1s, timeout: 500ms } }');
  const fleet = new Fleet({ clock, random, figures: new Figures(4096), defaultPolicy: config.defaultPolicy });
  const metrics = new Metrics({
    clock,
    version: 'test',
    nodeVersion: 'test',
    instanceSeries: { enabled: true, limit: 4096 },
    serviceRows: 64,
    processMetrics: false,
  });
  metrics.connect({ fleet: fleetSource(fleet) });
  const timeline = new Timeline({ clock, total: 2000, latest: 1000 });
  const router = new FleetRouter({ fleet, metrics, hosts: new HostTable([], 'localhost') });
  const parts = { clock, random, fleet, metrics, router, log: silentLogger, timeline };
  observeFleet({ ...parts, reasonOf: () => undefined });
  const addresses = new AddressPolicy({ allowLoopback: true });
  const probing = new Probing({ ...parts, addresses, script: undefined });
  const owner = { pid: process.pid, isAlive: () => true };
  const registry = await EmbeddedRegistry.open({ dataDir: undefined, owner, clock, log: () => undefined });
  const merge = new RegistryMerge(
    {
      upsert: (each) => {
        fleet.upsert(each);
      },
      remove: (service, id) => {
        fleet.remove(service, id);
      },
    },
    clock,
  );
  const source = new RegistrySource({
    name: 'local',
    backend: () => new EmbeddedBackend(registry, undefined),
    merge,
    clock,
    random,
    guard: { enabled: false },
  });
  source.start();
  stops.push(async () => {
    await source.stop();
    probing.close();
    fleet.close();
    await registry.close();
  });
  await source.ready;
  return { fleet, metrics, probing, registry };
}

const SERVICES = 20;
const AT_ONCE = 50;
const WARM_UP_CYCLES = 3000;
/** CHURN_CYCLES=100000 for the whole of it. */
const CYCLES = Number(process.env.CHURN_CYCLES ?? 6000);
/** A quarter of a kilobyte left behind by each cycle would be more. */
const MAX_GROWTH_BYTES = 1_500_000;

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function until(holds: () => boolean): Promise<void> {
  const endMs = performance.now() + 20_000;
  while (!holds()) {
    if (performance.now() > endMs) throw new Error('what was waited for has not come');
    await turn();
  }
}

describe('instances that come and go', () => {
  it('leave neither memory nor metric series nor probes behind', async () => {
    const server = net.createServer((socket) => socket.on('error', () => undefined).resume());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    stops.push(() => new Promise((resolve) => server.close(resolve)));
    const { port } = server.address() as AddressInfo;
    const { fleet, metrics, registry } = await control();
    let number = 0;
    const churn = async (cycles: number): Promise<void> => {
      for (const end = number + cycles; number < end;) {
        const batch = Array.from({ length: AT_ONCE }, (_, at) => {
          const id = `i-${number++}`;
          // An address each: two ids of one address are one instance. On the first of them somebody listens.
          return { id, service: `s-${number % SERVICES}`, host: `127.0.0.${1 + at}` };
        });
        await Promise.all(
          batch.map(({ id, service, host }) =>
            registry.register({
              instance: instance({ id, service, host, port, metadata: new Map([['id', id]]) }),
              id,
              ttlMs: number % 2 === 0 ? 30_000 : undefined,
              idScope: 'service',
            }),
          ),
        );
        // Who is gone before the fleet has heard of it would prove nothing.
        await until(() => batch.every(({ id, service }) => fleet.find(service, id) !== undefined));
        await Promise.all(batch.map(({ id, service }) => registry.deregister(id, service)));
        await until(() => batch.every(({ id, service }) => fleet.find(service, id) === undefined));
      }
    };
    const settle = async (): Promise<{ heapBytes: number; series: number; scrape: string }> => {
      await until(() => fleet.members.every((member) => member === undefined));
      const scrape = Buffer.concat(await metrics.scrape()).toString();
      for (let round = 0; round < 4; round++) {
        collect();
        await turn();
      }
      return {
        heapBytes: process.memoryUsage().heapUsed,
        // Whether some probe was quick enough to be counted is a matter of luck here.
        series: scrape.split('\n').filter((line) => line !== '' && !/^(?:#|fairlead_probe)/.test(line)).length,
        scrape,
      };
    };
    await churn(WARM_UP_CYCLES);
    const before = await settle();
    await churn(CYCLES);
    const after = await settle();
    console.info(`${CYCLES} cycles: heap ${before.heapBytes} → ${after.heapBytes} bytes, ${after.series} series`);
    expect(fleet.members.every((member) => member === undefined)).toBe(true);
    expect(after.scrape).toContain(`fairlead_registrations_total{service="s-1"} ${number / SERVICES}\n`);
    expect(after.series).toBe(before.series);
    expect(after.scrape).not.toContain('instance="i-');
    expect(after.heapBytes - before.heapBytes).toBeLessThan(MAX_GROWTH_BYTES);
  });
});
