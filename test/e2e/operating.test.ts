import { execFileSync, spawnSync } from 'node:child_process';
import http from 'node:http';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { eventually, GatewayProcess, Instance, pause, Process, request, Traffic } from './world.ts';

vi.setConfig({ testTimeout: 120_000 });

const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

async function gatewayWith(extra = ''): Promise<GatewayProcess> {
  const gateway = await GatewayProcess.start({ extra });
  stops.push(() => gateway.stop());
  return gateway;
}

async function instance(gateway: GatewayProcess, name: string, delay = '5ms'): Promise<Instance> {
  const started = await Instance.start({ name, registry: gateway.registry, ttl: '30s', delay });
  stops.push(() => started.kill());
  return started;
}

describe('a client that registers itself', () => {
  it('works unmodified: POST /register, PUT /heartbeat/{id}, DELETE /deregister/{id}, GET /services/{name}/instances', async () => {
    const gateway = await gatewayWith();
    const registered = await gateway.api('POST', '/register', {
      serviceName: 'payment-service',
      host: '127.0.0.1',
      port: 3000,
    });
    expect(registered.status).toBe(201);
    const { id } = (await registered.json()) as { id: string };
    expect((await gateway.api('PUT', `/heartbeat/${id}`)).status).toBe(200);
    const listed = (await (await gateway.api('GET', '/services/payment-service/instances')).json()) as object[];
    expect(listed).toMatchObject([{ id, host: '127.0.0.1', port: 3000 }]);
    expect((await gateway.api('DELETE', `/deregister/${id}`)).status).toBe(200);
    expect((await gateway.api('PUT', `/heartbeat/${id}`)).status).toBe(404);
    expect(await (await gateway.api('GET', '/services/payment-service/instances')).json()).toEqual([]);
  });
});

describe('bad input', () => {
  it.each([
    ['without a port', { serviceName: 'web', host: '127.0.0.1' }, 'port'],
    ['with port 70000', { serviceName: 'web', host: '127.0.0.1', port: 70_000 }, 'port'],
    ['with id ../x', { serviceName: 'web', host: '127.0.0.1', port: 80, id: '../x' }, 'id'],
    ['with id __proto__', { serviceName: 'web', host: '127.0.0.1', port: 80, id: '__proto__' }, 'id'],
    ['with a link-local address', { serviceName: 'web', host: '169.254.169.254', port: 80 }, 'host'],
    [
      'with a script check',
      { serviceName: 'web', host: '127.0.0.1', port: 80, check: { type: 'script', command: ['id'] } },
      'check',
    ],
  ])('a registration %s is refused by name, and changes nothing', async (_, body, field) => {
    const gateway = await gatewayWith();
    const answer = await gateway.api('POST', '/register', body);
    expect(answer.status).toBe(400);
    expect(answer.headers.get('content-type')).toContain('application/problem+json');
    expect(await answer.text()).toContain(`"${field}`);
    expect(JSON.stringify(await (await gateway.api('GET', '/services')).json())).not.toContain('web');
  });

  it('a registration with 1 MiB of metadata is refused, and changes nothing', async () => {
    const gateway = await gatewayWith();
    const answer = await gateway.api('POST', '/register', {
      serviceName: 'web',
      host: '127.0.0.1',
      port: 80,
      metadata: { big: 'x'.repeat(1_048_576) },
    });
    expect([400, 413]).toContain(answer.status);
    expect(JSON.stringify(await (await gateway.api('GET', '/services')).json())).not.toContain('web');
  });

  it('a configuration with an unknown key, a wrong unit and a duplicate host names all three with line and column', async () => {
    const gateway = await gatewayWith();
    await gateway.configure({
      extra:
        'colour: red\ndefaults: { health: { type: tcp, interval: 5 minutes } }\nservices:\n  a: { hosts: [x.example] }\n  b: { hosts: [X.example] }',
    });
    const { code, output } = await gateway.cli('check', '-c', gateway.configFile);
    expect(code).toBe(1);
    expect(output).toMatch(/fairlead\.yaml:5:\d+ colour: unknown key/);
    expect(output).toMatch(/fairlead\.yaml:6:\d+ defaults\.health\.interval: /);
    expect(output).toMatch(/fairlead\.yaml:9:\d+ services\.b\.hosts/);
    const before = await gateway.explain('web').catch(() => undefined);
    gateway.process.signal('SIGHUP');
    await eventually('the reload is counted', async () =>
      (await (await fetch(`${gateway.admin}/metrics`)).text()).includes(
        'fairlead_config_reloads_total{result="failure"} 1',
      ),
    );
    expect(await gateway.explain('web').catch(() => undefined)).toEqual(before);
  });
});

describe('reload', () => {
  it('takes over hosts and policies, keeps health and breaker state, and fails nothing', async () => {
    const gateway = await gatewayWith('defaults: { breaker: { open: 60s, failureStatuses: [500] } }');
    const good = await instance(gateway, 'good');
    const bad = await instance(gateway, 'bad');
    await gateway.serving('web', 2);
    await bad.control('/__mode?is=fail&status=500');
    for (let i = 0; i < 40; i++) await request(gateway);
    const before = await gateway.explain('web');
    expect(before.instances.map(({ state }) => state).sort()).toEqual(['available', 'breaker-open']);
    await gateway.configure({
      extra:
        'defaults: { breaker: { open: 60s, failureStatuses: [500] } }\nservices: { web: { hosts: [shop.example, "*.shop.example"], balancer: round-robin } }',
    });
    const traffic = new Traffic(gateway, { perSecond: 200 });
    await pause(300);
    for (let round = 0; round < 5; round++) {
      gateway.process.signal('SIGHUP');
      await pause(200);
    }
    expect((await request(gateway, { host: 'SHOP.example:8080' })).status).toBe(200);
    expect((await request(gateway, { host: 'a.b.shop.example' })).status).toBe(200);
    const tally = await traffic.stop();
    expect(tally.failures).toEqual([]);
    const after = await gateway.explain('web');
    expect(after.instances.map(({ state }) => state).sort()).toEqual(['available', 'breaker-open']);
    expect((await good.control()).served).toBeGreaterThan(0);
  });
});

describe('drain', () => {
  it('takes an instance out, waits for what is in flight, and lets it in again', async () => {
    const gateway = await gatewayWith();
    const slow = await instance(gateway, 'slow', '1500ms');
    const other = await instance(gateway, 'other', '1500ms');
    await gateway.serving('web', 2);
    const { instances } = await gateway.explain('web');
    const id = instances.find(({ address }) => address.endsWith(`:${slow.port}`))!.id;
    const inflight = Array.from({ length: 6 }, () => request(gateway, { fresh: true }));
    await pause(300);
    const began = performance.now();
    const { code } = await gateway.cli('drain', `web/${id}`, '--wait', '--timeout', '20s');
    const tookMs = performance.now() - began;
    expect(code).toBe(0);
    const seen = (await slow.control()).served;
    expect(seen).toBeGreaterThan(0);
    expect(tookMs).toBeGreaterThan(300);
    expect((await Promise.all(inflight)).map(({ status }) => status)).toEqual([200, 200, 200, 200, 200, 200]);
    await Promise.all(Array.from({ length: 4 }, () => request(gateway)));
    expect((await slow.control()).served).toBe(seen);
    expect((await gateway.cli('status', 'web')).output).toContain('drained');
    expect((await gateway.cli('undrain', `web/${id}`)).code).toBe(0);
    await gateway.serving('web', 2);
    expect((await other.control()).served).toBeGreaterThan(0);
  });
});

describe('a graceful stop', () => {
  it('fails readiness, finishes what is under way, ends keep-alive connections, and exits 0', async () => {
    const gateway = await gatewayWith('shutdown: { acceptFor: 1s, drain: 10s }');
    await instance(gateway, 'slow', '1000ms');
    await gateway.serving('web', 1);
    const agent = new http.Agent({ keepAlive: true });
    const under = request(gateway, { fresh: true });
    await pause(100);
    gateway.process.signal('SIGTERM');
    await eventually('not ready', async () => (await fetch(`${gateway.admin}/readyz`)).status === 503, 2000);
    const late = await request(gateway, { fresh: true });
    expect(late.status).toBe(200);
    expect((await under).status).toBe(200);
    expect(await gateway.process.exited).toBe(0);
    agent.destroy();
  });
});

describe('verbs', () => {
  it('explain says which instance does not take traffic and why; healthcheck answers by exit code', async () => {
    const gateway = await gatewayWith(
      'defaults: { health: { type: tcp, interval: 1s, fastInterval: 200ms, unhealthyThreshold: 2 } }',
    );
    const one = await instance(gateway, 'one');
    await instance(gateway, 'two');
    await gateway.serving('web', 2);
    expect((await gateway.cli('healthcheck')).code).toBe(0);
    await one.kill();
    await gateway.serving('web', 1);
    const { code, output } = await gateway.cli('explain', 'http://web.localhost:8080/path');
    expect(code).toBe(0);
    expect(output).toMatch(/web: 1 of 2 instances take/);
    expect(output).toMatch(/refused/i);
    expect((await gateway.cli('explain', 'wbe')).code).toBe(1);
    const deaf = new Process(['bin/fairlead.js', 'healthcheck', '--admin', 'http://127.0.0.1:9']);
    expect(await deaf.exited).toBe(1);
  });
});

const promtool = spawnSync('promtool', ['--version']).status === 0;

describe('metrics', () => {
  it.skipIf(!promtool && process.env['FAIRLEAD_REQUIRE_SERVERS'] === undefined)(
    'please promtool, and those of a removed instance are gone',
    async () => {
      const gateway = await gatewayWith();
      const one = await instance(gateway, 'one');
      await instance(gateway, 'two');
      await gateway.serving('web', 2);
      for (let i = 0; i < 20; i++) await request(gateway);
      await request(gateway, { host: 'nowhere.example' });
      const scrape = async (): Promise<string> => (await fetch(`${gateway.admin}/metrics`)).text();
      const text = await scrape();
      execFileSync('promtool', ['check', 'metrics'], { input: text });
      expect(text).toMatch(/fairlead_requests_total\{service="web",method="GET",code="200"\} 20/);
      expect(text).toContain(`:${one.port}`.slice(1));
      one.signal('SIGTERM');
      await eventually('its series are gone', async () => !(await scrape()).includes(`-${one.port}"`), 10_000);
    },
  );
});
