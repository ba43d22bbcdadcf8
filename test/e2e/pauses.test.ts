import { afterEach, expect, it, vi } from 'vitest';
import { GatewayProcess, Instance, pause, Traffic } from './world.ts';

vi.setConfig({ testTimeout: 60_000 });

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

it('a gateway that stands still again and again blames no instance and fails no request for it', async () => {
  const gateway = await GatewayProcess.start({
    extra: `defaults: { timeouts: { responseHead: 1s }, retry: { attempts: 0 }, breaker: { consecutiveFailures: 1 } }
workers: 1`,
  });
  stops.push(() => gateway.stop());
  for (const name of ['a', 'b']) {
    const instance = await Instance.start({ name, registry: gateway.registry, delay: '250ms' });
    stops.push(() => instance.kill());
  }
  await gateway.serving('web', 2);
  const traffic = new Traffic(gateway, { perSecond: 40 });
  stops.push(() => traffic.stop());
  await pause(600);
  for (const [standsMs, runsMs] of [
    [1400, 400],
    [1400, 500],
    [1200, 1500],
  ] as const) {
    gateway.process.signal('SIGSTOP');
    await pause(standsMs);
    gateway.process.signal('SIGCONT');
    await pause(runsMs);
  }
  const { failures, sent } = await traffic.stop();
  expect(failures).toEqual([]);
  expect(sent).toBeGreaterThan(100);
  expect(await gateway.metric('fairlead_breaker_transitions_total', 'to="open"')).toBe(0);
  const { instances } = await gateway.explain('web');
  expect(instances.map(({ state }) => state)).toEqual(['available', 'available']);
});
