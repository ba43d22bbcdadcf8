import { describe, expect, it } from 'vitest';
import type { InstanceStatus } from '../../../src/registry/embedded/api/views.ts';
import { FaultyDisk, contents, register } from './fixture.ts';
import { errors, openApi, web } from './open-api.ts';

describe('the life of an instance over HTTP', () => {
  it('registers, beats, is listed and deregisters', async () => {
    const { post, call } = await openApi();
    const registered = await post({ serviceName: 'payment-service', host: '10.0.0.7', port: 8080 });
    expect(registered.status).toBe(201);
    const id = 'payment-service-10.0.0.7-8080';
    expect(registered.body).toEqual({ id, service: 'payment-service', host: '10.0.0.7', port: 8080, ttl: null });
    expect(await call('PUT', `/heartbeat/${id}`)).toMatchObject({
      status: 200,
      body: { id, service: 'payment-service' },
    });
    expect((await call('GET', '/services/payment-service/instances')).body).toEqual([
      {
        id,
        service: 'payment-service',
        host: '10.0.0.7',
        port: 8080,
        status: 'up',
        weight: 1,
        metadata: {},
        ttl: null,
        index: 2,
      },
    ]);
    expect((await call('GET', '/services')).body).toEqual([{ name: 'payment-service', instances: 1 }]);
    expect((await call('DELETE', `/deregister/${id}`)).status).toBe(200);
    expect((await call('DELETE', `/deregister/${id}`)).status).toBe(404);
    expect((await call('PUT', `/heartbeat/${id}`)).status).toBe(404);
    expect((await call('GET', '/services/payment-service/instances')).body).toEqual([]);
    expect((await call('GET', '/services/never-heard-of/instances')).body).toEqual([]);
  });

  it('passes on what a heartbeat says of the instance, and refuses what it cannot mean', async () => {
    const reports: string[] = [];
    const { call, post } = await openApi({
      onHeartbeat: (service, id, { status, output }) => reports.push(`${service}/${id} ${status} ${output}`),
    });
    await post({ ...web, id: 'a' });
    expect((await call('PUT', '/heartbeat/a')).status).toBe(200);
    expect((await call('PUT', '/heartbeat/a?status=degraded&output=disk%20full')).status).toBe(200);
    expect(reports).toEqual(['web/a passing ', 'web/a degraded disk full']);
    expect(errors(await call('PUT', '/heartbeat/a?status=fine'))).toEqual([
      'status: must be passing, degraded or failing',
    ]);
    expect((await call('PUT', '/heartbeat/b?status=failing')).status).toBe(404);
    expect(reports).toHaveLength(2);
  });

  it('takes everything that the contract has', async () => {
    const { post, call, registry } = await openApi();
    const answer = await post({
      ...web,
      id: 'w-1',
      weight: 2.5,
      zone: 'eu-1a',
      version: '1.2.3',
      metadata: { team: 'pay' },
      ttl: '30s',
      check: {
        type: 'http',
        path: '/health?deep=1',
        interval: '5s',
        timeout: 0.5,
        expect: [200, '300-399'],
        headers: { 'X-Probe': 'yes' },
        method: 'HEAD',
        host: 'web.example:8443',
        healthyThreshold: 1,
        unhealthyThreshold: 4,
        port: 81,
        name: 'deep',
      },
    });
    expect(answer.body).toEqual({ id: 'w-1', service: 'web', host: '10.0.0.1', port: 80, ttl: '30s' });
    expect((await call('GET', '/services/web/instances')).body).toEqual([
      {
        id: 'w-1',
        service: 'web',
        host: '10.0.0.1',
        port: 80,
        status: 'up',
        weight: 2.5,
        zone: 'eu-1a',
        version: '1.2.3',
        metadata: { team: 'pay' },
        ttl: '30s',
        index: 2,
      },
    ]);
    expect(registry.find({ service: 'web', id: 'w-1' })?.instance.checks).toEqual([
      {
        type: 'http',
        path: '/health?deep=1',
        method: 'HEAD',
        statuses: [
          [200, 200],
          [300, 399],
        ],
        headers: [['X-Probe', 'yes']],
        host: 'web.example:8443',
        intervalMs: 5000,
        timeoutMs: 500,
        healthyThreshold: 1,
        unhealthyThreshold: 4,
        port: 81,
        name: 'deep',
      },
    ]);
  });

  it.each([
    ['none', 0],
    ['the last', 1200],
    ['every other', 2],
  ])('lists a service of any size, showing %s of it', async (_, every) => {
    const statusOf = (_service: string, id: string): InstanceStatus => {
      const healthy = every > 0 && Number(id) % every === 0;
      return { status: healthy ? 'up' : 'down', healthy, reason: undefined };
    };
    const { call, registry } = await openApi({ statusOf });
    await Promise.all(
      Array.from({ length: 1200 }, (_, at) => register(registry, { id: String(at + 1), port: at + 1 })),
    );
    const healthy = (await call('GET', '/services/web/instances?healthy=true')).body as { id: string }[];
    expect(healthy.map((each) => each.id)).toHaveLength(every === 0 ? 0 : 1200 / every);
    expect((await call('GET', '/services/web/instances')).body).toHaveLength(1200);
  });

  it('keeps metadata under any key, and means nothing by it', async () => {
    const { post, call } = await openApi();
    const metadata = '{"__proto__":"a","constructor":"b","toString":"c","a.b":"d","\\ud83d\\udea2":"\\u0000"}';
    expect((await post(`{"serviceName":"web","host":"10.0.0.1","port":80,"metadata":${metadata}}`)).status).toBe(201);
    const [shown] = (await call('GET', '/services/web/instances')).body as { metadata: object }[];
    expect(JSON.stringify(shown?.metadata)).toBe(JSON.stringify(JSON.parse(metadata)));
    expect(({} as Record<string, unknown>)['a.b']).toBeUndefined();
  });

  it('answers the same id for the same address, and says whom an id has replaced', async () => {
    const { post } = await openApi();
    const first = (await post(web)).body as { id: string };
    expect((await post({ ...web, weight: 3 })).body).toMatchObject({ id: first.id });
    expect((await post({ ...web, id: 'mine' })).body).toMatchObject({
      id: 'mine',
      replaced: [{ id: first.id, host: '10.0.0.1', port: 80 }],
    });
    expect((await post({ ...web, id: 'mine', port: 81 })).body).toMatchObject({
      id: 'mine',
      replaced: [{ id: 'mine', host: '10.0.0.1', port: 80 }],
    });
  });

  it('spells hosts in one way, so that one address is one instance', async () => {
    const { post, registry } = await openApi();
    for (const host of ['::ffff:10.0.0.1', '10.0.0.1']) await post({ ...web, host });
    for (const host of ['2001:DB8::0:1', '2001:db8::1']) await post({ ...web, host });
    for (const host of ['App.Internal', 'app.internal']) await post({ ...web, host });
    expect(contents(registry).map((line) => line.split(' ')[1])).toEqual([
      '10.0.0.1:80',
      '[2001:db8::1]:80',
      'app.internal:80',
    ]);
  });

  it.each([
    ['"90s"', '90s'],
    ['90', '90s'],
    ['1.5', '1500ms'],
    ['"24h"', '24h'],
    ['86400', '24h'],
    ['null', null],
  ])('takes a ttl of %s', async (given, ttl) => {
    const { post } = await openApi();
    expect((await post(`{"serviceName":"web","host":"10.0.0.1","port":80,"ttl":${given}}`)).body).toMatchObject({
      ttl,
    });
  });

  it('refuses an id of another service, and takes ids of several only with the service named', async () => {
    const { post, call, registry } = await openApi();
    await post({ ...web, id: 'one' });
    const refused = await post({ ...web, serviceName: 'api', id: 'one' });
    expect(refused.status).toBe(409);
    expect(errors(refused)).toEqual([expect.stringMatching(/^id: belongs to an instance of web/)]);
    // Another protocol on the same registry may have such ids.
    await registry.register({
      instance: { ...registry.find({ service: 'web', id: 'one' })!.instance, service: 'api' },
      id: 'one',
      ttlMs: undefined,
      idScope: 'service',
    });
    expect(errors(await call('PUT', '/heartbeat/one'))).toEqual([
      'id: is the id of instances of web, api: add ?service=NAME',
    ]);
    expect((await call('PUT', '/heartbeat/one?service=api')).status).toBe(200);
    expect((await call('DELETE', '/deregister/one?service=api')).body).toMatchObject({ service: 'api' });
    expect((await call('PUT', '/heartbeat/one')).status).toBe(200);
  });
});

describe('a registry that cannot', () => {
  it('write to disk answers 503 and asks to come again', async () => {
    const disk = new FaultyDisk();
    const { post, call } = await openApi({}, { disk });
    await post({ ...web, id: 'one' });
    disk.fail('ENOSPC', 'write');
    for (const answer of [await post({ ...web, port: 81 }), await call('DELETE', '/deregister/one')]) {
      expect(answer.status).toBe(503);
      expect(answer.headers.get('retry-after')).toBe('1');
      expect(answer.body).toMatchObject({
        detail: expect.stringContaining('could not be written to disk (ENOSPC)') as string,
      });
    }
    expect((await call('PUT', '/heartbeat/one')).status).toBe(200);
  });

  it('hold more answers 503 and names the limit', async () => {
    const { post } = await openApi({}, { limits: { instances: 1 } });
    await post(web);
    expect(await post({ ...web, port: 81 })).toMatchObject({
      status: 503,
      body: { detail: 'It holds 1 instances, which is its limit.' },
    });
  });

  it('answer because of a bug says so without telling why', async () => {
    const { call, post, lines } = await openApi({
      statusOf: () => {
        throw new Error('secret');
      },
    });
    await post(web);
    const answer = await call('GET', '/services/web/instances');
    expect(answer.status).toBe(500);
    expect(JSON.stringify(answer.body)).not.toContain('secret');
    expect(lines).toMatchObject([{ level: 'error', fields: { reason: 'secret' } }]);
  });
});

describe('the token', () => {
  it('is asked for on every path', async () => {
    const { call, post } = await openApi({ token: 'correct-horse' });
    for (const [method, path] of [
      ['POST', '/register'],
      ['PUT', '/heartbeat/x'],
      ['DELETE', '/deregister/x'],
      ['GET', '/services'],
      ['GET', '/services/x/instances'],
      ['GET', '/watch'],
      ['GET', '/nothing'],
    ] as const) {
      for (const authorization of [
        undefined,
        '',
        'Bearer',
        'Bearer wrong',
        'Bearer correct-hors',
        'Bearer correct-horsee',
        'Basic correct-horse',
        'Bearer correct-horse x',
      ]) {
        const answer = await call(method, path, { headers: authorization === undefined ? {} : { authorization } });
        expect(answer.status, `${method} ${path} ${authorization}`).toBe(401);
        expect(answer.headers.get('www-authenticate')).toBe('Bearer realm="fairlead registry"');
      }
    }
    expect((await post(web)).status).toBe(401);
  });

  it('lets in whoever has it', async () => {
    const { call } = await openApi({ token: 'correct-horse' });
    for (const authorization of ['Bearer correct-horse', 'bearer  correct-horse ']) {
      expect((await call('GET', '/services', { headers: { authorization } })).status).toBe(200);
    }
  });
});

describe('the status of instances', () => {
  it('is the word of the gateway, where it has one, and that of the registry elsewhere', async () => {
    const { call, post, clock } = await openApi({
      statusOf: (_service, id) =>
        id === 'a' ? { status: 'down', healthy: false, reason: 'probe: connection refused' } : undefined,
    });
    for (const [id, port] of [
      ['a', 1],
      ['b', 2],
      ['c', 3],
    ] as const)
      await post({ ...web, id, port, ...(id === 'c' ? { ttl: 5 } : {}) });
    clock.advance(5100);
    const list = async (query: string): Promise<unknown> => (await call('GET', `/services/web/instances${query}`)).body;
    expect(await list('')).toMatchObject([
      { id: 'a', status: 'down', reason: 'probe: connection refused' },
      { id: 'b', status: 'up' },
      { id: 'c', status: 'down', reason: 'no heartbeat within its ttl of 5s' },
    ]);
    expect(await list('?healthy=true')).toMatchObject([{ id: 'b' }]);
    expect(await list('?healthy=false')).toHaveLength(3);
  });
});
