import { afterEach, describe, expect, it, vi } from 'vitest';
import { clientConnections, metric, openFilesLimit, quantile, residentBytes } from './gauges.ts';
import { RawClient } from './raw-client.ts';
import { eventually, GatewayProcess, Instance, pause, Process } from './world.ts';

const LONG = process.env['FAIRLEAD_LONG'] === '1';
const WANTED = LONG || process.env['CI'] === 'true' ? 10_000 : 2000;
/** Clients may have five eighths of the descriptors of the gateway. */
const IDLE = Math.min(WANTED, Math.floor(openFilesLimit('self') / 2));
const ROUNDS = LONG ? 7 : 1;
/** The rush of connections that come and go is not what is measured. */
const SETTLE_MS = 1000;
const ROUND_MS = LONG ? 4000 : 1500;

vi.setConfig({ testTimeout: LONG ? 400_000 : 60_000 });

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

const GET = 'GET / HTTP/1.1\r\nHost: web.localhost\r\n\r\n';

/** Milliseconds of each request of a few clients that ask at a steady pace. */
async function latencies(gateway: GatewayProcess, forMs: number): Promise<number[]> {
  const found: number[] = [];
  const endsMs = performance.now() + forMs;
  const one = async (): Promise<void> => {
    const client = new RawClient(gateway.port);
    while (performance.now() < endsMs) {
      const began = performance.now();
      const outcome = await client.ask(GET);
      if (outcome === 'broken' || outcome.status !== 200) throw new Error(`not served: ${JSON.stringify(outcome)}`);
      found.push(performance.now() - began);
      await pause(4);
    }
    client.close();
  };
  await Promise.all(Array.from({ length: 8 }, one));
  return found;
}

async function rest(gateway: GatewayProcess): Promise<Process> {
  const idlers = new Process(['test/servers/idle-clients.ts', String(gateway.port), String(IDLE)]);
  stops.push(() => idlers.kill());
  await eventually(
    `${IDLE} connections rest`,
    () => {
      if (idlers.child.exitCode !== null) throw new Error(idlers.output);
      return idlers.output.includes(`idle ${IDLE}`);
    },
    30_000,
  );
  return idlers;
}

const median = (values: readonly number[]): number => quantile(values, 0.5);

describe(`${IDLE} idle connections${IDLE < WANTED ? ` (${WANTED} wanted: open files are limited)` : ''}`, () => {
  it('take at most 20 KiB each, and others are served beside them as without them', async () => {
    const gateway = await GatewayProcess.start();
    stops.push(() => gateway.stop());
    const instance = await Instance.start({ name: 'one' });
    stops.push(() => instance.kill());
    await gateway.register({ serviceName: 'web', host: '127.0.0.1', port: instance.port });
    await gateway.serving('web', 1);
    const kib: number[] = [];
    const without: number[] = [];
    const beside: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      // The first time nothing but these connections has asked for memory yet.
      const before = residentBytes(gateway.process.pid);
      const idlers = await rest(gateway);
      await eventually('the gateway counts them', async () => (await clientConnections(gateway)) >= IDLE);
      kib.push((residentBytes(gateway.process.pid) - before) / 1024 / IDLE);
      await latencies(gateway, SETTLE_MS);
      beside.push(quantile(await latencies(gateway, ROUND_MS), 0.99));
      await idlers.kill();
      await eventually('they are gone', async () => (await clientConnections(gateway)) === 0);
      await latencies(gateway, SETTLE_MS);
      without.push(quantile(await latencies(gateway, ROUND_MS), 0.99));
    }
    const ratios = beside.map((ms, round) => ms / without[round]!);
    console.log(
      `${IDLE} idle connections: ${kib.map((each) => each.toFixed(1)).join(', ')} KiB each; p99 of the others, ` +
        `${ROUNDS} rounds: without ${median(without).toFixed(2)} ms, beside ${median(beside).toFixed(2)} ms, ` +
        `ratios ${ratios.map((each) => each.toFixed(2)).join(' ')}, median ${median(ratios).toFixed(2)}`,
    );
    expect(kib[0]).toBeLessThan(20);
    // Loose, because others use this machine; the long version says how much it really is.
    expect(median(beside)).toBeLessThan(3 * median(without) + 50);
    expect(await metric(gateway, 'fairlead_connections_refused_total')).toBe(0);
  });
});
