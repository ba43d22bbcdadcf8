import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { seededRandom } from '../../../src/core/random.ts';
import { RegistryRefusal, type Interest } from '../../../src/registry/backend.ts';
import { ConsulBackend, type ConsulOptions } from '../../../src/registry/consul/consul-backend.ts';
import { RegistryUnreachable } from '../../../src/registry/network-fault.ts';
import { Observation } from '../../contract/observation.ts';
import { TestAuthority } from '../../servers/certificates.ts';
import { consulBinary, ConsulServer } from '../../servers/consul.ts';
import { until } from '../../servers/real-server.ts';
import { TcpProxy } from '../../servers/tcp-proxy.ts';

const WEB: Interest = { kind: 'services', names: new Set(['web']) };
const ALL: Interest = { kind: 'all' };
const watching: Observation[] = [];
const open: AsyncDisposable[] = [];

afterEach(async () => {
  await Promise.all(watching.splice(0).map((each) => each.stop()));
  for (const each of open.splice(0).reverse()) await each[Symbol.asyncDispose]();
});

function own<T extends AsyncDisposable>(made: T): T {
  open.push(made);
  return made;
}

function backend(addresses: readonly string[], more: Partial<ConsulOptions> = {}): ConsulBackend {
  const given = { clock: systemClock, random: seededRandom(1), onSkip: () => undefined };
  const deadlines = { connectMs: 1000, requestMs: 2000, heartbeatMs: 1000 };
  return new ConsulBackend({ name: 'main', addresses, ...given, ...deadlines, ...more });
}

function watch(source: ConsulBackend, interest: Interest = WEB): Observation {
  const observation = new Observation(source, interest);
  watching.push(observation);
  return observation;
}

async function ended(observation: Observation, withinMs = 8000): Promise<Error> {
  await observation.until('the end', () => observation.end !== undefined, withinMs);
  return observation.end?.error as Error;
}

const failure = (source: ConsulBackend, interest: Interest = WEB): Promise<Error> =>
  source.list(interest, AbortSignal.timeout(10_000)).then(
    () => new Error('it was let in'),
    (error: unknown) => error as Error,
  );

const states = (observation: Observation, service = 'web'): string =>
  observation
    .of(service)
    .map((each) => `${each.id} ${each.state} ${each.weight}`)
    .join();
const seen = (observation: Observation, wanted: string, service = 'web'): Promise<void> =>
  observation.until(wanted, () => states(observation, service) === wanted, 5000);

const absent = consulBinary === undefined;
if (absent) describe('consul', () => it.skip('no consul binary here: run .ci/install-consul.sh', () => undefined));

describe.skipIf(absent)('a real Consul', () => {
  let consul: ConsulServer;
  beforeAll(async () => {
    consul = await ConsulServer.start();
  });
  afterAll(() => consul[Symbol.asyncDispose]());
  afterEach(async () => {
    const services = (await consul.call('GET', '/v1/agent/services')) as Record<string, unknown>;
    for (const id of Object.keys(services)) await consul.deregister(id);
  });

  it('makes a warning a degraded state with its own weight, and maintenance a state that is down with its reason', async () => {
    const checks = [{ CheckID: 'load', Name: 'load', TTL: '1h', Status: 'passing' }];
    await consul.register({
      ID: 'a',
      Name: 'web',
      Address: '10.0.0.1',
      Port: 80,
      Weights: { Passing: 5, Warning: 2 },
      Checks: checks,
    });
    const observation = await watch(backend([consul.url])).synced(5000);
    expect(states(observation)).toBe('a up 5');
    await consul.call('PUT', '/v1/agent/check/warn/load?note=high');
    await seen(observation, 'a degraded 2');
    expect(observation.of('web')[0]?.stateReason).toBe('check "load" is warning: high');
    await consul.call('PUT', '/v1/agent/service/maintenance/a?enable=true&reason=upgrade');
    await seen(observation, 'a down 5');
    expect(observation.of('web')[0]?.stateReason).toBe('maintenance: upgrade');
    await consul.call('PUT', '/v1/agent/service/maintenance/a?enable=false');
    await consul.call('PUT', '/v1/agent/check/pass/load');
    await seen(observation, 'a up 5');
    await consul.call('PUT', '/v1/agent/maintenance?enable=true&reason=kernel');
    await seen(observation, 'a down 5');
    expect(observation.of('web')[0]?.stateReason).toBe('maintenance: kernel');
    await consul.call('PUT', '/v1/agent/maintenance?enable=false');
    await seen(observation, 'a up 5');
  });

  it('has the same default id on every node, so the node is the id then', async () => {
    await consul.register({ Name: 'web', Address: '10.0.0.1', Port: 80 });
    await consul.call('PUT', '/v1/catalog/register', {
      Node: 'node-two',
      Address: '10.0.0.2',
      Service: { Service: 'web', Port: 80 },
    });
    const observation = await watch(backend([consul.url])).synced(5000);
    expect(observation.of('web').map(({ id, host }) => [id, host])).toEqual([
      ['node-one', '10.0.0.1'],
      ['node-two', '10.0.0.2'],
    ]);
    await consul.call('PUT', '/v1/catalog/deregister', { Node: 'node-two' });
    await seen(observation, 'node-one up 1');
  });

  it('narrows by tags and by filter', async () => {
    await consul.register({ ID: 'a', Name: 'web', Address: '10.0.0.1', Port: 80, Tags: ['blue', 'eu'] });
    await consul.register({ ID: 'b', Name: 'web', Address: '10.0.0.2', Port: 81, Tags: ['blue'] });
    expect(states(await watch(backend([consul.url], { tags: ['blue', 'eu'] })).synced(5000))).toBe('a up 1');
    const filtered = await watch(backend([consul.url], { filter: 'Service.Port == 81' })).synced(5000);
    expect(states(filtered)).toBe('b up 1');
    await consul.register({ ID: 'c', Name: 'web', Address: '10.0.0.3', Port: 81 });
    await seen(filtered, 'b up 1,c up 1');
    const none = await watch(backend([consul.url], { tags: ['red'] }), ALL).synced(5000);
    expect(none.table.size).toBe(0);
    await consul.register({ ID: 'd', Name: 'web', Address: '10.0.0.4', Port: 80, Tags: ['red'] });
    await seen(none, 'd up 1');
  });

  it('refuses a filter, a datacenter and a namespace that it does not know, and the setting is named', async () => {
    for (const [more, setting] of [
      [{ filter: 'nonsense ===' }, 'check registries[].filter'],
      [{ datacenter: 'nowhere' }, 'check registries[].datacenter'],
      [{ namespace: 'team' }, 'check registries[].namespace'],
    ] as const) {
      const error = await failure(backend([consul.url], more));
      expect(error).toBeInstanceOf(RegistryRefusal);
      expect(error.message).toContain(setting);
    }
  });

  it('follows a catalog as services come and go, and more of them than may hold connections', async () => {
    const observation = await watch(backend([consul.url], { maxWatches: 3, pollsPerSecond: 200 }), ALL).synced(5000);
    const names = Array.from({ length: 10 }, (_, at) => `s${at}`);
    await consul.apply(names.map((name) => ({ ID: name, Name: name, Address: '10.0.0.1', Port: 80 })));
    await observation.until('all ten', () => observation.table.size === 10, 10_000);
    await consul.apply(names.map((name) => ({ ID: name, Name: name, Address: '10.0.0.2', Port: 81 })));
    const moved = (): boolean => names.every((name) => observation.of(name)[0]?.port === 81);
    await observation.until('the change of all, held or not', moved, 10_000);
    await consul.apply(names.map((name) => ({ deregister: name })));
    await observation.until('none', () => observation.table.size === 0, 10_000);
    await consul.register({ ID: 's3', Name: 's3', Address: '10.0.0.1', Port: 80 });
    await observation.until('one again', () => observation.of('s3').length === 1, 10_000);
    expect([observation.end, observation.violations]).toEqual([undefined, []]);
  });

  it('breaks connections beyond its limit, and the message names the limit and the setting', async () => {
    const small = own(await ConsulServer.start({ config: { limits: { http_max_conns_per_client: 10 } } }));
    const names = Array.from({ length: 20 }, (_, at) => `s${at}`);
    for (const name of names) await small.register({ ID: name, Name: name, Address: '10.0.0.1', Port: 80 });
    const interest: Interest = { kind: 'services', names: new Set(names) };
    const error = await ended(watch(backend([small.url]), interest), 15_000);
    expect(error).toBeInstanceOf(RegistryUnreachable);
    expect(error.message).toContain(
      'raise its limits.http_max_conns_per_client, or name fewer in registries[].services',
    );
  });

  it('behind a black hole is given up after a heartbeat and its deadline, and reached again when it heals', async () => {
    const proxy = own(await TcpProxy.to(consul.port));
    await consul.register({ ID: 'a', Name: 'web', Address: '10.0.0.1', Port: 80 });
    const source = backend([`http://127.0.0.1:${proxy.port}`], { heartbeatMs: 300, requestMs: 500 });
    const observation = await watch(source).synced(5000);
    proxy.blackHole();
    expect((await ended(observation)).message).toContain('no answer within 500 ms: it hangs or is cut off');
    expect(states(observation)).toBe('a up 1');
    proxy.heal();
    await seen(watch(source), 'a up 1');
  });

  it('delivers registrations quickly (figures are printed, not judged)', async () => {
    const source = backend([consul.url]);
    const arrivals = new Map<number, number>();
    const controller = new AbortController();
    let isSynced = false;
    const reading = (async () => {
      for await (const event of source.watch(WEB, controller.signal)) {
        if (event.kind === 'synced') isSynced = true;
        else if (event.kind === 'reset' || event.kind === 'upsert')
          for (const each of event.kind === 'reset' ? event.instances : [event.instance])
            if (!arrivals.has(each.port)) arrivals.set(each.port, performance.now());
      }
    })();
    await until('the watch', () => isSynced);
    const [sent, written] = [new Map<number, number>(), new Map<number, number>()];
    // No more than a loop's burst: after it, changes of one service are slowed to ten a second.
    for (let port = 1; port <= 45; port += 1) {
      sent.set(port, performance.now());
      await consul.register({ ID: 'a', Name: 'web', Address: '10.0.0.1', Port: port });
      written.set(port, performance.now());
      await until('its arrival', () => arrivals.has(port));
    }
    controller.abort();
    await reading;
    const spread = (since: Map<number, number>): string => {
      const times = [...arrivals].map(([port, atMs]) => atMs - (since.get(port) ?? Number.NaN)).sort((a, b) => a - b);
      return [0.5, 0.99, 1].map((share) => (times[Math.ceil(share * times.length) - 1] ?? 0).toFixed(1)).join(' / ');
    };
    console.log(
      `consul: register sent → event, p50 / p99 / max ms: ${spread(sent)}; acknowledged → event: ${spread(written)}`,
    );
    expect(arrivals.size).toBe(45);
  });
});

describe.skipIf(absent)('a Consul with access control', () => {
  let consul: ConsulServer;
  beforeAll(async () => {
    consul = await ConsulServer.start({ acl: true });
    await consul.register({ ID: 'a', Name: 'web', Address: '10.0.0.1', Port: 80 });
  });
  afterAll(() => consul[Symbol.asyncDispose]());
  const readAll = 'service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }';

  it('is followed with the least that the documentation asks for, one service or all', async () => {
    const token = await consul.token('all', readAll);
    expect(states(await watch(backend([consul.url], { token }), ALL).synced(5000))).toBe('a up 1');
    const one = await consul.token('one', 'service "web" { policy = "read" } node_prefix "" { policy = "read" }');
    expect(states(await watch(backend([consul.url], { token: one })).synced(5000))).toBe('a up 1');
    expect(states(await watch(backend([consul.url], { token: one }), ALL).synced(5000))).toBe('a up 1');
  });

  it('lets services be empty that really are', async () => {
    const token = await consul.token('empty', readAll);
    const nobody: Interest = { kind: 'services', names: new Set(['nobody']) };
    const observation = await watch(backend([consul.url], { token }), nobody).synced(5000);
    expect(observation.counts.absent).toBe(1);
  });

  it('answers 200 and nothing to those who may not look: that is a refusal, not an empty service', async () => {
    const noNodes = await consul.token('no-nodes', 'service_prefix "" { policy = "read" }');
    const other = await consul.token('other', 'service "pay" { policy = "read" } node_prefix "" { policy = "read" }');
    for (const [token, interest, message] of [
      ['00000000-0000-4000-8000-00000000000f', WEB, 'ACL not found; check registries[].token'],
      [undefined, WEB, 'hides service web from us'],
      [undefined, ALL, 'shows us no service at all without a token: set registries[].token'],
      [other, WEB, 'hides service web from us'],
      [noNodes, WEB, 'lists service web, but hides its nodes from us'],
      [noNodes, ALL, 'but hides its nodes from us'],
    ] as const) {
      const error = await failure(backend([consul.url], { token }), interest);
      expect(error).toBeInstanceOf(RegistryRefusal);
      expect(error.message).toContain(message);
    }
  });

  it('ends a watch whose token is taken away, and the table is not emptied', async () => {
    const token = await consul.token('revoked', readAll);
    const observation = await watch(backend([consul.url], { token })).synced(5000);
    const self = (await consul.call('GET', '/v1/acl/tokens')) as {
      AccessorID: string;
      Policies?: { Name: string }[];
    }[];
    const mine = self.find((each) => each.Policies?.some((policy) => policy.Name === 'revoked'));
    await consul.call('DELETE', `/v1/acl/token/${mine?.AccessorID ?? ''}`);
    // The next change of the service makes Consul look at the token again.
    await consul.register({ ID: 'a', Name: 'web', Address: '10.0.0.1', Port: 81 });
    const error = await ended(observation);
    expect(error).toBeInstanceOf(RegistryRefusal);
    expect(error.message).toContain('ACL not found; check registries[].token');
    expect([observation.counts.absent, states(observation)]).toEqual([0, 'a up 1']);
    expect(await failure(backend([consul.url], { token }))).toBeInstanceOf(RegistryRefusal);
  });
});

describe.skipIf(absent)('a Consul behind TLS', () => {
  let authority: TestAuthority;
  let stranger: TestAuthority;
  let consul: ConsulServer;
  beforeAll(async () => {
    authority = new TestAuthority();
    stranger = new TestAuthority('stranger');
    consul = await ConsulServer.start({ authority });
    await consul.register({ ID: 'a', Name: 'web', Address: '10.0.0.1', Port: 80 });
  });
  afterAll(async () => {
    await consul[Symbol.asyncDispose]();
    authority[Symbol.dispose]();
    stranger[Symbol.dispose]();
  });

  it('is followed with a client certificate', async () => {
    const { cert, key } = authority.issue('client');
    const tls = (): Promise<object> => Promise.resolve({ ca: authority.ca.cert, cert, key });
    const observation = await watch(backend([consul.url], { tls })).synced(5000);
    await consul.register({ ID: 'b', Name: 'web', Address: '10.0.0.2', Port: 80 });
    await seen(observation, 'a up 1,b up 1');
  });

  it('says which setting is missing or wrong', async () => {
    const ours = authority.issue('ours');
    const theirs = stranger.issue('theirs');
    const ca = authority.ca.cert;
    for (const [tls, advice] of [
      [{ cert: ours.cert, key: ours.key }, 'set registries[].tls.ca'],
      [{ ca, cert: ours.cert, key: ours.key, serverName: 'other.internal' }, 'registries[].tls.serverName'],
      [{ ca }, 'check registries[].tls.cert and .key'],
      [{ ca, cert: theirs.cert, key: theirs.key }, 'check registries[].tls.cert and .key'],
    ] as const) {
      expect((await failure(backend([consul.url], { tls: () => Promise.resolve(tls) }))).message).toContain(advice);
    }
    expect((await failure(backend([consul.url.replace('https:', 'http:')]))).message).toContain(
      'check registries[].address',
    );
  });
});

describe.skipIf(absent)('a Consul cluster of three', () => {
  it('is followed through the death of its leader without an empty moment', async () => {
    const servers = await ConsulServer.startCluster(3);
    servers.forEach((each) => open.push(each));
    const leader = (await servers[0]!.call('GET', '/v1/status/leader')) as string;
    const peers = (await servers[0]!.call('GET', '/v1/operator/raft/configuration')) as {
      Servers: { Node: string; Address: string }[];
    };
    const leaderAt = Number(peers.Servers.find((each) => each.Address === leader)?.Node.split('-')[1]);
    const [asked, other] = servers.filter((_, at) => at !== leaderAt);
    await asked!.register({ ID: 'a', Name: 'web', Address: '10.0.0.1', Port: 80 });
    const source = backend([asked!.url], { requestMs: 5000 });
    const absences: number[] = [];
    let observation = await watch(source).synced(10_000);
    await servers[leaderAt]!.server.kill();
    // As `follow` would: whenever a watch is lost, another begins.
    const endMs = performance.now() + 8000;
    while (performance.now() < endMs) {
      await Promise.race([observation.ended, pause(250)]);
      if (!observation.end) continue;
      absences.push(observation.counts.absent);
      expect(observation.end.error).toBeInstanceOf(RegistryUnreachable);
      observation = watch(source);
    }
    await observation.synced(10_000);
    expect(states(observation)).toBe('a up 1');
    expect([...absences, observation.counts.absent].every((count) => count === 0)).toBe(true);
    await asked!.register({ ID: 'b', Name: 'web', Address: '10.0.0.2', Port: 80 });
    await seen(observation, 'a up 1,b up 1');
    expect(await other!.call('GET', '/v1/status/leader')).not.toBe(leader);
  }, 60_000);
});
