import { afterEach, describe, expect, it, vi } from 'vitest';
import { eventually, GatewayProcess, Instance, pause, request, Traffic } from './world.ts';

const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

vi.setConfig({ testTimeout: 90_000 });

/** Hangs are found after a second, on each of those that are stopped; a loaded machine needs its time as well. */
const SLOWEST_MS = 8000;
const TCP = 'defaults: { health: { type: tcp, interval: 5s, timeout: 2s } }';
const HTTP = 'defaults: { health: { type: http, path: /__state, interval: 1s, timeout: 500ms } }';

async function started(extra: string, count: number): Promise<{ gateway: GatewayProcess; instances: Instance[] }> {
  const gateway = await GatewayProcess.start({ extra });
  stops.push(() => gateway.stop());
  const instances = await Promise.all(
    Array.from({ length: count }, async (_, at) => {
      const instance = await Instance.start({ name: `i${at}` });
      stops.push(() => instance.kill());
      await gateway.register({ serviceName: 'web', host: '127.0.0.1', port: instance.port });
      return instance;
    }),
  );
  await gateway.serving('web', count);
  return { gateway, instances };
}

describe('while one instance still answers', () => {
  it.each<[number, number, string, number, string]>([
    [1, 1, 'three, with TCP probes', 3, TCP],
    [1, 1, 'three, with HTTP probes', 3, HTTP],
    [2, 1, 'four, with TCP probes', 4, TCP],
    [0, 2, 'three, with TCP probes', 3, TCP],
  ])('%i killed and %i stopped of %s fail no GET', async (killed, stopped, _what, count, extra) => {
    const { gateway, instances } = await started(extra, count);
    const traffic = new Traffic(gateway, { perSecond: 50, posts: false });
    await pause(2000);
    for (const [at, instance] of instances.entries()) {
      if (at < killed) instance.signal('SIGKILL');
      else if (at < killed + stopped) instance.signal('SIGSTOP');
    }
    await pause(10_000);
    const tally = await traffic.stop();
    expect(tally.failures).toEqual([]);
    expect(tally.sent).toBeGreaterThan(200);
    expect(tally.slowestMs).toBeLessThan(SLOWEST_MS);
  });

  it('a client that sends one request after the other waits about a second, once, where one of three is stopped', async () => {
    const { gateway, instances } = await started(TCP, 3);
    for (let i = 0; i < 30; i++) await request(gateway);
    instances[0]!.signal('SIGSTOP');
    const tookMs: number[] = [];
    for (let i = 0; i < 60; i++) {
      const began = performance.now();
      expect((await request(gateway)).status).toBe(200);
      tookMs.push(performance.now() - began);
      await pause(20);
    }
    expect(Math.max(...tookMs)).toBeLessThan(SLOWEST_MS);
    const { instances: seen } = await gateway.explain('web');
    const stopped = seen.find(({ address }) => address.endsWith(`:${instances[0]!.port}`));
    expect(stopped?.why).not.toBe('serving');
  });

  it('those that come back serve again within seconds, whatever they were out for', async () => {
    const { gateway, instances } = await started(HTTP, 3);
    const traffic = new Traffic(gateway, { perSecond: 50, posts: false });
    await pause(1000);
    for (const instance of instances.slice(0, 2)) instance.signal('SIGSTOP');
    await eventually('both are out', async () => {
      const { instances: seen } = await gateway.explain('web');
      return seen.filter(({ why }) => why === 'breaker-open' || why === 'trial').length === 2;
    });
    await pause(4000);
    for (const instance of instances.slice(0, 2)) instance.signal('SIGCONT');
    await gateway.serving('web', 3);
    const tally = await traffic.stop();
    expect(tally.failures).toEqual([]);
  });
});
