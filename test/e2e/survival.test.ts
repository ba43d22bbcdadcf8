import { readFile } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { eventually, GatewayProcess, Instance, pause, request, Traffic } from './world.ts';

const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

async function gatewayWith(extra: string): Promise<GatewayProcess> {
  const gateway = await GatewayProcess.start({ extra });
  stops.push(() => gateway.stop());
  return gateway;
}

async function instance(options: Parameters<typeof Instance.start>[0]): Promise<Instance> {
  const started = await Instance.start(options);
  stops.push(() => started.kill());
  return started;
}

async function fleet(
  gateway: GatewayProcess,
  count: number,
  options: { ttl?: string; delay?: string } = {},
): Promise<Instance[]> {
  const started = await Promise.all(
    Array.from({ length: count }, (_, at) =>
      instance({
        name: `i${at}`,
        registry: gateway.registry,
        ttl: options.ttl ?? '30s',
        delay: options.delay ?? '5ms',
      }),
    ),
  );
  await gateway.serving('web', count);
  return started;
}

vi.setConfig({ testTimeout: 90_000 });

const HTTP_PROBES = 'defaults: { health: { type: http, path: /__state, interval: 1s, timeout: 500ms } }';

describe('under 300 requests a second, GET and POST, on four instances', () => {
  it('kill -9 of one fails no GET, and at most the POSTs in flight on it', async () => {
    const gateway = await gatewayWith(HTTP_PROBES);
    const instances = await fleet(gateway, 4);
    const traffic = new Traffic(gateway, { perSecond: 300 });
    await pause(1500);
    const { instances: before } = await gateway.explain('web');
    instances[0]!.signal('SIGKILL');
    await pause(3000);
    const tally = await traffic.stop();
    const inflight = Math.max(
      4,
      before.find(({ address }) => address.endsWith(`:${instances[0]!.port}`))?.inflight ?? 0,
    );
    expect(tally.failures.filter(({ method }) => method === 'GET')).toEqual([]);
    expect(tally.failures.length).toBeLessThanOrEqual(inflight);
    expect(tally.sent).toBeGreaterThan(1000);
  });

  it('ten rolling restarts with deregistration fail nothing, and no POST is done twice', async () => {
    const gateway = await gatewayWith(HTTP_PROBES);
    const instances = await fleet(gateway, 4);
    const traffic = new Traffic(gateway, { perSecond: 300 });
    await pause(500);
    const gone: Instance[] = [];
    for (let round = 0; round < 10; round++) {
      const old = instances[round % 4]!;
      old.signal('SIGTERM');
      gone.push(old);
      instances[round % 4] = await instance({
        name: `r${round}`,
        registry: gateway.registry,
        ttl: '30s',
        delay: '5ms',
      });
      await gateway.serving('web', 4);
    }
    const tally = await traffic.stop();
    const done = new Map<string, number>();
    for (const each of [...gone, ...instances]) {
      if (!gone.includes(each)) each.signal('SIGTERM');
      await each.exited;
      const orders = JSON.parse(/orders (\{.*\})/.exec(each.output)?.[1] ?? '{}') as Record<string, number>;
      for (const [order, times] of Object.entries(orders)) done.set(order, (done.get(order) ?? 0) + times);
    }
    expect(tally.failures).toEqual([]);
    expect([...done].filter(([, times]) => times > 1)).toEqual([]);
    expect([...done.keys()].sort()).toEqual([...tally.orders].sort());
    expect(tally.sent).toBeGreaterThan(500);
  });

  it('SIGSTOP of one takes it out within 4 s and fails no GET', async () => {
    const gateway = await gatewayWith(HTTP_PROBES);
    const instances = await fleet(gateway, 4);
    const traffic = new Traffic(gateway, { perSecond: 300 });
    await pause(1500);
    const stoppedAt = performance.now();
    instances[0]!.signal('SIGSTOP');
    await gateway.serving('web', 3);
    const outMs = performance.now() - stoppedAt;
    await pause(2000);
    instances[0]!.signal('SIGCONT');
    const tally = await traffic.stop();
    expect(outMs).toBeLessThan(4000);
    expect(tally.failures.filter(({ method }) => method === 'GET')).toEqual([]);
  });
});

describe('breaking', () => {
  it.each([500, 503])(
    'opens within five failures on an instance that answers %i at once, and later lets one trial through at a time',
    async (status) => {
      const gateway = await gatewayWith(
        `defaults: { health: { type: tcp, interval: 1s }, breaker: { open: 1s, failureStatuses: [500, 502, 503, 504] } }`,
      );
      const [bad] = await fleet(gateway, 2, { delay: '0ms' });
      await bad!.control(`/__mode?is=fail&status=${status}`);
      const opened = (): Promise<number> => gateway.metric('fairlead_breaker_transitions_total', 'to="open"');
      let failures = 0;
      let beganMs = performance.now();
      for (let i = 0; i < 200; i++) if ((await request(gateway)).status === status) failures++;
      // On a machine that needs more than a second for this, there are trials already.
      const trialsSoFar = failures - 5;
      expect(trialsSoFar).toBeGreaterThanOrEqual(0);
      expect(trialsSoFar).toBeLessThanOrEqual(Math.floor((performance.now() - beganMs) / 1000));
      await eventually('each failure beyond five was a trial', async () => (await opened()) === 1 + trialsSoFar, 2000);
      const before = (await bad!.control()).served;
      // Each time it stays open for twice as long.
      await pause(1200 * 2 ** trialsSoFar);
      beganMs = performance.now();
      const answers = await Promise.all(Array.from({ length: 50 }, () => request(gateway)));
      const trials = answers.filter((answer) => answer.status === status).length;
      expect(trials).toBeGreaterThanOrEqual(1);
      expect(trials).toBeLessThanOrEqual(1 + Math.floor((performance.now() - beganMs) / 1000));
      expect((await bad!.control()).served - before).toBe(trials);
    },
  );
});

describe('the two ways of having nobody', () => {
  it('answers 503 UH with Retry-After for a service that was never healthy, 404 NR for an unknown host, and never mixes them', async () => {
    const gateway = await gatewayWith('');
    await gateway.register({ serviceName: 'ghost', host: '127.0.0.1', port: 9 });
    const bodies = new Map<unknown, number>();
    const told = (body: string): unknown => {
      const problem = JSON.parse(body) as { readonly requestId: string };
      bodies.set(problem.requestId, Buffer.byteLength(body));
      return problem;
    };
    for (let i = 0; i < 20; i++) {
      const ghost = await request(gateway, { service: 'ghost' });
      expect(ghost.status).toBe(503);
      expect(told(ghost.body)).toMatchObject({ flag: 'UH', status: 503 });
      expect(Number(ghost.headers['retry-after'])).toBeGreaterThan(0);
      expect(ghost.headers['proxy-status']).toContain('fairlead; error=');
      const unknown = await request(gateway, { service: 'nobody' });
      expect(unknown.status).toBe(404);
      expect(told(unknown.body)).toMatchObject({ flag: 'NR' });
    }
    await eventually('the access log has the body bytes of each', async () => {
      const lines = (await readFile(gateway.accessLog, 'utf8')).trimEnd().split('\n');
      const logged = lines.map((line) => JSON.parse(line) as { readonly requestId: string; readonly bytesOut: number });
      return isDeepStrictEqual(new Map(logged.map(({ requestId, bytesOut }) => [requestId, bytesOut])), bodies);
    });
  });
});

describe('kill -9 of the gateway', () => {
  it('loses no acknowledged registration, and serves each as soon as it passes a probe', async () => {
    const gateway = await gatewayWith('');
    const one = await instance({ name: 'one' });
    await gateway.register({ serviceName: 'web', host: '127.0.0.1', port: one.port });
    const ids: string[] = [];
    await Promise.all(
      Array.from({ length: 200 }, async (_, at) => {
        ids.push(
          await gateway.register({ serviceName: `s${at % 7}`, host: '127.0.0.1', port: 20_000 + at, ttl: '30s' }),
        );
      }),
    );
    gateway.process.signal('SIGKILL');
    await gateway.process.exited;
    await gateway.launch();
    const found: string[] = [];
    for (let at = 0; at < 7; at++) {
      const listed = (await (await gateway.api('GET', `/services/s${at}/instances`)).json()) as { id: string }[];
      found.push(...listed.map(({ id }) => id));
    }
    expect(found.sort()).toEqual(ids.sort());
    await eventually('web serves', async () => (await request(gateway)).status === 200, 3000);
  });
});
