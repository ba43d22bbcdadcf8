import { afterEach, describe, expect, it, vi } from 'vitest';
import { type Random, seededRandom } from '../../src/core/random.ts';
import { atRest, openFiles, residentBytes } from './gauges.ts';
import { pick, Tally } from './mixture.ts';
import { RawClient } from './raw-client.ts';
import { eventually, GatewayProcess, Process } from './world.ts';

const LONG = process.env['FAIRLEAD_LONG'] === '1';
const REQUESTS = LONG ? 1_000_000 : 20_000;
const CLIENTS = 48;
const PARTS = 4;

vi.setConfig({ testTimeout: LONG ? 600_000 : 60_000 });

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

/** Several clients, each with a sequence of its own, until `count` requests have been made. */
async function mix(
  gateway: GatewayProcess,
  count: number,
  { tally, seed }: { tally: Tally; seed: number },
): Promise<void> {
  let number = 0;
  const one = async (random: Random): Promise<void> => {
    let client = new RawClient(gateway.port);
    while (number < count) {
      if (!client.usable || random() < 0.01) {
        client.close();
        client = new RawClient(gateway.port);
      }
      await pick(random)(client, ++number, tally, random);
    }
    client.close();
  };
  await Promise.all(Array.from({ length: CLIENTS }, (_, at) => one(seededRandom(seed + at))));
}

describe(`${REQUESTS} mixed requests, of which some are broken off by clients and some by instances`, () => {
  it('each get their own answer, and leave nothing behind', async () => {
    const gateway = await GatewayProcess.start({ extra: 'defaults: { breaker: { enabled: false } }' });
    stops.push(() => gateway.stop());
    const origin = new Process(['test/servers/mixed-origin.ts']);
    stops.push(() => origin.kill());
    const ports = await eventually(
      'the instances listen',
      () => /listening (\d+) (\d+)/.exec(origin.output) ?? undefined,
    );
    for (const port of [ports[1], ports[2]])
      await gateway.register({ serviceName: 'web', host: '127.0.0.1', port: Number(port) });
    await gateway.serving('web', 2);
    // Opens what stays open: log files, sockets of the admin listener.
    await mix(gateway, LONG ? 200_000 : 2000, { tally: new Tally(), seed: 0 });
    await atRest(gateway, 'web');
    const { pid } = gateway.process;
    const before = { files: openFiles(pid), resident: residentBytes(pid) };

    const began = performance.now();
    const tally = new Tally();
    const residentMiB = [before.resident / 1_048_576];
    for (let part = 1; part <= PARTS; part++) {
      await mix(gateway, REQUESTS / PARTS, { tally, seed: part * 1000 });
      residentMiB.push(residentBytes(pid) / 1_048_576);
    }
    const seconds = (performance.now() - began) / 1000;
    await atRest(gateway, 'web');
    const after = { files: openFiles(pid) };
    const grownMiB = residentMiB[PARTS]! - residentMiB[0]!;
    console.log(
      `${REQUESTS} requests in ${seconds.toFixed(1)} s; open files ${before.files} → ${after.files}; resident MiB ` +
        `${residentMiB.map((each) => each.toFixed(0)).join(' → ')}; ${JSON.stringify(Object.fromEntries([...tally.counts].sort()))}`,
    );
    expect(tally.wrong).toEqual([]);
    expect(after.files).toBeLessThanOrEqual(before.files + 5);
    // Heaps and malloc's arenas settle after some hundred thousand requests: a leak goes on growing in the last quarter.
    expect(grownMiB).toBeLessThan(128);
    if (LONG) expect(residentMiB[PARTS]! - residentMiB[PARTS - 1]!).toBeLessThan(24);
    expect(gateway.process.child.exitCode).toBeNull();
  });
});
