import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { AddressPolicy } from '../../../src/core/address.ts';
import { parseService } from '../../../src/registry/embedded/consul/service-body.ts';
import { parseInstance } from '../../../src/registry/embedded/eureka/body.ts';
import { decodeRecord, encodeRecord } from '../../../src/registry/embedded/record.ts';
import { onCleanup, temporaryDirectory } from './fixture.ts';
import { openApi, web } from './open-api.ts';
import { ServedRegistry } from './served.ts';

const eurekaBody = {
  instance: {
    instanceId: 'h:pay:80',
    hostName: '10.0.0.7',
    port: { $: 80, '@enabled': 'true' },
    metadata: { zone: 'a' },
  },
};
const consulBody = {
  ID: 'ord:1',
  Name: 'orders',
  Address: '10.0.0.8',
  Port: 80,
  Tags: ['t'],
  Check: { CheckID: 'beat', TTL: '10s', DeregisterCriticalServiceAfter: '2m' },
};
const json = { 'content-type': 'application/json', accept: 'application/json' };
// Its types need interop that this project does without; what is used of it is below.
const { default: Consul } = (await import('consul')) as unknown as { default: new (options: object) => ConsulClient };

interface ConsulClient {
  readonly agent: {
    readonly service: Readonly<
      Record<'register' | 'deregister' | 'list' | 'maintenance', (of?: unknown) => Promise<unknown>>
    >;
    readonly check: { readonly pass: (id: string) => Promise<unknown> };
  };
  readonly catalog: { readonly service: { readonly nodes: (name: string) => Promise<unknown[]> } };
  readonly health: { readonly service: unknown };
  readonly status: { readonly leader: () => Promise<unknown> };
  readonly kv: { readonly get: (key: string) => Promise<unknown> };
  readonly watch: (options: object) => {
    readonly on: (event: 'change', listener: (data: unknown[]) => void) => unknown;
    readonly end: () => void;
  };
}

const policy = new AddressPolicy({ allowLoopback: false, ownListeners: [] });

async function served(...parameters: Parameters<typeof ServedRegistry.start>): Promise<ServedRegistry> {
  const registry = await ServedRegistry.start(...parameters);
  onCleanup(() => registry[Symbol.asyncDispose]());
  return registry;
}

describe('the dialects of one registry', () => {
  it('keep over a restart all that was said in them, and give every lease a whole ttl', async () => {
    const dataDir = temporaryDirectory();
    const first = await openApi({}, { dataDir });
    await first.call('POST', '/eureka/apps/PAY', { headers: json, body: JSON.stringify(eurekaBody) });
    await first.call('PUT', '/eureka/apps/PAY/h:pay:80/status?value=OUT_OF_SERVICE');
    await first.call('PUT', '/v1/agent/service/register', { body: JSON.stringify(consulBody) });
    await first.call('PUT', '/v1/agent/check/warn/beat?note=so-so');
    const look = async ({ call }: typeof first): Promise<unknown[]> => [
      (await call('GET', '/eureka/apps/PAY/h:pay:80', { headers: json })).body,
      (await call('GET', '/v1/agent/checks')).body,
      (await call('GET', '/v1/agent/services')).body,
    ];
    const before = JSON.stringify(await look(first)).replaceAll(/Index":\d+/g, '');
    await first.registry.close();
    const second = await openApi({}, { dataDir });
    expect(JSON.stringify(await look(second)).replaceAll(/Index":\d+/g, '')).toBe(before);
    expect(before).toContain('so-so');
    second.clock.advance(9000);
    expect((await second.call('PUT', '/v1/agent/check/warn/beat')).status).toBe(200);
    expect((await second.call('PUT', '/eureka/apps/PAY/h:pay:80')).status).toBe(200);
  });

  it('see each other’s instances, and deregister them', async () => {
    const { call, post } = await openApi();
    await post({ ...web, id: 'n', zone: 'z', version: '2' });
    await call('PUT', '/v1/agent/service/register', { body: JSON.stringify(consulBody) });
    await call('POST', '/eureka/apps/PAY', { headers: json, body: JSON.stringify(eurekaBody) });
    expect((await call('GET', '/services')).body).toMatchObject([{ name: 'web' }, { name: 'orders' }, { name: 'pay' }]);
    expect((await call('GET', '/eureka/apps/WEB/n', { headers: json })).body).toMatchObject({
      instance: { instanceId: 'n', status: 'UP', hostName: '10.0.0.1', metadata: { zone: 'z', version: '2' } },
    });
    expect((await call('PUT', '/eureka/apps/WEB/n')).status).toBe(200);
    expect((await call('DELETE', '/eureka/apps/WEB/n')).status).toBe(200);
    const [pay] = (await call('GET', '/services/pay/instances')).body as { id: string }[];
    expect((await call('PUT', `/heartbeat/${pay?.id}`)).status).toBe(200);
    expect((await call('PUT', `/v1/agent/service/deregister/${pay?.id}`)).status).toBe(200);
    const [orders] = (await call('GET', '/services/orders/instances')).body as { id: string; status: string }[];
    expect(orders?.status).toBe('down');
    expect((await call('DELETE', `/deregister/${orders?.id}`)).status).toBe(200);
    expect((await call('GET', '/services')).body).toMatchObject([0, 0, 0].map((instances) => ({ instances })));
  });

  it('tell lists of any size, piece by piece', async () => {
    const { call, registry } = await openApi({}, { dataDir: undefined });
    const add = (at: number): Promise<unknown> => {
      const body = { ...consulBody, ID: `o${at}`, Port: at, Check: undefined };
      return call('PUT', '/v1/agent/service/register', { body: JSON.stringify(body) });
    };
    await Promise.all(Array.from({ length: 901 }, (_, at) => add(at + 1)));
    expect(registry.figures.instances).toBe(901);
    const { body: apps } = await call('GET', '/eureka/apps', { headers: json });
    expect(apps).toMatchObject({ applications: { apps__hashcode: 'UP_901_' } });
    expect(
      (apps as { applications: { application: { instance: unknown[] }[] } }).applications.application[0]?.instance,
    ).toHaveLength(901);
    expect((await call('GET', '/v1/health/service/orders')).body).toHaveLength(901);
    expect((await call('GET', '/v1/health/service/orders?tag=none')).body).toEqual([]);
    expect(Object.keys((await call('GET', '/v1/agent/services')).body as object)).toHaveLength(901);
    expect(String((await call('GET', '/eureka/apps')).body)).toMatch(/^<applications>.*<\/applications>$/);
  });
});

describe('the token of the registry', () => {
  it('is taken in the way that clients of each dialect can send it, and only there', async () => {
    const { call } = await openApi({ token: 'pass:word' });
    const basic = (text: string): string => `Basic ${Buffer.from(text).toString('base64')}`;
    const cases: readonly (readonly [path: string, headers: Record<string, string>, status: number])[] = [
      ['/eureka/apps', {}, 401],
      ['/eureka/apps', { authorization: basic('any:pass:word') }, 200],
      ['/eureka/apps', { authorization: basic('pass:word') }, 401],
      ['/eureka/apps', { authorization: basic('any:wrong') }, 401],
      ['/eureka/apps', { authorization: 'Basic !' }, 401],
      ['/eureka/apps', { authorization: 'Bearer pass:word' }, 200],
      ['/eureka/apps', { 'x-consul-token': 'pass:word' }, 401],
      ['/v1/agent/self', {}, 401],
      ['/v1/agent/self', { 'x-consul-token': 'pass:word' }, 200],
      ['/v1/agent/self', { 'x-consul-token': 'wrong' }, 401],
      ['/v1/agent/self', { authorization: 'Bearer pass:word' }, 200],
      ['/v1/agent/self', { authorization: basic('any:pass:word') }, 401],
      ['/v1/agent/self?token=pass:word', {}, 401],
      ['/v1/nothing', {}, 401],
      ['/services', { 'x-consul-token': 'pass:word' }, 401],
      ['/services', { authorization: basic('any:pass:word') }, 401],
      ['/eurekas', { authorization: basic('any:pass:word') }, 401],
    ];
    for (const [path, headers, status] of cases) {
      expect((await call('GET', path, { headers })).status, `${path} ${JSON.stringify(headers)}`).toBe(status);
    }
  });
});

describe('hostile bodies', () => {
  const targets = [
    ['POST', '/eureka/apps/PAY'],
    ['PUT', '/v1/agent/service/register'],
    ['PUT', '/v1/agent/check/update/x'],
  ] as const;

  it.each(targets)('%s %s bounds what it reads, and takes JSON only', async (method, path) => {
    const { call } = await openApi();
    const send = async (body: string, headers: Record<string, string> = json): Promise<number> =>
      (await call(method, path, { body, headers })).status;
    expect(await send(`{"a":"${'x'.repeat(70_000)}"}`)).toBe(413);
    expect(await send('{')).toBe(400);
    expect(await send('')).toBe(400);
    expect(await send('\ud800'.repeat(3))).toBe(400);
    expect(await send('null')).toBe(400);
    expect(await send('['.repeat(30_000))).toBe(400);
    expect(await send(`{"a":${'['.repeat(20_000)}${']'.repeat(20_000)}}`)).toBe(400);
    expect(await send(`{"Connect":${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)}}`)).toBeGreaterThanOrEqual(400);
    expect(await send('{}', { ...json, 'content-encoding': 'gzip' })).toBe(415);
  });

  /** Objects that begin as what clients send, with anything at all in some places. */
  const spoiled = (from: object): fc.Arbitrary<unknown> => {
    const paths = Object.keys(from);
    const odd = fc.oneof(fc.jsonValue({ maxDepth: 3 }), fc.constantFrom('__proto__', '\u0000', 'a/b', -1, 1e308, 0.5));
    const changes = fc.dictionary(fc.oneof(fc.constantFrom(...paths), fc.string()), odd, { maxKeys: 4 });
    return changes.map((part) => ({ ...from, ...part }));
  };

  it('make a registration that survives the log, or errors that name fields', () => {
    const consul = spoiled({ ...consulBody, Checks: [{ TCP: '10.0.0.8:80', Interval: '5s' }], Meta: { a: 'b' } });
    const eureka = spoiled({ ...eurekaBody.instance, securePort: 443, dataCenterInfo: { name: 'x' }, leaseInfo: {} });
    fc.assert(
      fc.property(fc.oneof(consul, fc.jsonValue()), (body) => {
        const parsed = parseService(body, '10.0.0.9', policy);
        if ('problem' in parsed) expect(parsed.problem.errors?.length).toBeGreaterThan(0);
        else {
          const text = encodeRecord({ kind: 'put', registration: parsed.registration, drop: [] });
          expect(JSON.stringify(decodeRecord(text))).toContain(JSON.stringify(parsed.registration.origin?.text));
        }
      }),
      { numRuns: 500 },
    );
    fc.assert(
      fc.property(
        fc.oneof(
          eureka.map((instance) => ({ instance })),
          fc.jsonValue(),
        ),
        (body) => {
          const parsed = parseInstance('PAY', body, policy);
          if ('errors' in parsed) expect(parsed.errors.length).toBeGreaterThan(0);
          else {
            const { registration } = parsed;
            const text = encodeRecord({ kind: 'put', registration, drop: [] });
            expect(decodeRecord(text)).toMatchObject({ registration: { origin: { id: registration.origin?.id } } });
            expect(policy.refuseHost(registration.instance.host, registration.instance.port)).toBeUndefined();
          }
        },
      ),
      { numRuns: 500 },
    );
  });

  it.each([
    ['eureka', 'no JSON'],
    ['eureka', '{}'],
    ['consul', 'null'],
    ['consul', '{"tags":[],"meta":[],"checks":{},"weights":{}}'],
    ['zookeeper', '{}'],
  ])('in a log cost the registration only what was said in %s: %s', (dialect, text) => {
    const put = { service: 'web', id: 'a', host: '10.0.0.1', port: 80, origin: { dialect, id: 'a', text } };
    const record = decodeRecord(JSON.stringify({ put }));
    expect(record).toMatchObject({ kind: 'put', registration: { instance: { id: 'a' } } });
    expect(record).not.toMatchObject({ registration: { origin: { id: 'a' } } });
  });

  it('cannot reach the prototype of anything, whatever they call their keys', async () => {
    const { call } = await openApi();
    const consul = `{"ID":"__proto__","Name":"web","Address":"10.0.0.1","Port":80,"Check":{"CheckID":"constructor","TTL":"10s"},"Meta":{"constructor":"x"}}`;
    expect((await call('PUT', '/v1/agent/service/register', { body: consul })).status).toBe(200);
    expect((await call('PUT', '/v1/agent/check/pass/constructor')).status).toBe(200);
    const services = (await call('GET', '/v1/agent/services')).body as object;
    expect(JSON.stringify(services)).toContain('"Meta":{"constructor":"x"}');
    const eureka = `{"instance":{"instanceId":"__proto__","hostName":"10.0.0.2","port":80,"metadata":{"toString":"x"}}}`;
    expect((await call('POST', '/eureka/apps/PAY', { headers: json, body: eureka })).status).toBe(204);
    expect((await call('GET', '/eureka/apps/PAY/__proto__', { headers: json })).body).toMatchObject({
      instance: { instanceId: '__proto__' },
    });
    expect((await call('POST', '/eureka/apps/__proto__', { headers: json, body: eureka })).status).toBe(400);
    expect(({} as Record<string, unknown>)['x']).toBeUndefined();
  });
});

describe('the client of Consul for Node', () => {
  it('registers, beats, watches and deregisters, unchanged', async () => {
    const { port } = await served({ token: 'secret' });
    const consul = new Consul({ host: '127.0.0.1', port, defaults: { token: 'secret' } });
    await consul.agent.service.register({
      name: 'node-app',
      id: 'node-app:1',
      port: 8001,
      tags: ['blue'],
      meta: { zone: 'z1' },
      check: { name: 'beat', ttl: '30s', deregistercriticalserviceafter: '1m' },
    });
    const seen: number[] = [];
    const watch = consul.watch({ method: consul.health.service, options: { service: 'node-app', passing: true } });
    watch.on('change', (data) => seen.push(data.length));
    onCleanup(() => watch.end());
    await vi.waitFor(() => expect(seen).toEqual([0]), 5000);
    await consul.agent.check.pass('service:node-app:1');
    await vi.waitFor(() => expect(seen.at(-1)).toBe(1), 5000);
    // Without an address of its own it is where it called from.
    const [found] = (await consul.catalog.service.nodes('node-app')) as {
      ServiceAddress: string;
      ServicePort: number;
    }[];
    expect(found).toMatchObject({ ServiceAddress: '127.0.0.1', ServicePort: 8001, ServiceTags: ['blue'] });
    expect(await consul.status.leader()).toBe('127.0.0.1:8300');
    await consul.agent.service.maintenance({ id: 'node-app:1', enable: true });
    await vi.waitFor(() => expect(seen.at(-1)).toBe(0), 5000);
    await consul.agent.service.deregister('node-app:1');
    expect(await consul.agent.service.list()).toEqual({});
    await expect(consul.kv.get('anything')).rejects.toThrow('not implemented');
  });
});
