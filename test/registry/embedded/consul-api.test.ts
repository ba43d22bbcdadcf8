import { describe, expect, it, vi } from 'vitest';
import type { InstanceStatus } from '../../../src/registry/embedded/api/views.ts';
import { deregisterCritical } from '../../../src/registry/embedded/consul/critical.ts';
import { parseGoDuration } from '../../../src/registry/embedded/consul/given.ts';
import type { Entry } from '../../../src/registry/embedded/table.ts';
import { type Answer, type Api, errors, openApi, web } from './open-api.ts';

type Json = Readonly<Record<string, unknown>>;

const ttl = { TTL: '10s', DeregisterCriticalServiceAfter: '90s' };

function redis(part: Json = {}): Json {
  return { ID: 'redis:1', Name: 'redis', Address: '10.0.0.7', Port: 6379, Tags: ['primary', 'v1'], ...part };
}

interface Consul extends Api {
  readonly ask: (method: string, path: string, body?: unknown) => Promise<Answer>;
  /** Registers; fails where it was refused. */
  readonly add: (body?: Json) => Promise<void>;
  readonly entry: (service?: string) => Readonly<Entry>;
}

async function openConsul(...parameters: Parameters<typeof openApi>): Promise<Consul> {
  const api = await openApi(...parameters);
  const ask: Consul['ask'] = (method, path, body) =>
    api.call(method, `/v1${path}`, body === undefined ? {} : { body: JSON.stringify(body) });
  const add = async (body: Json = redis()): Promise<void> => {
    const answer = await ask('PUT', '/agent/service/register', body);
    expect(answer.status, JSON.stringify(answer.body)).toBe(200);
  };
  const entry = (service = 'redis'): Readonly<Entry> => {
    const [first] = [...(api.registry.services.get(service)?.entries.values() ?? [])];
    if (!first) throw new Error(`nobody is registered as ${service}`);
    return first;
  };
  return { ...api, ask, add, entry };
}

/** `id: check=status` of every instance in a health answer. */
function health(answer: Answer): string[] {
  const list = answer.body as { Service: { ID: string }; Checks: { CheckID: string; Status: string }[] }[];
  return list.map(({ Service, Checks }) => {
    const own = Checks.filter(({ CheckID }) => CheckID !== 'serfHealth');
    return `${Service.ID}: ${own.map((check) => `${check.CheckID}=${check.Status}`).join(' ')}`;
  });
}

describe('a service that registers as with an agent of Consul', () => {
  it('is an instance as any other', async () => {
    const { add, entry } = await openConsul();
    const Meta = { zone: 'eu-1', version: '1.2', team: 'x', scheme: 'https' };
    await add(redis({ Meta, Weights: { Passing: 5, Warning: 1 } }));
    expect(entry().instance).toMatchObject({ host: '10.0.0.7', port: 6379, weight: 5, zone: 'eu-1', version: '1.2' });
    expect(entry().instance).toMatchObject({ secure: true, state: 'up', checks: undefined });
    expect(entry().instance.id).toMatch(/^redis-1-[0-9a-f]{12}$/);
    expect(entry().registration.ttlMs).toBeUndefined();
  });

  it('is critical until its first pass, then what it says, and critical again when it falls silent', async () => {
    const { ask, add, entry, clock } = await openConsul();
    await add(redis({ Check: ttl }));
    const state = (): unknown => entry().instance.state;
    expect(state()).toBe('down');
    for (const [call, wanted, status] of [
      ['pass', 'up', 'passing'],
      ['warn', 'degraded', 'warning'],
      ['fail', 'down', 'critical'],
      ['pass', 'up', 'passing'],
    ] as const) {
      expect((await ask('PUT', `/agent/check/${call}/service:redis:1?note=so`)).status).toBe(200);
      expect(state(), call).toBe(wanted);
      expect(health(await ask('GET', '/health/service/redis'))).toEqual([`redis:1: service:redis:1=${status}`]);
    }
    clock.advance(9000);
    await ask('PUT', '/agent/check/update/service:redis:1', { Status: 'passing', Output: 'still' });
    clock.advance(9000);
    expect(state()).toBe('up');
    clock.advance(1500);
    expect(state()).toBe('down');
    expect(health(await ask('GET', '/health/service/redis?passing'))).toEqual([]);
    // Consul keeps it, however long it is silent: some of its clients never register again.
    clock.advance(3_600_000);
    expect(health(await ask('GET', '/health/service/redis'))).toEqual(['redis:1: service:redis:1=critical']);
    await ask('PUT', '/agent/check/pass/service:redis:1');
    expect(state()).toBe('up');
  });

  it('writes only what changes: heartbeats that say the same cost no disk', async () => {
    const { ask, add, registry } = await openConsul();
    await add(redis({ Check: { ...ttl, Status: 'passing' } }));
    const { index } = registry;
    for (let at = 0; at < 5; at++) await ask('PUT', `/agent/check/pass/service:redis:1?note=${at}`);
    expect(registry.index).toBe(index);
    await ask('PUT', '/agent/check/warn/service:redis:1');
    expect(registry.index).toBeGreaterThan(index);
  });

  it('keeps, when it registers again, what its check said last and its maintenance', async () => {
    const { ask, add, entry } = await openConsul();
    await add(redis({ Check: ttl }));
    await ask('PUT', '/agent/check/pass/service:redis:1');
    await ask('PUT', '/agent/service/maintenance/redis:1?enable=true&reason=disk%20swap');
    await add(redis({ Check: ttl, Port: 6380 }));
    expect(entry().instance).toMatchObject({ port: 6380, state: 'down', stateReason: 'maintenance: disk swap' });
    await ask('PUT', '/agent/service/maintenance/redis:1?enable=false');
    expect(entry().instance.state).toBe('up');
  });

  it('is not revived by an operator’s maintenance when it is silent', async () => {
    const { ask, add, entry, clock } = await openConsul();
    await add(redis({ Check: { ...ttl, Status: 'passing' } }));
    clock.advance(10_100);
    for (const enable of ['true', 'false']) await ask('PUT', `/agent/service/maintenance/redis:1?enable=${enable}`);
    expect(entry().instance.state).toBe('down');
  });

  it('tells the prober what its heartbeats say', async () => {
    const told: string[] = [];
    const onHeartbeat = (service: string, _: string, { status, output }: { status: string; output: string }): void =>
      void told.push(`${service} ${status} ${output}`);
    const { ask, add } = await openConsul({ onHeartbeat });
    await add(redis({ Check: ttl }));
    await ask('PUT', '/agent/check/pass/service:redis:1?note=a');
    await ask('PUT', '/agent/check/update/service:redis:1', { Status: 'critical', Output: 'b\nc' });
    expect(told).toEqual(['redis passing a', 'redis failing b c']);
  });

  it('is found by the id of its check, given or not, however many it has', async () => {
    const { ask, add, entry } = await openConsul();
    await add(
      redis({
        Checks: [
          { CheckID: 'my/check', ...ttl },
          { TCP: '10.0.0.7:6379', Interval: '5s' },
        ],
      }),
    );
    expect((await ask('PUT', '/agent/check/pass/my%2Fcheck')).status).toBe(200);
    expect(entry().instance.state).toBe('up');
    for (const id of ['service:redis:1', 'service:redis:1:2', 'other']) {
      expect((await ask('PUT', `/agent/check/pass/${id}`)).status, id).toBe(404);
    }
    await add(redis({ Checks: [ttl, { TCP: '10.0.0.7:6379', Interval: '5s' }] }));
    expect((await ask('PUT', '/agent/check/pass/my%2Fcheck')).status).toBe(404);
    expect((await ask('PUT', '/agent/check/pass/service:redis:1:1')).status).toBe(200);
    expect(Object.keys((await ask('GET', '/agent/checks')).body as object)).toEqual([
      'service:redis:1:1',
      'service:redis:1:2',
    ]);
  });

  it('moves with its id to another name, and is deregistered by it', async () => {
    const { ask, add, registry } = await openConsul();
    await add();
    await add(redis({ Name: 'cache' }));
    expect([...registry.services.values()].map(({ name, entries }) => `${name} ${entries.size}`)).toEqual([
      'redis 0',
      'cache 1',
    ]);
    expect((await ask('PUT', '/agent/service/deregister/redis:1')).status).toBe(200);
    expect((await ask('PUT', '/agent/service/deregister/redis:1')).status).toBe(404);
  });

  it('does not take the id of an instance that was registered in another way', async () => {
    const { ask, post } = await openConsul();
    await post({ ...web, id: 'mine' });
    const answer = await ask('PUT', '/agent/service/register', redis({ ID: 'mine' }));
    expect(answer.status).toBe(409);
    expect(errors(answer)).toEqual([
      'ID: belongs to an instance of web, which was registered in another way: choose another',
    ]);
  });
});

describe('checks that Consul would carry out', () => {
  it.each<[string, Json, unknown]>([
    [
      'HTTP',
      {
        HTTP: 'http://10.0.0.7:8080/health?deep=1',
        Interval: '5s',
        Timeout: '500ms',
        Method: 'HEAD',
        Header: { 'X-A': ['b'] },
      },
      {
        type: 'http',
        port: 8080,
        path: '/health?deep=1',
        method: 'HEAD',
        headers: [['X-A', 'b']],
        statuses: [[200, 299]],
        intervalMs: 5000,
        timeoutMs: 500,
      },
    ],
    [
      'HTTPS',
      {
        HTTP: 'https://10.0.0.7/h',
        Interval: '1m30s',
        TLSSkipVerify: true,
        SuccessBeforePassing: 2,
        FailuresBeforeCritical: 4,
      },
      {
        type: 'https',
        port: 443,
        path: '/h',
        method: 'GET',
        headers: [],
        statuses: [[200, 299]],
        verifyTls: false,
        intervalMs: 90_000,
        healthyThreshold: 2,
        unhealthyThreshold: 4,
      },
    ],
    [
      'HTTP on loopback, where an agent beside it would look',
      { HTTP: 'http://localhost:8080/', Interval: '5s' },
      { type: 'http', port: 8080, path: '/', method: 'GET', headers: [], statuses: [[200, 299]], intervalMs: 5000 },
    ],
    ['TCP', { TCP: '10.0.0.7:6379', Interval: '5s' }, { type: 'tcp', port: 6379, intervalMs: 5000 }],
    [
      'gRPC',
      { GRPC: '127.0.0.1:9000/my.Service', GRPCUseTLS: true, Interval: 5_000_000_000 },
      { type: 'grpc', port: 9000, grpcService: 'my.Service', tls: true, verifyTls: true, intervalMs: 5000 },
    ],
    [
      'in the spelling of its configuration files',
      { tcp: '10.0.0.7:6379', interval: '5s', deregister_critical_service_after: '2m' },
      { type: 'tcp', port: 6379, intervalMs: 5000 },
    ],
  ])('%s: the gateway carries it out', async (_, Check, override) => {
    const { add, entry } = await openConsul();
    await add(redis({ Check }));
    expect(entry().instance.checks).toEqual([override]);
    expect(entry().instance.state).toBe('up');
  });

  it('have the result that the gateway found', async () => {
    let word: InstanceStatus = { status: 'starting', healthy: false, reason: undefined };
    const { ask, add, entry, registry } = await openConsul({ statusOf: () => word });
    await add(redis({ Check: { TCP: '10.0.0.7:6379', Interval: '5s' } }));
    const index = (await ask('GET', '/health/service/redis')).headers.get('x-consul-index');
    expect(health(await ask('GET', '/health/service/redis'))).toEqual(['redis:1: service:redis:1=critical']);
    const waiting = ask('GET', `/health/service/redis?passing&wait=1m&index=${index}`);
    await new Promise(setImmediate);
    word = { status: 'up', healthy: true, reason: undefined };
    registry.statusChanged(entry().instance);
    expect(health(await waiting)).toEqual(['redis:1: service:redis:1=passing']);
    word = { status: 'ejected', healthy: false, reason: undefined };
    expect(health(await ask('GET', '/health/service/redis?passing=1'))).toEqual(['redis:1: service:redis:1=passing']);
    word = { status: 'failing', healthy: false, reason: undefined };
    expect(health(await ask('GET', '/health/service/redis?passing=true'))).toEqual([]);
    expect(health(await ask('GET', '/health/service/redis?passing=false'))).toHaveLength(1);
  });

  it('that stay critical deregister the service after as long as it asked for, and not before', async () => {
    const { ask, add, registry, clock, lines } = await openConsul({}, { dataDir: undefined });
    await add(redis({ Check: { ...ttl, Status: 'passing' } }));
    await add(redis({ ID: 'patient', Port: 1, Check: { TTL: '10s' } }));
    void deregisterCritical({
      registry,
      clock,
      statusOf: undefined,
      log: (level, message) => lines.push({ level, message, fields: {} }),
    });
    const advance = async (seconds: number): Promise<void> => {
      for (let at = 0; at < seconds; at += 5) {
        clock.advance(5000);
        for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate);
      }
    };
    await advance(80);
    await ask('PUT', '/agent/check/pass/service:redis:1');
    await advance(95);
    expect(registry.figures.instances).toBe(2);
    await advance(60);
    expect([...registry.services.values()].flatMap(({ entries }) => [...entries.keys()])).toEqual(['patient']);
    expect(lines).toMatchObject([{ level: 'info', message: 'deregistered: critical for as long as it had asked for' }]);
  });
});

describe('what a client of Consul reads', () => {
  it('is everything that is registered, in whichever way', async () => {
    const { ask, add, post, call } = await openConsul();
    await add(redis({ Meta: { a: 'b' } }));
    await post({ ...web, id: 'n', zone: 'z', weight: 2.4, metadata: { k: 'v' } });
    await call('POST', '/eureka/apps/PAY', {
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ instance: { instanceId: 'h:pay:1', hostName: '10.0.0.9', port: 1 } }),
    });
    expect((await ask('GET', '/catalog/services')).body).toEqual({
      consul: [],
      redis: ['primary', 'v1'],
      web: [],
      pay: [],
    });
    const services = (await ask('GET', '/agent/services')).body as Record<string, Json>;
    expect(Object.values(services)).toMatchObject([
      { ID: 'redis:1', Service: 'redis', Tags: ['primary', 'v1'], Meta: { a: 'b' }, Address: '10.0.0.7', Port: 6379 },
      { ID: 'n', Service: 'web', Meta: { k: 'v', zone: 'z' }, Weights: { Passing: 2, Warning: 2 } },
      { Service: 'pay', Address: '10.0.0.9', Port: 1 },
    ]);
    expect((await ask('GET', '/agent/service/redis:1')).body).toMatchObject({ ID: 'redis:1', Datacenter: 'dc1' });
    expect((await ask('GET', '/catalog/service/redis')).body).toMatchObject([
      {
        Node: 'fairlead',
        ServiceID: 'redis:1',
        ServiceAddress: '10.0.0.7',
        ServicePort: 6379,
        ServiceTags: ['primary', 'v1'],
      },
    ]);
    expect(health(await ask('GET', '/health/service/web?passing'))).toEqual(['n: service:n=passing']);
    expect((await ask('PUT', '/agent/service/deregister/n')).status).toBe(200);
  });

  it('names services of other dialects apart where they share an id', async () => {
    const { ask, registry, post } = await openConsul();
    await post({ ...web, id: 'x' });
    const known = registry.find({ service: 'web', id: 'x' });
    await registry.register({
      instance: { ...known!.instance, service: 'api' },
      id: 'x',
      ttlMs: undefined,
      idScope: 'service',
    });
    expect(Object.keys((await ask('GET', '/agent/services')).body as object)).toEqual(['web/x', 'api/x']);
    expect((await ask('PUT', '/agent/service/deregister/api%2Fx')).status).toBe(200);
    expect(Object.keys((await ask('GET', '/agent/services')).body as object)).toEqual(['x']);
  });

  it('filters by tag, whatever its case', async () => {
    const { ask, add } = await openConsul();
    await add();
    await add(redis({ ID: 'b', Port: 1, Tags: ['Replica'] }));
    const ids = async (query: string): Promise<string[]> =>
      health(await ask('GET', `/health/service/redis?${query}`)).map((each) => each.split(': ')[0] ?? '');
    expect(await ids('tag=replica')).toEqual(['b']);
    expect(await ids('tag=primary&tag=v1')).toEqual(['redis:1']);
    expect(await ids('tag=primary&tag=replica')).toEqual([]);
    expect(await ids('')).toEqual(['redis:1', 'b']);
  });

  it('waits for a change of the service, and the catalog for one of any', async () => {
    const { ask, add, registry, entry } = await openConsul();
    await add();
    const start = async (path: string): Promise<{ readonly answer: Promise<Answer> }> => {
      const index = (await ask('GET', path)).headers.get('x-consul-index') ?? '';
      expect(Number(index)).toBeGreaterThan(0);
      return { answer: ask('GET', `${path}?index=${index}&wait=5m`) };
    };
    const one = await start('/health/service/redis');
    const other = await start('/health/service/other');
    const catalog = await start('/catalog/services');
    await vi.waitFor(() => expect(registry.figures.waiters).toBe(3));
    registry.statusChanged(entry().instance);
    expect(health(await one.answer)).toHaveLength(1);
    expect(registry.figures.waiters).toBe(2);
    await add(redis({ Name: 'other', ID: 'o' }));
    expect(health(await other.answer)).toHaveLength(1);
    expect((await catalog.answer).body).toHaveProperty('other');
  });

  it('ends a wait when its time is up, and does not wait for an index from the future', async () => {
    const { ask, add, clock } = await openConsul();
    await add();
    expect((await ask('GET', '/health/service/redis?index=18446744073709551615')).status).toBe(200);
    const waiting = ask('GET', '/health/service/redis?index=3&wait=10s');
    await new Promise(setImmediate);
    clock.advance(10_700);
    expect((await waiting).status).toBe(200);
    expect(errors(await ask('GET', '/health/service/redis?index=x'))).toEqual(['index: must be a whole number']);
    expect(errors(await ask('GET', '/health/service/redis?wait=60'))).toEqual([
      'wait: must be a duration such as "30s" or "5m"',
    ]);
  });

  it('says what clients ask at their start', async () => {
    const { ask } = await openConsul();
    expect((await ask('GET', '/agent/self')).body).toMatchObject({
      Config: { Datacenter: 'dc1', NodeName: 'fairlead' },
    });
    const leader = await ask('GET', '/status/leader');
    expect(leader.body).toBe('127.0.0.1:8300');
    expect(leader.headers.get('x-consul-knownleader')).toBe('true');
    expect((await ask('GET', '/catalog/datacenters')).body).toEqual(['dc1']);
  });
});

describe('what there is not', () => {
  it.each([
    ['PUT', '/kv/a'],
    ['GET', '/kv/a'],
    ['PUT', '/session/create'],
    ['PUT', '/catalog/register'],
    ['PUT', '/agent/check/register'],
    ['PUT', '/agent/maintenance?enable=true'],
    ['GET', '/health/state/any'],
    ['GET', '/health/service/redis?filter=Service.Port==1'],
    ['GET', '/health/service/redis?near=_agent'],
    ['GET', '/health/service/redis?dc=dc2'],
    ['GET', '/health/service/redis?ns=team'],
    ['GET', '/catalog/services?dc=dc2'],
    ['GET', '/agent/services?filter=x'],
    ['GET', '/agent/service/redis:1?hash=x'],
  ])('%s %s is answered with 501', async (method, path) => {
    const { ask, add } = await openConsul();
    await add();
    const answer = await ask(method, path);
    expect(answer.status).toBe(501);
    expect(answer.headers.get('content-type')).toBe('application/problem+json');
  });

  it.each<[string, Json, string]>([
    [
      'a script',
      { Check: { Args: ['/bin/sh'], Interval: '5s' } },
      'Check.Args: is not supported: the gateway runs no commands on behalf of those who register',
    ],
    [
      'an alias',
      { Checks: [{ AliasService: 'web' }] },
      'Checks.0.AliasService: is not supported: checks are TTL, HTTP, TCP and GRPC',
    ],
    [
      'a body',
      { Check: { HTTP: 'http://10.0.0.7/', Interval: '5s', Body: 'x' } },
      'Check.Body: is not supported by the checks of the gateway',
    ],
    ['two TTL checks', { Checks: [ttl, { ...ttl }] }, 'Checks: more than one TTL check of a service is not supported'],
    ['a proxy', { Kind: 'connect-proxy' }, 'Kind: is not supported: there is no service mesh'],
    ['a sidecar', { Connect: { SidecarService: { Port: 1 } } }, 'Connect: is not supported: there is no service mesh'],
    ['a namespace', { Namespace: 'team' }, 'Namespace: is not supported: there is one namespace, default'],
    [
      'more addresses',
      { TaggedAddresses: { lan: { Address: '10.0.0.1', Port: 1 } } },
      'TaggedAddresses: is not supported: an instance has one address',
    ],
  ])('%s in a registration too', async (_, part, wanted) => {
    const { ask, registry } = await openConsul();
    const answer = await ask('PUT', '/agent/service/register', redis(part));
    expect(errors(answer)).toContain(wanted);
    expect(answer.status).toBe(501);
    expect(registry.figures.instances).toBe(0);
  });

  it('takes no offence at what is there and empty, as typed languages send it', async () => {
    const { add } = await openConsul();
    const nothing = {
      Kind: '',
      Proxy: null,
      Connect: { Native: false, SidecarService: null },
      Namespace: '',
      Check: null,
    };
    await add(
      redis({ ...nothing, Checks: null, TaggedAddresses: {}, EnableTagOverride: false, Weights: null, Meta: null }),
    );
    await add(redis({ Check: { TTL: '', HTTP: '', Interval: '', Args: [], Header: {} } }));
  });
});

describe('what is refused, with the field', () => {
  it.each<[string, Json, string[]]>([
    ['no name', { Name: '' }, ['Name: is missing']],
    ['no port', { Port: 0 }, ['Port: is missing']],
    ['port 70000', { Port: 70_000 }, ['Port: must be a whole number from 1 to 65535']],
    ['no address', { Address: '' }, ['Address: must be an IP address or a host name']],
    ['a key of another world', { Prot: 1 }, ['Prot: is not known']],
    ['tags that are none', { Tags: [1] }, ['Tags: must be a list of at most 64 texts of at most 256 characters']],
    ['meta that is none', { Meta: { a: 1 } }, ['Meta: must be an object of texts']],
    [
      'a check of nothing',
      { Check: { Notes: 'x' } },
      ['Check.TTL: must be given, or one of HTTP, TCP and GRPC in its place, and only one'],
    ],
    [
      'a check of two kinds',
      { Check: { ...ttl, TCP: '10.0.0.7:1', Interval: '5s' } },
      ['Check.TTL: must be given, or one of HTTP, TCP and GRPC in its place, and only one'],
    ],
    [
      'no interval',
      { Check: { TCP: '10.0.0.7:1' } },
      ['Check.Interval: is missing: how often to check, such as "10s"'],
    ],
    [
      'a probe of another host',
      { Check: { TCP: '10.0.0.8:22', Interval: '5s' } },
      ['Check.TCP: must be at the host of the service itself, 10.0.0.7, as checks go nowhere else'],
    ],
    [
      'a probe that changes things',
      { Check: { HTTP: 'http://10.0.0.7/', Method: 'POST', Interval: '5s' } },
      ['Check.Method: must be GET, HEAD or OPTIONS'],
    ],
    [
      'a probe with credentials',
      { Check: { HTTP: 'http://a:b@10.0.0.7/', Interval: '5s' } },
      ['Check.HTTP: must be a URL such as http://10.0.0.7:8080/health'],
    ],
    [
      'a header that frames',
      { Check: { HTTP: 'http://10.0.0.7/', Header: { 'Content-Length': ['1'] }, Interval: '5s' } },
      ['Check.Header: must be lists of printable texts by name, at most 16, and none that the probe sets itself'],
    ],
    [
      'a ttl of ages',
      { Check: { TTL: '48h' } },
      ['Check.TTL: must be a duration such as "10s", from 1000ms to 86400000ms'],
    ],
    [
      'the same check twice',
      {
        Checks: [
          { CheckID: 'a', ...ttl },
          { CheckID: 'a', TCP: '10.0.0.7:1', Interval: '5s' },
        ],
      },
      ['Checks: must not have the same CheckID twice'],
    ],
    [
      'a link-local address',
      { Address: '169.254.169.254' },
      ['Address: is refused: 169.254.169.254 is a link-local address'],
    ],
    [
      'a probe of our own listener',
      { Address: '127.0.0.1', Check: { TCP: '127.0.0.1:8761', Interval: '5s' } },
      ['Checks: is refused: 127.0.0.1 port 8761 is a listener of this gateway: its traffic would come back to itself'],
    ],
  ])('%s', async (_, part, wanted) => {
    const { ask, registry } = await openConsul();
    const answer = await ask('PUT', '/agent/service/register', redis(part));
    expect(answer.status).toBe(400);
    expect(errors(answer)).toEqual(wanted);
    expect(registry.figures.instances).toBe(0);
  });

  it('a status that is none, and a switch that is neither on nor off', async () => {
    const { ask, add } = await openConsul();
    await add(redis({ Check: ttl }));
    expect(errors(await ask('PUT', '/agent/check/update/service:redis:1', { Status: 'fine' }))).toEqual([
      'Status: must be passing, warning or critical',
    ]);
    expect(errors(await ask('PUT', '/agent/service/maintenance/redis:1'))).toEqual(['enable: must be true or false']);
    expect((await ask('PUT', '/agent/service/maintenance/other?enable=true')).status).toBe(404);
    expect((await ask('POST', '/agent/service/register', redis())).headers.get('allow')).toBe('PUT');
  });
});

describe('Go’s durations', () => {
  it.each<[string, number | undefined]>([
    ['10s', 10_000],
    ['1m30s', 90_000],
    ['1.5h', 5_400_000],
    ['250ms', 250],
    ['1500us', 1.5],
    ['0', 0],
    ['10', undefined],
    ['', undefined],
    ['-1s', undefined],
    ['1s1', undefined],
    ['1 s', undefined],
  ])('%s', (text, wantedMs) => {
    expect(parseGoDuration(text)).toBe(wantedMs);
  });
});
