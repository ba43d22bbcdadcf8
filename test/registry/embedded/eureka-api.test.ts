import { describe, expect, it } from 'vitest';
import { type Answer, type Api, errors, openApi, web } from './open-api.ts';

type Json = Readonly<Record<string, unknown>>;

/** As Spring Cloud's client sends it, recorded; with parts replaced. */
function spring(part: Json = {}): Json {
  return {
    instance: {
      instanceId: '10.0.0.7:payment:8080',
      app: 'PAYMENT',
      appGroupName: null,
      ipAddr: '10.0.0.7',
      sid: 'na',
      homePageUrl: 'http://10.0.0.7:8080/',
      statusPageUrl: 'http://10.0.0.7:8080/actuator/info',
      healthCheckUrl: 'http://10.0.0.7:8080/actuator/health',
      secureHealthCheckUrl: null,
      vipAddress: 'payment',
      secureVipAddress: 'payment',
      countryId: 1,
      dataCenterInfo: { '@class': 'com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo', name: 'MyOwn' },
      hostName: '10.0.0.7',
      status: 'UP',
      overriddenStatus: 'UNKNOWN',
      leaseInfo: {
        renewalIntervalInSecs: 30,
        durationInSecs: 90,
        registrationTimestamp: 0,
        lastRenewalTimestamp: 0,
        evictionTimestamp: 0,
        serviceUpTimestamp: 0,
      },
      isCoordinatingDiscoveryServer: false,
      metadata: { 'management.port': '8080', zone: 'eu-1', weight: '3' },
      lastUpdatedTimestamp: 1_750_000_000_000,
      lastDirtyTimestamp: 1_750_000_000_500,
      actionType: null,
      asgName: null,
      port: { $: 8080, '@enabled': 'true' },
      securePort: { $: 443, '@enabled': 'false' },
      ...part,
    },
  };
}

const JSON_HEADERS = { accept: 'application/json', 'content-type': 'application/json' };
const ID = '10.0.0.7:payment:8080';
const AT = `/eureka/apps/PAYMENT/${ID}`;

interface Eureka extends Api {
  readonly ask: (method: string, path: string, body?: unknown) => Promise<Answer>;
}

async function openEureka(...parameters: Parameters<typeof openApi>): Promise<Eureka> {
  const api = await openApi(...parameters);
  const ask: Eureka['ask'] = (method, path, body) =>
    api.call(method, path, {
      headers: JSON_HEADERS,
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
  return { ...api, ask };
}

function hash(answer: Answer): unknown {
  return (answer.body as { applications: { apps__hashcode: string } }).applications.apps__hashcode;
}

function items(answer: Answer): string[] {
  const { applications } = answer.body as {
    applications: { application: { name: string; instance: Record<string, unknown>[] }[] };
  };
  return applications.application.flatMap(({ name, instance }) =>
    instance.map(
      (each) => `${name} ${String(each['instanceId'])} ${String(each['status'])} ${String(each['actionType'])}`,
    ),
  );
}

describe('an instance that registers as with Eureka', () => {
  it('is an instance as any other, with what its metadata says', async () => {
    const { ask, registry } = await openEureka();
    expect((await ask('POST', '/eureka/apps/PAYMENT', spring())).status).toBe(204);
    const [entry] = [...(registry.services.get('payment')?.entries.values() ?? [])];
    expect(entry?.instance).toMatchObject({ host: '10.0.0.7', port: 8080, weight: 3, zone: 'eu-1', state: 'up' });
    expect(entry?.registration.ttlMs).toBe(90_000);
    expect(entry?.instance.id).toMatch(/^10\.0\.0\.7-payment-8080-[0-9a-f]{12}$/);
  });

  it('reads back what it wrote, by every path', async () => {
    const { ask } = await openEureka();
    await ask('POST', '/eureka/v2/apps/payment', spring());
    const wrote = spring()['instance'] as Json;
    for (const path of [AT, `/eureka/instances/${ID}`, `/eureka/v2/apps/payment/${encodeURIComponent(ID)}/`]) {
      const { instance } = (await ask('GET', path)).body as { instance: Json };
      for (const key of ['instanceId', 'app', 'ipAddr', 'hostName', 'vipAddress', 'homePageUrl', 'statusPageUrl']) {
        expect(instance[key], key).toEqual(wrote[key]);
      }
      for (const key of ['port', 'securePort', 'dataCenterInfo', 'metadata', 'sid', 'healthCheckUrl']) {
        expect(instance[key], key).toEqual(wrote[key]);
      }
      expect(instance).toMatchObject({
        status: 'UP',
        overriddenStatus: 'UNKNOWN',
        lastDirtyTimestamp: '1750000000500',
      });
      expect(instance['leaseInfo']).toMatchObject({ renewalIntervalInSecs: 30, durationInSecs: 90 });
    }
    for (const path of ['/eureka/apps', '/eureka/apps/', '/eureka/vips/payment', '/eureka/svips/payment']) {
      const answer = await ask('GET', path);
      expect(hash(answer), path).toBe('UP_1_');
      expect(items(answer)).toEqual([`PAYMENT ${ID} UP ADDED`]);
    }
    expect((await ask('GET', '/eureka/apps/Payment')).body).toMatchObject({ application: { name: 'PAYMENT' } });
    for (const path of ['/eureka/apps/OTHER', '/eureka/vips/other', '/eureka/instances/other', '/eureka/nothing']) {
      expect((await ask('GET', path)).status, path).toBe(404);
    }
  });

  it('is told of in XML unless JSON is asked for by name, as clients without an Accept header expect', async () => {
    const { ask, call } = await openEureka();
    const metadata = { note: '<a> & "b"\u0001', 'bad key': 'x' };
    await ask('POST', '/eureka/apps/PAYMENT', spring({ metadata }));
    for (const headers of [{}, { accept: '*/*' }, { accept: 'application/xml' }]) {
      const answer = await call('GET', '/eureka/apps', { headers });
      expect(answer.headers.get('content-type')).toBe('application/xml');
      const text = String(answer.body);
      expect(text).toContain('<apps__hashcode>UP_1_</apps__hashcode><application><name>PAYMENT</name><instance>');
      expect(text).toContain(`<instanceId>${ID}</instanceId>`);
      expect(text).toContain('<port enabled="true">8080</port>');
      expect(text).toContain('<overriddenstatus>UNKNOWN</overriddenstatus>');
      expect(text).toContain('<metadata><note>&lt;a&gt; &amp; &quot;b&quot;\ufffd</note></metadata>');
    }
    const one = await call('GET', AT, { headers: {} });
    expect(String(one.body)).toMatch(/^<instance><instanceId>.*<\/instance>$/);
  });

  it('goes down when it falls silent, is removed after three leases, and hears then that it must register again', async () => {
    const { ask, clock } = await openEureka();
    await ask('POST', '/eureka/apps/PAYMENT', spring({ leaseInfo: { durationInSecs: 10 } }));
    clock.advance(9000);
    expect((await ask('PUT', `${AT}?status=UP&lastDirtyTimestamp=1750000000500`)).status).toBe(200);
    clock.advance(9000);
    expect(hash(await ask('GET', '/eureka/apps'))).toBe('UP_1_');
    clock.advance(2000);
    expect(hash(await ask('GET', '/eureka/apps'))).toBe('DOWN_1_');
    expect((await ask('PUT', AT)).status).toBe(200);
    expect(hash(await ask('GET', '/eureka/apps'))).toBe('UP_1_');
    clock.advance(31_000);
    await Promise.resolve();
    const answer = await ask('PUT', AT);
    expect(answer.status).toBe(404);
    expect(answer.headers.get('content-type')).toBe('application/problem+json');
  });

  it('is asked to register again when it knows of a change that was never told', async () => {
    const { ask } = await openEureka();
    await ask('POST', '/eureka/apps/PAYMENT', spring());
    expect((await ask('PUT', `${AT}?lastDirtyTimestamp=1750000000501`)).status).toBe(404);
    expect((await ask('PUT', `${AT}?lastDirtyTimestamp=1750000000499`)).status).toBe(200);
    expect((await ask('PUT', `${AT}?lastDirtyTimestamp=nonsense`)).status).toBe(200);
  });

  it('deregisters once', async () => {
    const { ask, registry } = await openEureka();
    await ask('POST', '/eureka/apps/PAYMENT', spring());
    expect((await ask('DELETE', AT)).status).toBe(200);
    expect((await ask('DELETE', AT)).status).toBe(404);
    expect(registry.figures.instances).toBe(0);
  });

  it.each(['STARTING', 'DOWN', 'OUT_OF_SERVICE', 'UNKNOWN', 'whatever'])(
    'gets no traffic while it says %s',
    async (status) => {
      const { ask, registry } = await openEureka();
      await ask('POST', '/eureka/apps/PAYMENT', spring({ status }));
      const word = status === 'whatever' ? 'UNKNOWN' : status;
      const [entry] = [...(registry.services.get('payment')?.entries.values() ?? [])];
      expect(entry?.instance).toMatchObject({ state: 'down', stateReason: word });
      expect(hash(await ask('GET', '/eureka/apps'))).toBe(`${word}_1_`);
      await ask('POST', '/eureka/apps/PAYMENT', spring());
      expect(hash(await ask('GET', '/eureka/apps'))).toBe('UP_1_');
    },
  );
});

describe('an operator of Eureka', () => {
  it('takes an instance out, over heartbeats and registrations, until the override ends', async () => {
    const { ask, registry } = await openEureka();
    await ask('POST', '/eureka/apps/PAYMENT', spring());
    const state = (): unknown =>
      [...(registry.services.get('payment')?.entries.values() ?? [])].map((each) => each.instance);
    expect((await ask('PUT', `${AT}/status?value=OUT_OF_SERVICE`)).status).toBe(200);
    const out = [{ state: 'down', stateReason: 'OUT_OF_SERVICE (overridden)' }];
    expect(state()).toMatchObject(out);
    expect((await ask('PUT', AT)).status).toBe(200);
    await ask('POST', '/eureka/apps/PAYMENT', spring({ metadata: { version: '2' } }));
    expect(state()).toMatchObject(out);
    expect((await ask('GET', AT)).body).toMatchObject({
      instance: { status: 'OUT_OF_SERVICE', overriddenStatus: 'OUT_OF_SERVICE', metadata: { version: '2' } },
    });
    expect(hash(await ask('GET', '/eureka/apps'))).toBe('OUT_OF_SERVICE_1_');
    expect((await ask('DELETE', `${AT}/status?value=UP`)).status).toBe(200);
    expect(state()).toMatchObject([{ state: 'up', version: '2' }]);
  });

  it('does not revive what is down by its own word', async () => {
    const { ask } = await openEureka();
    await ask('POST', '/eureka/apps/PAYMENT', spring({ status: 'DOWN' }));
    await ask('PUT', `${AT}/status?value=UP`);
    expect(hash(await ask('GET', '/eureka/apps'))).toBe('DOWN_1_');
  });

  it('ends an override without a status, and the instance goes on with its own', async () => {
    const { ask } = await openEureka();
    await ask(
      'POST',
      '/eureka/apps/PAYMENT',
      spring({ overriddenstatus: 'OUT_OF_SERVICE', overriddenStatus: undefined }),
    );
    expect(hash(await ask('GET', '/eureka/apps'))).toBe('OUT_OF_SERVICE_1_');
    await ask('DELETE', `${AT}/status`);
    expect(hash(await ask('GET', '/eureka/apps'))).toBe('UP_1_');
  });

  it('changes metadata, and with it what metadata means', async () => {
    const { ask, registry } = await openEureka();
    await ask('POST', '/eureka/apps/PAYMENT', spring());
    expect((await ask('PUT', `${AT}/metadata?weight=7&color=blue`)).status).toBe(200);
    const [entry] = [...(registry.services.get('payment')?.entries.values() ?? [])];
    expect(entry?.instance.weight).toBe(7);
    expect(Object.fromEntries(entry?.instance.metadata ?? [])).toMatchObject({
      color: 'blue',
      zone: 'eu-1',
      weight: '7',
    });
    expect(errors(await ask('PUT', `${AT}/metadata?big=${'x'.repeat(4100)}`))).toEqual([
      'metadata: must be at most 4096 bytes, keys and values together',
    ]);
    expect((await ask('PUT', `${AT}/metadata?__proto__=x`)).status).toBe(400);
  });

  it('has no say over what was registered in another way', async () => {
    const { ask, post } = await openEureka();
    await post({ ...web, id: 'n' });
    expect((await ask('PUT', '/eureka/apps/WEB/n/status?value=OUT_OF_SERVICE')).status).toBe(409);
    expect((await ask('PUT', '/eureka/apps/WEB/n/metadata?a=b')).status).toBe(409);
    expect(errors(await ask('PUT', '/eureka/apps/WEB/n/status?value=GONE'))).toEqual([
      'value: must be UP, DOWN, STARTING, OUT_OF_SERVICE or UNKNOWN',
    ]);
  });
});

describe('the delta', () => {
  it('tells what came, changed and went, once each, with the hash of everything', async () => {
    const { ask, post, call, clock } = await openEureka();
    await post({ ...web, id: 'n' });
    await ask('GET', '/eureka/apps/delta');
    clock.advance(200_000);
    expect(items(await ask('GET', '/eureka/apps/delta'))).toEqual([]);
    await ask('POST', '/eureka/apps/PAYMENT', spring());
    await ask('POST', '/eureka/apps/PAYMENT', spring({ instanceId: 'b', port: { $: 81, '@enabled': true } }));
    await ask('PUT', `${AT}/status?value=OUT_OF_SERVICE`);
    await ask('DELETE', '/eureka/apps/PAYMENT/b');
    await call('PUT', '/heartbeat/n');
    const delta = await ask('GET', '/eureka/apps/delta');
    expect(items(delta)).toEqual([`PAYMENT ${ID} OUT_OF_SERVICE MODIFIED`, 'PAYMENT b UP DELETED']);
    expect(hash(delta)).toBe('OUT_OF_SERVICE_1_UP_1_');
    // Repeated for three minutes, so that clients that poll see it whenever they ask.
    clock.advance(80_000);
    expect(items(await ask('GET', '/eureka/apps/delta'))).toHaveLength(2);
    clock.advance(200_000);
    await ask('GET', '/eureka/apps/delta');
    clock.advance(181_000);
    expect(items(await ask('GET', '/eureka/apps/delta'))).not.toContain('PAYMENT b UP DELETED');
  });

  it('is refused when more has happened than is remembered, and clients fetch everything', async () => {
    const { ask } = await openEureka({}, { history: 3 });
    for (let at = 0; at < 5; at++) await ask('POST', '/eureka/apps/PAYMENT', spring({ metadata: { at } }));
    expect((await ask('GET', '/eureka/apps/delta')).status).toBe(403);
    expect(hash(await ask('GET', '/eureka/apps'))).toBe('UP_1_');
  });
});

describe('what Eureka’s clients vary', () => {
  it.each<[string, Json, Json]>([
    ['ports as numbers', { port: 8080, securePort: null }, { port: 8080, secure: false }],
    ['ports as texts', { port: { $: '8081', '@enabled': true } }, { port: 8081 }],
    [
      'only the secure port',
      { port: { $: 80, '@enabled': 'false' }, securePort: { $: 8443, '@enabled': 'true' } },
      { port: 8443, secure: true },
    ],
    ['a host name', { hostName: 'pay.internal' }, { host: 'pay.internal' }],
    ['a host name that is none', { hostName: 'my_host', ipAddr: '10.0.0.9' }, { host: '10.0.0.9' }],
    ['an empty metadata class', { metadata: { '@class': 'java.util.Collections$EmptyMap' } }, { zone: undefined }],
    ['metadata of numbers', { metadata: { weight: 5, on: true } }, { weight: 5 }],
    [
      'a zone of Amazon',
      {
        metadata: {},
        dataCenterInfo: { name: 'Amazon', '@class': 'x', metadata: { 'availability-zone': 'us-1a' } },
      },
      { zone: 'us-1a' },
    ],
    ['no instanceId', { instanceId: undefined, hostName: 'pay-1' }, { id: 'pay-1' }],
    ['no lease', { leaseInfo: undefined }, {}],
  ])('%s', async (_, part, wanted) => {
    const { ask, registry } = await openEureka();
    const answer = await ask('POST', '/eureka/apps/PAYMENT', spring(part));
    expect(answer.status, JSON.stringify(answer.body)).toBe(204);
    const [entry] = [...(registry.services.get('payment')?.entries.values() ?? [])];
    expect(entry?.instance).toMatchObject(wanted);
    expect(entry?.registration.ttlMs).toBe(90_000);
  });

  it.each<[string, unknown, string[]]>([
    ['no instance', {}, ['instance: must be an object, as in {"instance": {"hostName": …}}']],
    ['a list', [], ['instance: must be an object, as in {"instance": {"hostName": …}}']],
    ['another application', spring({ app: 'OTHER' }), ['instance.app: must be the one of the path']],
    [
      'a port of 0',
      spring({ port: { $: 0, '@enabled': 'true' } }),
      ['instance.port: must be a port, as in {"$": 8080, "@enabled": "true"}'],
    ],
    [
      'a port of 70000',
      spring({ port: 70_000 }),
      ['instance.port: must be a port, as in {"$": 8080, "@enabled": "true"}'],
    ],
    [
      'no port',
      spring({ port: { $: 1, '@enabled': 'false' } }),
      ['instance: neither its port nor its secure port is enabled'],
    ],
    [
      'a lease of a day and more',
      spring({ leaseInfo: { durationInSecs: 86_401 } }),
      ['instance.leaseInfo.durationInSecs: must be a whole number of seconds from 1 to 86400'],
    ],
    [
      'a host of nonsense',
      spring({ hostName: 'a b', ipAddr: 'c/d' }),
      ['instance: neither hostName nor ipAddr is an address: "a b"'],
    ],
    ['metadata of objects', spring({ metadata: { a: {} } }), ['instance.metadata: must be an object of texts']],
    [
      'a link-local host',
      spring({ hostName: '169.254.169.254' }),
      ['instance.hostName: is refused: 169.254.169.254 is a link-local address'],
    ],
    [
      'our own listener',
      spring({ hostName: '127.0.0.1', port: 8761 }),
      [
        'instance.hostName: is refused: 127.0.0.1 port 8761 is a listener of this gateway: its traffic would come back to itself',
      ],
    ],
  ])('is refused with the field: %s', async (_, body, wanted) => {
    const { ask, registry } = await openEureka();
    const answer = await ask('POST', '/eureka/apps/PAYMENT', body);
    expect(answer.status).toBe(400);
    expect(errors(answer)).toEqual(wanted);
    expect(registry.figures.instances).toBe(0);
  });

  it('reads no XML, and says what to set', async () => {
    const { call } = await openEureka();
    const headers = { 'content-type': 'application/xml' };
    const answer = await call('POST', '/eureka/apps/PAYMENT', { headers, body: '<instance/>' });
    expect(answer.status).toBe(415);
    expect(answer.body).toMatchObject({ detail: expect.stringContaining('JSON') as string });
  });

  it('says so where there is nothing of the kind', async () => {
    const { ask } = await openEureka();
    for (const [method, path] of [
      ['POST', '/eureka/peerreplication/batch'],
      ['PUT', '/eureka/asg/x/status'],
      ['GET', '/eureka/apps?regions=us-east-1'],
      ['GET', '/eureka/apps/delta?regions=us-east-1'],
    ] as const) {
      const answer = await ask(method, path);
      expect(answer.status, path).toBe(501);
      expect(answer.headers.get('content-type')).toBe('application/problem+json');
    }
    expect((await ask('PATCH', AT)).status).toBe(405);
    expect((await ask('POST', '/eureka/apps')).headers.get('allow')).toBe('GET');
  });
});
