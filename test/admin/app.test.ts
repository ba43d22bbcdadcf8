import { describe, expect, test } from 'vitest';
import type { InstanceReport, ServiceReport } from '../../src/admin/reports.ts';
import { AdminFixture } from './fixture.ts';

const POST = { method: 'POST' };

describe('liveness and readiness', () => {
  test('alive is alive, ready when nothing stands in the way', async () => {
    const it = new AdminFixture();
    expect(await it.json('/healthz')).toEqual({ status: 'alive' });
    expect((await it.get('/readyz')).status).toBe(200);
  });

  test('what stands in the way is said, with 503', async () => {
    const reasons = [{ component: 'consul', reason: 'has not answered yet: connect ECONNREFUSED' }];
    const it = new AdminFixture({ notReady: () => reasons });
    const response = await it.get('/readyz');
    expect([response.status, await response.json()]).toEqual([503, { status: 'not ready', reasons }]);
    expect((await it.get('/healthz')).status).toBe(200);
  });
});

describe('services and instances', () => {
  test('are listed in short', async () => {
    const it = new AdminFixture();
    const first = it.add('i-1');
    it.fail(it.add('i-2'), 'connection refused');
    it.add('a-1', { service: 'api' });
    it.figures.inflight[first.slot] = 4;
    const { services } = (await it.json('/api/services')) as unknown as { services: unknown[] };
    expect(services).toEqual([
      {
        name: 'api',
        condition: 'ok',
        configured: false,
        registered: 1,
        available: 1,
        takingTraffic: 1,
        panic: 'off',
        inflight: 0,
        states: { available: 1 },
      },
      {
        name: 'web',
        condition: 'partial',
        configured: false,
        registered: 2,
        available: 1,
        takingTraffic: 1,
        panic: 'off',
        inflight: 4,
        states: { available: 1, failing: 1 },
      },
    ]);
  });

  test('one service tells its instances, each with its share of the traffic', async () => {
    const it = new AdminFixture();
    const heavy = it.add('i-1', { weight: 3, zone: 'b' });
    it.add('i-2');
    it.fail(it.add('i-3'), 'connection refused');
    it.figures.latencyMs[heavy.slot] = 12.5;
    it.figures.attempts[heavy.slot] = 9;
    const report = (await it.json('/api/services/web')) as unknown as ServiceReport;
    expect(report.instances.map(({ id, state, traffic, share }) => [id, state, traffic, share])).toEqual([
      ['i-1', 'available', 'full', 0.75],
      ['i-2', 'available', 'full', 0.25],
      ['i-3', 'failing', 'none', 0],
    ]);
    expect(report.instances[0]).toMatchObject({ zone: 'b', weight: 3, latencyMs: 12.5, attempts: 9, why: 'serving' });
    expect([report.balancer, report.omitted]).toEqual(['p2c', 0]);
  });

  test('very many instances are cut, and the answer says so', async () => {
    const it = new AdminFixture();
    for (let id = 0; id < 20; id++) it.add(`i-${id}`);
    const report = (await it.json('/api/services/web?limit=5')) as unknown as ServiceReport;
    expect([report.instances.length, report.omitted]).toEqual([5, 15]);
  });

  test('names that do not exist are told with those that may have been meant', async () => {
    const it = new AdminFixture();
    it.add('payment-1', { service: 'payment' });
    const misspelt = await it.json('/api/services/paymnet');
    expect(misspelt).toMatchObject({ status: 404, detail: 'there is no service "paymnet"', near: ['payment'] });
    expect(await it.json('/api/services/pay')).toMatchObject({ near: ['payment'] });
    expect(await it.json('/api/services/payment/instances/payment-2')).toMatchObject({
      status: 404,
      detail: 'there is no instance "payment-2" of payment',
      near: ['payment-1'],
    });
    for (const path of ['/api/services/__proto__', '/api/services/web%2f..', '/api/services/payment/instances/%00']) {
      const response = await it.get(path);
      expect([response.status, response.headers.get('content-type')]).toEqual([404, 'application/problem+json']);
    }
  });
});

describe('draining', () => {
  test('takes an instance out and lets it in again', async () => {
    const it = new AdminFixture();
    const member = it.add('i-1');
    it.add('i-2');
    it.figures.inflight[member.slot] = 2;
    const drained = (await it.json('/api/services/web/instances/i-1/drain', POST)) as unknown as InstanceReport;
    expect(drained).toMatchObject({ drained: true, state: 'drained', traffic: 'none', why: 'drained', inflight: 2 });
    it.fleet.flush();
    expect([...it.fleet.service('web')!.view.slots]).not.toContain(member.slot);
    const back = (await it.json('/api/services/web/instances/i-1/undrain', POST)) as unknown as InstanceReport;
    expect(back).toMatchObject({ drained: false, traffic: 'full' });
  });

  test('an instance that has been deregistered is told for as long as it has requests in flight', async () => {
    const it = new AdminFixture();
    const member = it.add('i-1');
    it.add('i-2');
    it.figures.inflight[member.slot] = 1;
    it.fleet.remove('web', 'i-1');
    it.fleet.flush();
    const path = '/api/services/web/instances/i-1';
    expect(await it.json(path)).toMatchObject({ leaving: true, traffic: 'none', inflight: 1 });
    expect(await it.json(`${path}/drain`, POST)).toMatchObject({ status: 200, leaving: true });
    expect(await it.json(`${path}/undrain`, POST)).toMatchObject({ status: 404 });
    it.figures.inflight[member.slot] = 0;
    it.fleet.released(member);
    it.fleet.flush();
    expect((await it.get(path)).status).toBe(404);
  });

  test('needs POST', async () => {
    const it = new AdminFixture();
    it.add('i-1');
    const answer = await it.json('/api/services/web/instances/i-1/drain');
    expect(answer.status).toBe(404);
    expect(it.fleet.find('web', 'i-1')!.health.drained).toBe(false);
  });
});

describe('reloading', () => {
  test('tells what changed', async () => {
    expect(await new AdminFixture().json('/api/reload', POST)).toEqual({
      status: 200,
      changes: ['services.web: balancer'],
    });
  });

  test('tells every error of a file that changes nothing', async () => {
    const issues = [{ file: 'fairlead.yaml', line: 3, column: 5, path: 'gateway.lisen', message: 'unknown key' }];
    const it = new AdminFixture({ reload: () => Promise.resolve({ ok: false, issues }) });
    expect(await it.json('/api/reload', POST)).toMatchObject({ status: 422, issues });
  });
});

test('metrics go out as they are', async () => {
  const response = await new AdminFixture().get('/metrics');
  expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
  expect(await response.text()).toBe('# one\n# two\n');
});

test('registries, version and the list of what there is', async () => {
  const it = new AdminFixture();
  expect(await it.json('/api/registries')).toMatchObject({
    registries: [{ name: 'local', state: 'synced', ageMs: 12 }],
  });
  expect(await it.json('/api/version')).toMatchObject({ version: '1.2.3', node: 'v24.0.0' });
  expect(await (await it.get('/')).text()).toContain('/api/services/NAME/explain');
});

describe('every answer', () => {
  test('names the version of the API, and is kept by no cache', async () => {
    const it = new AdminFixture({ token: 'secret' });
    for (const path of ['/healthz', '/api/services', '/nothing']) {
      const { headers } = await it.get(path);
      const told = ['fairlead-api', 'cache-control', 'x-content-type-options'].map((name) => headers.get(name));
      expect(told).toEqual(['1', 'no-store', 'nosniff']);
    }
  });

  test('about something that is not there is a problem document', async () => {
    const response = await new AdminFixture().get('/nothing');
    expect([response.status, response.headers.get('content-type')]).toEqual([404, 'application/problem+json']);
    expect(await response.json()).toMatchObject({ title: 'Not found', status: 404 });
  });

  test('that fails for a defect says so, logs it and reveals nothing', async () => {
    const it = new AdminFixture({ reload: () => Promise.reject(new Error('secret path')) });
    const answer = await it.json('/api/reload', POST);
    expect(answer).toMatchObject({ status: 500 });
    expect(JSON.stringify(answer)).not.toContain('secret path');
    expect(it.bugs).toEqual([expect.objectContaining({ message: 'secret path' })]);
  });
});

describe('who may ask', () => {
  test('with a token configured, everything but liveness, readiness and the files of the dashboard asks for it', async () => {
    const it = new AdminFixture({ token: 'correct horse' });
    const as = (authorization: string): RequestInit => ({ headers: { authorization } });
    for (const path of ['/metrics', '/api/services', '/', '/api/reload']) {
      const response = await it.get(path);
      expect([response.status, response.headers.get('www-authenticate')]).toEqual([401, 'Bearer']);
    }
    expect([(await it.get('/healthz')).status, (await it.get('/readyz')).status]).toEqual([200, 200]);
    const wrong = ['Bearer wrong', 'Bearer', 'Basic correct', 'Bearer correct horse', '', 'Bearer \u00e9'];
    for (const credentials of wrong) expect((await it.get('/api/services', as(credentials))).status).toBe(401);
  });

  test('the right token lets in', async () => {
    const it = new AdminFixture({ token: 'Zm9vYmFy' });
    for (const authorization of ['Bearer Zm9vYmFy', 'bearer   Zm9vYmFy']) {
      expect((await it.get('/api/services', { headers: { authorization } })).status).toBe(200);
    }
  });

  test.each(['127.0.0.1:9901', '[::1]:9901', 'localhost:9901', 'LOCALHOST', '10.1.2.3', 'gateway.internal:9901'])(
    'changes may be asked for at %s',
    async (host) => {
      const it = new AdminFixture({ hostNames: ['Gateway.internal'] });
      expect((await it.get('/api/reload', { ...POST, headers: { host } })).status).toBe(200);
    },
  );

  test.each([
    'evil.example',
    'evil.example:9901',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    'a b',
    '[::1',
    '@localhost',
  ])('a page that had its name rebound, %s, changes and reads nothing', async (host) => {
    const it = new AdminFixture();
    expect((await it.get('/api/reload', { ...POST, headers: { host } })).status).toBe(403);
    for (const path of ['/', '/metrics', '/api/services', '/dashboard/main.js']) {
      expect((await it.get(path, { headers: { host } })).status).toBe(403);
    }
    expect((await it.get('/healthz', { headers: { host } })).status).toBe(200);
  });

  test('whoever has the token may ask by any name, but no page of another origin', async () => {
    const it = new AdminFixture({ token: 'Zm9vYmFy' });
    const headers = { host: 'fairlead.prod.svc:9901', authorization: 'Bearer Zm9vYmFy' };
    expect((await it.get('/api/reload', { ...POST, headers })).status).toBe(200);
    const foreign = { ...headers, origin: 'https://evil.example' };
    expect((await it.get('/api/reload', { ...POST, headers: foreign })).status).toBe(403);
  });

  test.each(['application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'Text/Plain'])(
    'what a form can send, %s, changes nothing, whatever else the browser says',
    async (type) => {
      const it = new AdminFixture();
      const answer = await it.get('/api/reload', { ...POST, body: 'a=b', headers: { 'content-type': type } });
      expect(answer.status).toBe(415);
    },
  );

  test.each<[string, Record<string, string>, number]>([
    ['another site', { origin: 'https://evil.example' }, 403],
    ['an opaque origin', { origin: 'null' }, 403],
    ['another port', { origin: 'http://localhost:3000' }, 403],
    ['the same origin', { origin: 'http://localhost:9901' }, 200],
    ['what a browser calls cross-site', { 'sec-fetch-site': 'cross-site' }, 403],
    ['what a browser calls same-site', { 'sec-fetch-site': 'same-site' }, 403],
    ['what a browser calls same-origin', { 'sec-fetch-site': 'same-origin', origin: 'http://localhost:9901' }, 200],
  ])('changes asked for by %s', async (_who, headers, status) => {
    const it = new AdminFixture();
    const response = await it.get('/api/reload', { ...POST, headers: { host: 'localhost:9901', ...headers } });
    expect(response.status).toBe(status);
  });

  test('a body of more than 64 KiB is refused', async () => {
    const it = new AdminFixture();
    const body = 'x'.repeat(65_537);
    expect(await it.json('/api/reload', { ...POST, body })).toMatchObject({ status: 413 });
    const stream = new ReadableStream<Uint8Array>({
      pull(controller) {
        controller.enqueue(new Uint8Array(1024));
      },
    });
    const endless: RequestInit = { ...POST, body: stream, duplex: 'half' };
    expect(await it.json('/api/reload', endless)).toMatchObject({ status: 413 });
  });
});
