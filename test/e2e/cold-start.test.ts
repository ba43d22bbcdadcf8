import { afterEach, describe, expect, it, vi } from 'vitest';
import { EtcdServer, etcdBinary } from '../servers/etcd.ts';
import { eventually, freePort, GatewayProcess, Instance, request } from './world.ts';

vi.setConfig({ testTimeout: 120_000 });

const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

const required = process.env['FAIRLEAD_REQUIRE_SERVERS'] !== undefined;

describe.skipIf(etcdBinary === undefined && !required)('a gateway that starts while its registry is down', () => {
  it('serves from the last known good set, after its own probes, and says how old that is', async () => {
    const etcd = await EtcdServer.start();
    stops.push(async () => etcd.server[Symbol.asyncDispose]());
    const one = await Instance.start({ name: 'one' });
    stops.push(() => one.kill());
    await etcd.put('/services/web/one', { host: '127.0.0.1', port: one.port });
    await etcd.put('/services/web/gone', { host: '127.0.0.1', port: await freePort() });
    const gateway = await GatewayProcess.start({
      registries: `[{ name: etcd, type: etcd, endpoints: ['${etcd.url}'], prefix: /services/ }]`,
    });
    stops.push(() => gateway.stop());
    await gateway.serving('web', 1);
    gateway.process.signal('SIGTERM');
    expect(await gateway.process.exited).toBe(0);
    await etcd.server.kill();

    await gateway.launch();
    const began = performance.now();
    await eventually('web answers', async () => (await request(gateway)).status === 200, 10_000);
    console.log(
      `cold start without the registry: first answer ${Math.round(performance.now() - began)} ms after ready`,
    );
    const { registries } = (await (await fetch(`${gateway.admin}/api/registries`)).json()) as {
      registries: { state: string; ageMs: number; lastError: { message: string } }[];
    };
    expect(registries[0]?.state).toBe('stale');
    expect(registries[0]?.ageMs).toBeGreaterThan(0);
    expect(registries[0]?.lastError.message).toContain('etcd');
    // What was dead stays dead: a saved set says what was registered, not what is alive.
    for (let i = 0; i < 10; i++) expect((await request(gateway)).body).toContain('one');

    await etcd.server.start();
    await eventually(
      'the registry is back',
      async () => (await (await fetch(`${gateway.admin}/api/registries`)).text()).includes('"synced"'),
      40_000,
    );
    expect((await request(gateway)).status).toBe(200);
  });
});

describe('a gateway whose registry was never there', () => {
  it.each([
    ['etcd', (port: number) => `type: etcd, endpoints: ['http://127.0.0.1:${port}']`, 'endpoints'],
    ['consul', (port: number) => `type: consul, address: 'http://127.0.0.1:${port}'`, 'address'],
    ['zk', (port: number) => `type: zookeeper, connect: '127.0.0.1:${port}'`, 'connect'],
    ['eureka', (port: number) => `type: eureka, urls: ['http://127.0.0.1:${port}/eureka']`, 'urls'],
  ])('is not ready and names the registry %s and the setting, and goes on', async (name, settings, setting) => {
    const gateway = await GatewayProcess.start({
      registries: `[{ name: ${name}, ${settings(await freePort())} }]`,
      ready: false,
    });
    stops.push(() => gateway.stop());
    const reasons = await eventually(
      'the reason',
      async () => {
        const text = await (await fetch(`${gateway.admin}/readyz`)).text();
        return text.includes(setting) && text;
      },
      30_000,
    );
    expect(reasons).toContain(name);
    expect((await fetch(`${gateway.admin}/readyz`)).status).toBe(503);
    expect((await fetch(`${gateway.admin}/healthz`)).status).toBe(200);
    // The admin API is there before the threads that serve clients are.
    await eventually('clients are answered', async () => (await request(gateway)).status === 404);
  });
});
