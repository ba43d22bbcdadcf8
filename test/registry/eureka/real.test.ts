import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { seededRandom } from '../../../src/core/random.ts';
import type { Interest } from '../../../src/registry/backend.ts';
import { EurekaBackend, type EurekaOptions } from '../../../src/registry/eureka/eureka-backend.ts';
import { Observation } from '../../contract/observation.ts';
import { eurekaJar, EurekaServer } from '../../servers/eureka.ts';
import { until } from '../../servers/real-server.ts';
import { TcpProxy } from '../../servers/tcp-proxy.ts';

const ALL: Interest = { kind: 'all' };
const watching: Observation[] = [];
const absent = eurekaJar === undefined;

afterEach(async () => {
  await Promise.all(watching.splice(0).map((each) => each.stop()));
});

const lacking = absent ? ' (cannot be had: .ci/build-eureka.sh needs a JDK, Maven and its repository)' : '';

describe.skipIf(absent)(`a real Eureka${lacking}`, () => {
  let eureka: EurekaServer;
  beforeAll(async () => {
    // As Netflix's does by default: no list for a while after a start without peers.
    eureka = await EurekaServer.start({
      'eureka.instance.registry.default-open-for-traffic-count': 0,
      'eureka.server.wait-time-in-ms-when-sync-empty': 10_000,
      'eureka.server.use-read-only-response-cache': 'true',
      'eureka.server.response-cache-update-interval-ms': 300,
    });
  }, 90_000);
  afterAll(() => eureka[Symbol.asyncDispose]());

  const backend = (more: Partial<EurekaOptions> = {}): EurekaBackend =>
    new EurekaBackend({
      name: 'main',
      urls: [eureka.url],
      useSecurePort: false,
      pollIntervalMs: 100,
      connectMs: 1000,
      requestMs: 1000,
      clock: systemClock,
      random: seededRandom(1),
      onSkip: () => undefined,
      ...more,
    });
  const watch = (source: EurekaBackend, interest: Interest = ALL): Observation => {
    const observation = new Observation(source, interest);
    watching.push(observation);
    return observation;
  };
  const ended = async (observation: Observation): Promise<Error> => {
    await observation.until('the end', () => observation.end !== undefined, 8000);
    return observation.end?.error as Error;
  };
  const registration = (app: string, instanceId: string, more: Record<string, unknown> = {}) => ({
    instanceId,
    app,
    hostName: '10.0.0.1',
    ipAddr: '10.0.0.1',
    status: 'UP',
    port: { $: 80, '@enabled': 'true' },
    dataCenterInfo: { '@class': 'com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo', name: 'MyOwn' },
    ...more,
  });
  const states = (observation: Observation, service: string): string =>
    observation
      .of(service)
      .map(({ id, state, stateReason }) => `${id} ${stateReason ?? state}`)
      .sort()
      .join();
  const seen = (observation: Observation, service: string, wanted: string): Promise<void> =>
    observation.until(wanted, () => states(observation, service) === wanted, 15_000);

  it('that has just started without peers gives no list: lost, not empty', async () => {
    expect((await ended(watch(backend()))).message).toContain('gives no list (403): it has started without');
    let open = watch(backend());
    await until('it opens', () => {
      if (open.end) open = watch(backend());
      return open.counts.synced > 0;
    });
  }, 40_000);

  it('is followed through registrations, overrides and departures behind its response cache', async () => {
    await eureka.register(registration('shop', 'a'));
    await until('the cache', async () => (await backend().list(ALL, AbortSignal.timeout(2000))).has('shop'));
    const source = backend();
    const observation = await watch(source).synced(5000);
    expect(states(observation, 'shop')).toBe('a up');
    await eureka.register(registration('shop', 'b', { status: 'STARTING' }));
    await seen(observation, 'shop', 'a up,b STARTING');
    await eureka.call('PUT', 'apps/SHOP/a/status?value=OUT_OF_SERVICE');
    await seen(observation, 'shop', 'a OUT_OF_SERVICE,b STARTING');
    await eureka.call('DELETE', 'apps/SHOP/a/status?value=UP');
    await seen(observation, 'shop', 'a up,b STARTING');
    await eureka.call('DELETE', 'apps/SHOP/b');
    await eureka.call('DELETE', 'apps/SHOP/a');
    await seen(observation, 'shop', '');
    await until('the revision of nothing', () => source.info().revision === '');
    expect([observation.end, observation.violations]).toEqual([undefined, []]);
  }, 40_000);

  it('drops what stops renewing its lease', async () => {
    const observation = await watch(backend()).synced(5000);
    await eureka.register(registration('brief', 'a', { leaseInfo: { renewalIntervalInSecs: 1, durationInSecs: 1 } }));
    await seen(observation, 'brief', 'a up');
    await seen(observation, 'brief', '');
    expect(observation.end).toBeUndefined();
  }, 40_000);

  it('has the hash that we compute, over every status', async () => {
    const names = ['UP', 'DOWN', 'STARTING', 'OUT_OF_SERVICE', 'UNKNOWN'];
    for (const status of names) await eureka.register(registration('many', status, { status }));
    const source = backend();
    await until('all of them', async () => {
      const listed = await source.list(ALL, AbortSignal.timeout(2000));
      return listed.get('many')?.length === 5;
    });
    const observation = await watch(source).synced(5000);
    const answer = await fetch(`${eureka.url}/apps/delta`, { headers: { accept: 'application/json' } });
    const { applications } = (await answer.json()) as { applications: { apps__hashcode: string } };
    expect(source.info().revision).toBe(applications.apps__hashcode);
    expect(states(observation, 'many')).toBe(
      'DOWN DOWN,OUT_OF_SERVICE OUT_OF_SERVICE,STARTING STARTING,UNKNOWN UNKNOWN,UP up',
    );
    for (const status of names) await eureka.call('DELETE', `apps/MANY/${status}`);
    await seen(observation, 'many', '');
  }, 40_000);

  it('behind a black hole, or stopped by SIGSTOP, is given up within its deadline, and reached again', async () => {
    const proxy = await TcpProxy.to(eureka.port);
    const source = backend({ urls: [`http://127.0.0.1:${proxy.port}/eureka`] });
    const before = await watch(source).synced(5000);
    proxy.blackHole();
    expect((await ended(before)).message).toMatch(/no (answer|connection|data) within 1000 ms/);
    proxy.heal();
    const after = await watch(source).synced(5000);
    eureka.server.freeze();
    try {
      expect((await ended(after)).message).toMatch(/no (answer|connection|data) within 1000 ms/);
    } finally {
      eureka.server.thaw();
    }
    await watch(source).synced(5000);
    await Promise.all(watching.splice(0).map((each) => each.stop()));
    await proxy[Symbol.asyncDispose]();
  }, 40_000);

  it('delivers registrations within cache and interval (figures are printed, not judged)', async () => {
    const observation = await watch(backend()).synced(5000);
    const times: number[] = [];
    for (let index = 0; index < 20; index += 1) {
      const startMs = performance.now();
      await eureka.register(registration('timed', `i${index}`));
      await observation.until('it', () => observation.of('timed').length > index, 5000);
      times.push(performance.now() - startMs);
    }
    times.sort((a, b) => a - b);
    console.log(
      `eureka: register sent → event with a cache of 300 ms and polls of 100 ms, p50 / max ms: ${times[9]?.toFixed(0)} / ${times[19]?.toFixed(0)}`,
    );
    expect(observation.end).toBeUndefined();
  }, 40_000);
});
