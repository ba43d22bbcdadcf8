import { afterEach, expect, it, vi } from 'vitest';
import { eventually, GatewayProcess } from './world.ts';

vi.setConfig({ testTimeout: 60_000 });

const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

it('an instance whose check is ttl is up as long as its heartbeats say so, and explain tells what they said', async () => {
  const gateway = await GatewayProcess.start({
    extra: `services: { web: { health: { type: ttl, timeout: 1500ms, unhealthyThreshold: 1, healthyThreshold: 1 } } }`,
  });
  stops.push(() => gateway.stop());
  const id = await gateway.register({ serviceName: 'web', host: '127.0.0.1', port: 9 });
  const beat = async (query = ''): Promise<number> => (await gateway.api('PUT', `/heartbeat/${id}${query}`)).status;
  const stands = async (probe: string, text: RegExp): Promise<void> => {
    await eventually(`the check is ${probe}`, async () => {
      const explained = JSON.stringify(await (await fetch(`${gateway.admin}/api/services/web/explain`)).json());
      return text.test(explained) && explained.includes(probe);
    });
  };
  // The registration is its first report.
  await gateway.serving('web', 1);
  expect(await beat('?status=failing&output=disk%20full')).toBe(200);
  await stands('failing', /reported fail: disk full/);
  expect(await beat()).toBe(200);
  await stands('passing', /reported pass/);
  await stands('failing', /no report for 1500ms/);
  expect(await beat('?status=degraded')).toBe(200);
  await stands('degraded', /reported degraded/);
  expect(await beat('?status=splendid')).toBe(400);
});

it('a ttl check asks nothing of an instance that no registry of the gateway hears from', async () => {
  const gateway = await GatewayProcess.start({
    registries: `[{ name: fixed, type: static, services: { web: ['127.0.0.1:9'] } }]`,
    extra: `services: { web: { health: { type: ttl, timeout: 200ms, unhealthyThreshold: 1 } } }`,
  });
  stops.push(() => gateway.stop());
  await gateway.serving('web', 1);
  await new Promise((resolve) => setTimeout(resolve, 600));
  await gateway.serving('web', 1);
});
