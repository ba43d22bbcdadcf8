import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ManualClock, systemClock } from '../../../src/core/clock.ts';
import { seededRandom } from '../../../src/core/random.ts';
import { RegistryRefusal, type Interest } from '../../../src/registry/backend.ts';
import { EurekaBackend, type EurekaOptions } from '../../../src/registry/eureka/eureka-backend.ts';
import { Observation } from '../../contract/observation.ts';
import { EurekaFixture, type EurekaInstance } from '../../servers/eureka-fixture.ts';
import { until } from '../../servers/real-server.ts';

const ALL: Interest = { kind: 'all' };
const watching: Observation[] = [];
let eureka: EurekaFixture;
let other: EurekaFixture;

beforeEach(async () => {
  eureka = await EurekaFixture.start();
  other = await EurekaFixture.start();
});
afterEach(async () => {
  await Promise.all(watching.splice(0).map((each) => each.stop()));
  await eureka[Symbol.asyncDispose]();
  await other[Symbol.asyncDispose]();
});

function backend(more: Partial<EurekaOptions> = {}): EurekaBackend {
  return new EurekaBackend({
    name: 'main',
    urls: [eureka.url],
    useSecurePort: false,
    pollIntervalMs: 20,
    connectMs: 1000,
    requestMs: 1000,
    clock: systemClock,
    random: seededRandom(1),
    onSkip: () => undefined,
    ...more,
  });
}

function watch(source: EurekaBackend, interest: Interest = ALL): Observation {
  const observation = new Observation(source, interest);
  watching.push(observation);
  return observation;
}

async function ended(observation: Observation): Promise<Error> {
  await observation.until('the end', () => observation.end !== undefined, 5000);
  return observation.end?.error as Error;
}

const up = (app: string, instanceId: string, more: Partial<EurekaInstance> = {}): EurekaInstance => ({
  app,
  instanceId,
  hostName: '10.0.0.1',
  status: 'UP',
  ...more,
});
const ids = (observation: Observation, service = 'web'): string =>
  observation
    .of(service)
    .map(({ id }) => id)
    .sort()
    .join();
const seen = (observation: Observation, wanted: string, service = 'web'): Promise<void> =>
  observation.until(wanted, () => ids(observation, service) === wanted, 5000);
const fulls = (fixture = eureka): number => fixture.requests.filter((path) => path === '/eureka/apps/').length;
const rounds = async (observation: Observation, count: number): Promise<void> => {
  const wanted = observation.counts.synced + count;
  await observation.until(`${count} rounds`, () => observation.counts.synced >= wanted, 5000);
};

describe('deltas of Eureka', () => {
  it('are applied without asking for everything again, however often they are repeated', async () => {
    eureka.put(up('WEB', 'a'));
    const observation = await watch(backend()).synced(5000);
    eureka.put(up('WEB', 'b'));
    eureka.put(up('PAY', 'a', { status: 'STARTING' }));
    await seen(observation, 'a,b');
    eureka.remove('WEB', 'a');
    await seen(observation, 'b');
    await rounds(observation, 5);
    expect(fulls()).toBe(1);
    expect(observation.counts).toMatchObject({ reset: 2, upsert: 1, remove: 1, absent: 0 });
  });

  it('whose hash does not match are followed by everything', async () => {
    eureka.put(up('WEB', 'a'));
    eureka.put(up('WEB', 'b'));
    const observation = await watch(backend()).synced(5000);
    eureka.putSilently(up('WEB', 'c', { status: 'DOWN' }));
    await seen(observation, 'a,b,c');
    expect(fulls()).toBe(2);
    await rounds(observation, 3);
    expect(fulls()).toBe(2);
  });

  it('that never match cost a full answer each, and nothing else', async () => {
    eureka.put(up('WEB', 'a'));
    const observation = await watch(backend()).synced(5000);
    eureka.wrongHash = 'UP_7_';
    await rounds(observation, 3);
    expect(fulls()).toBeGreaterThanOrEqual(3);
    expect([ids(observation), observation.end, observation.counts.upsert]).toEqual(['a', undefined, 0]);
  });

  it('that are turned off (403) are done without', async () => {
    eureka.put(up('WEB', 'a'));
    eureka.refuse = { delta: 403 };
    const observation = await watch(backend()).synced(5000);
    eureka.put(up('WEB', 'b'));
    await seen(observation, 'a,b');
    eureka.remove('WEB', 'a');
    await seen(observation, 'b');
    expect(observation.end).toBeUndefined();
  });

  it('count every status in the hash, and those that are not wanted too', async () => {
    for (const status of ['UP', 'DOWN', 'STARTING', 'OUT_OF_SERVICE', 'UNKNOWN'])
      eureka.put(up('OTHER', status, { status }));
    eureka.put(up('WEB', 'a'));
    eureka.put(up('WEB', 'bad', { hostName: 'a b' }));
    const source = backend();
    const observation = await watch(source, { kind: 'services', names: new Set(['Web']) }).synced(5000);
    eureka.put(up('OTHER', 'more'));
    await rounds(observation, 3);
    expect(fulls()).toBe(1);
    expect(source.info().revision).toBe('DOWN_1_OUT_OF_SERVICE_1_STARTING_1_UNKNOWN_1_UP_4_');
    expect([...observation.table.keys()]).toEqual(['Web']);
    expect(ids(observation, 'Web')).toBe('a');
  });

  it('behind a response cache arrive when the cache says so, and are not mistaken for a loss meanwhile', async () => {
    eureka.cacheMs = 200;
    eureka.put(up('WEB', 'a'));
    const observation = await watch(backend()).synced(5000);
    eureka.put(up('WEB', 'b'));
    await seen(observation, 'a,b');
    eureka.remove('WEB', 'a');
    eureka.remove('WEB', 'b');
    await seen(observation, '');
    expect([observation.end, observation.violations]).toEqual([undefined, []]);
  });

  it('are proven by everything again every ten minutes', async () => {
    const clock = new ManualClock();
    eureka.put(up('WEB', 'a'));
    const observation = await watch(backend({ clock, pollIntervalMs: 5000 })).synced(5000);
    const pass = async (count: number): Promise<void> => {
      for (let round = 0; round < count; round += 1) {
        const before = observation.counts.synced;
        await until('it waits', () => clock.pending === 1);
        clock.advance(5500);
        await observation.until('a round', () => observation.counts.synced > before, 5000);
      }
    };
    await pass(100);
    expect(fulls()).toBe(1);
    await pass(12);
    expect(fulls()).toBe(2);
  });
});

describe('a Eureka that restarted empty', () => {
  it('is not believed while it answers 403, nor as long as it says nothing of what became of them', async () => {
    const clock = new ManualClock();
    const source = backend({ clock, pollIntervalMs: 5000 });
    eureka.put(up('WEB', 'a'));
    const first = await watch(source).synced(5000);
    eureka.forget();
    eureka.refuse = { full: 403, delta: 403 };
    await until('it waits', () => clock.pending === 1);
    clock.advance(6000);
    expect((await ended(first)).message).toContain('gives no list (403)');
    expect(ids(first)).toBe('a');
    eureka.refuse = {};
    expect((await ended(watch(source))).message).toContain('has forgotten all 1 registrations without a word');
    await expect(source.list(ALL, AbortSignal.timeout(5000))).rejects.toThrow('not believed for another 300 s');
    clock.advance(299_000);
    expect((await ended(watch(source))).message).toContain('not believed for another 1 s');
    clock.advance(1001);
    expect(ids(await watch(source).synced(5000))).toBe('');
  });

  it('is believed as soon as one has registered again, and when it says itself that all are gone', async () => {
    const source = backend();
    eureka.put(up('WEB', 'a'));
    const first = await watch(source).synced(5000);
    eureka.forget();
    await ended(first);
    eureka.put(up('WEB', 'b'));
    const second = await watch(source).synced(5000);
    expect(ids(second)).toBe('b');
    eureka.remove('WEB', 'b');
    await seen(second, '');
    expect((await source.list(ALL, AbortSignal.timeout(5000))).size).toBe(0);
  });

  it('gives way to another server that remembers', async () => {
    for (const each of [eureka, other]) each.put(up('WEB', 'a'));
    const source = backend({ urls: [eureka.url, other.url] });
    const observation = await watch(source).synced(5000);
    eureka.forget();
    await until('the other one', () => fulls(other) > 0);
    await rounds(observation, 2);
    expect([ids(observation), observation.end]).toEqual(['a', undefined]);
    expect(source.info().endpoint).toBe(other.url);
  });
});

describe('several Eureka servers', () => {
  it('fail over with everything from the other one, never half of each', async () => {
    eureka.put(up('WEB', 'a'));
    other.put(up('WEB', 'a'));
    other.put(up('WEB', 'b'));
    const observation = await watch(backend({ urls: [eureka.url, other.url] })).synced(5000);
    await eureka.stop();
    await seen(observation, 'a,b');
    expect([observation.end, fulls(other)]).toEqual([undefined, 1]);
  });

  it('are all named when none of them works', async () => {
    eureka.refuse = { full: 503 };
    await other.stop();
    const { message } = await ended(watch(backend({ urls: [eureka.url, other.url] })));
    expect(message).toContain('none of its endpoints works');
    expect(message).toContain(`${eureka.url}: answered that it cannot serve (503)`);
    expect(message).toContain(`${other.url}: connection refused`);
  });
});

describe('answers of Eureka', () => {
  const table = async (application: unknown, more: Partial<EurekaOptions> = {}) => {
    const skips: string[] = [];
    eureka.body = JSON.stringify({ applications: { versions__delta: 1, apps__hashcode: 'x', application } });
    const source = backend({ ...more, onSkip: ({ service, id, why }) => skips.push(`${service}/${id}: ${why}`) });
    return { skips, listed: await source.list(ALL, AbortSignal.timeout(5000)) };
  };
  const one = (more: Record<string, unknown>) => ({
    name: 'WEB',
    instance: { instanceId: 'a', hostName: '10.0.0.1', status: 'UP', port: { $: 80 }, ...more },
  });

  it.each([
    ['lists of one as an object', {}, { id: 'a', host: '10.0.0.1', port: 80, secure: false, state: 'up' }],
    ['ports as texts', { port: { $: '8080', '@enabled': 'true' } }, { port: 8080 }],
    ['ports as numbers', { port: 8080 }, { port: 8080 }],
    [
      'secure ports that are not asked for',
      { port: { $: 80, '@enabled': 'true' }, securePort: { $: 443, '@enabled': 'true' } },
      { port: 80, secure: false },
    ],
    [
      'secure ports where there is no other',
      { port: { $: 80, '@enabled': 'false' }, securePort: { $: 443, '@enabled': true } },
      { port: 443, secure: true },
    ],
    ['DOWN', { status: 'DOWN' }, { state: 'down', stateReason: 'DOWN' }],
    ['STARTING', { status: 'STARTING' }, { state: 'down', stateReason: 'STARTING' }],
    ['OUT_OF_SERVICE', { status: 'OUT_OF_SERVICE' }, { state: 'down', stateReason: 'OUT_OF_SERVICE' }],
    ['statuses it does not have', { status: 'FINE' }, { state: 'down', stateReason: 'UNKNOWN' }],
    [
      'overrides',
      { overriddenStatus: 'OUT_OF_SERVICE' },
      { state: 'down', stateReason: 'OUT_OF_SERVICE (overridden)' },
    ],
    ['overrides as they were spelled once', { overriddenstatus: 'DOWN' }, { state: 'down' }],
    ['overrides that say nothing', { overriddenStatus: 'UNKNOWN' }, { state: 'up' }],
    [
      'zone, weight and version',
      { metadata: { zone: 'z', weight: '3', version: '2' } },
      { zone: 'z', weight: 3, version: '2' },
    ],
    ['zones of Amazon', { dataCenterInfo: { metadata: { 'availability-zone': 'us-1a' } } }, { zone: 'us-1a' }],
    ['ids that are no names', { instanceId: '10.0.0.1:8080' }, { id: '10.0.0.1-8080' }],
    ['hosts that are none', { hostName: 'my_container', ipAddr: '10.0.0.9' }, { host: '10.0.0.9' }],
    ['empty metadata', { metadata: { '@class': 'java.util.Collections$EmptyMap' } }, { metadata: new Map() }],
  ])('are understood: %s', async (_, more, wanted) => {
    const { listed, skips } = await table(one(more));
    expect(skips).toEqual([]);
    expect(listed.get('web')).toMatchObject([wanted]);
  });

  it.each([
    ['no application', undefined],
    ['null', null],
    ['empty text', ''],
  ])('may be empty: %s', async (_, application) => {
    expect((await table(application)).listed.size).toBe(0);
  });

  it('take the secure port where it is asked for, and leave out other zones', async () => {
    const both = { port: { $: 80, '@enabled': 'true' }, securePort: { $: 443, '@enabled': 'true' } };
    const { listed } = await table([one({ ...both, metadata: { zone: 'a' } })], { useSecurePort: true, zone: 'a' });
    expect(listed.get('web')).toMatchObject([{ port: 443, secure: true }]);
    expect((await table([one(both)], { zone: 'a' })).listed.get('web')).toEqual([]);
  });

  it('are sorted out where they are nonsense, and the rest is kept', async () => {
    const { listed, skips } = await table([
      one({}),
      {
        name: 'PAY',
        instance: [
          { instanceId: 'x', hostName: 'a b', port: 80 },
          { instanceId: 'y', hostName: 'h', port: { $: '99999' } },
        ],
      },
      { name: '../etc', instance: [{ instanceId: 'x', hostName: 'h', port: 80 }] },
      { instance: [{}, 7, null, 'text'] },
      7,
    ]);
    expect([...listed.keys()]).toEqual(['web', 'pay']);
    expect(listed.get('pay')).toEqual([]);
    expect(skips.join('\n')).toMatch(/pay\/x: neither hostName[^]*pay\/y: port[^]*have no name or no id[^]*\.\.\/etc/);
  });

  it.each([
    ['not JSON', '<html>', 'not JSON'],
    ['other JSON', '[]', 'not a list of applications'],
    ['too large', ' '.repeat(2000), 'larger than 1000 bytes'],
  ])('that are %s are a loss', async (_, body, text) => {
    eureka.body = body;
    const { message } = await ended(watch(backend({ maxBodyBytes: 1000 })));
    expect(message).toContain(text);
    expect(message).toContain(`registry "main" at ${eureka.url}`);
  });

  it('are asked for with the name and password of the address, which no message repeats', async () => {
    eureka.refuse = { full: 401 };
    const urls = [eureka.url.replace('http://', 'http://me:s%40cret@')];
    const error = await ended(watch(backend({ urls })));
    expect(error).toBeInstanceOf(RegistryRefusal);
    expect(error.message).toContain('write user and password into registries[].urls');
    expect(error.message).not.toContain('s%40cret');
    expect([...eureka.authorizations]).toEqual([`Basic ${Buffer.from('me:s@cret').toString('base64')}`]);
  });

  it('do not come from a path that is no Eureka’s', async () => {
    const error = await ended(watch(backend({ urls: [eureka.url.replace('/eureka', '')] })));
    expect(error).toBeInstanceOf(RegistryRefusal);
    expect(error.message).toContain('they end in /eureka for Spring’s server, in /eureka/v2 for Netflix’s');
  });
});
