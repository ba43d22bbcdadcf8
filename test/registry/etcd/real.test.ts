import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { RegistryRefusal, type Interest } from '../../../src/registry/backend.ts';
import { EtcdBackend, type EtcdOptions } from '../../../src/registry/etcd/etcd-backend.ts';
import { EtcdSession } from '../../../src/registry/etcd/session.ts';
import { Observation } from '../../contract/observation.ts';
import { TestAuthority } from '../../servers/certificates.ts';
import { etcdBinary, EtcdCluster, EtcdServer } from '../../servers/etcd.ts';
import { freePorts, until } from '../../servers/real-server.ts';
import { TcpProxy } from '../../servers/tcp-proxy.ts';

const ALL: Interest = { kind: 'all' };
const PREFIX = '/services/';
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

function backend(endpoints: readonly string[], more: Partial<EtcdOptions> = {}): EtcdBackend {
  const deadlines = { connectMs: 1000, requestMs: 2000, heartbeatMs: 1000 };
  return new EtcdBackend({
    name: 'main',
    endpoints,
    prefix: PREFIX,
    clock: systemClock,
    onSkip: () => undefined,
    ...deadlines,
    ...more,
  });
}

function watch(source: EtcdBackend, interest = ALL): Observation {
  const observation = new Observation(source, interest);
  watching.push(observation);
  return observation;
}

async function ended(observation: Observation, withinMs = 8000): Promise<Error> {
  await observation.until('the end', () => observation.end !== undefined, withinMs);
  return observation.end?.error as Error;
}

const ids = (observation: Observation, service = 'web'): string =>
  observation
    .of(service)
    .map((each) => each.id)
    .sort()
    .join();
const seen = (observation: Observation, wanted: string, service = 'web', withinMs = 5000): Promise<void> =>
  observation.until(wanted, () => ids(observation, service) === wanted, withinMs);
const failure = (source: EtcdBackend): Promise<Error> =>
  source.list(ALL, AbortSignal.timeout(10_000)).then(
    () => new Error('it was let in'),
    (error: unknown) => error as Error,
  );

const absent = etcdBinary === undefined;
if (absent) describe('etcd', () => it.skip('no etcd binary here: install etcd-server', () => undefined));

describe.skipIf(absent)('a real etcd', () => {
  let etcd: EtcdServer;
  beforeAll(async () => {
    etcd = await EtcdServer.start();
  });
  afterAll(() => etcd[Symbol.asyncDispose]());
  afterEach(async () => {
    await etcd.gateway('kv/deleterange', { key: 'AA==', range_end: 'AA==' });
  });

  it('compacted while nobody was connected: what changed meanwhile is found, and what went is gone', async () => {
    const proxy = own(await TcpProxy.to(etcd.port));
    const source = backend([`http://127.0.0.1:${proxy.port}`]);
    await etcd.put(`${PREFIX}web/a`, '10.0.0.1:80');
    await etcd.put(`${PREFIX}pay/a`, '10.0.0.2:80');
    const before = await watch(source).synced(5000);
    proxy.blackHole();
    await ended(before);
    await etcd.put(`${PREFIX}web/b`, '10.0.0.3:80');
    await etcd.delete(`${PREFIX}pay/a`);
    await etcd.compact(await etcd.revision());
    await etcd.put(`${PREFIX}web/c`, '10.0.0.4:80');
    proxy.heal();
    const after = await watch(source).synced(5000);
    expect([ids(after), ids(after, 'pay')]).toEqual(['a,b,c', '']);
    await etcd.put(`${PREFIX}web/d`, '10.0.0.5:80');
    await seen(after, 'a,b,c,d');
  });

  it('tells a watch from a compacted revision so, and the session calls it Compacted', async () => {
    const revision = await etcd.revision();
    await etcd.put(`${PREFIX}web/a`, '10.0.0.1:80');
    await etcd.compact(revision + 1);
    const options = {
      registry: 'main',
      addressSetting: 'endpoints',
      prefix: PREFIX,
      username: undefined,
      password: undefined,
    };
    const limits = { connectMs: 1000, requestMs: 1000, pageKeys: 500, maxKeys: 1000, clock: systemClock };
    const session = await EtcdSession.open(
      etcd.url,
      undefined,
      { ...options, ...limits },
      new AbortController().signal,
    );
    const range = { from: Buffer.from(PREFIX), to: Buffer.from('/services0') };
    await expect(session.watch([range], BigInt(revision)).then((replies) => replies.next())).rejects.toThrow(
      'compacted the history',
    );
    session.close();
  });

  it('compacted under a reader that is slow: the same watch lists again and nothing is missing', async () => {
    const proxy = own(await TcpProxy.to(etcd.port));
    await etcd.put(`${PREFIX}web/first`, '10.0.0.1:80');
    const observation = await watch(
      backend([`http://127.0.0.1:${proxy.port}`], { requestMs: 20_000, heartbeatMs: 60_000 }),
    ).synced(5000);
    await until('the first heartbeat', () => observation.counts.synced > 1);
    proxy.pause();
    // More than all buffers in between hold, so that the server still owes us events when it forgets them.
    const padding = 'x'.repeat(1_000_000);
    for (let at = 0; at < 12; at += 1) await etcd.put(`${PREFIX}big/a`, padding);
    const many = Array.from({ length: 3000 }, (_, at) => ({
      key: `${PREFIX}many/i${at % 100}`,
      value: `10.0.0.9:${1 + at}`,
    }));
    await etcd.write(many);
    await etcd.put(`${PREFIX}web/second`, '10.0.0.2:80');
    await etcd.delete(`${PREFIX}web/first`);
    await etcd.compact(await etcd.revision());
    const resets = observation.counts.reset;
    const upserts = observation.counts.upsert;
    proxy.resume();
    await seen(observation, 'second', 'web', 30_000);
    expect(observation.counts.reset).toBeGreaterThan(resets);
    expect(observation.of('many').map((each) => each.port)).toHaveLength(100);
    // Not all of the 3,000 came one by one: the rest is in the lists.
    expect(observation.counts.upsert - upserts).toBeLessThan(2000);
    expect([observation.end, observation.violations]).toEqual([undefined, []]);
    await etcd.put(`${PREFIX}web/third`, '10.0.0.3:80');
    await seen(observation, 'second,third');
  }, 60_000);

  it('read in pages holds the same table as read at once', async () => {
    const pairs = Array.from(
      { length: 500 },
      (_, at) => [`${PREFIX}s${at % 7}/i${at}`, `10.0.${at >> 8}.${at & 255}:80`] as const,
    );
    await etcd.fill(pairs);
    const [paged, whole] = await Promise.all(
      [7, 500].map((pageKeys) => backend([etcd.url], { pageKeys }).list(ALL, AbortSignal.timeout(10_000))),
    );
    expect([...(paged?.values() ?? [])].flat()).toHaveLength(500);
    expect(paged).toEqual(whole);
  });

  it('holds all three layouts side by side, and an instance may move from one to another', async () => {
    await etcd.put(`${PREFIX}web/own`, { host: '10.0.0.1', port: 80, weight: 2, zone: 'z' });
    await etcd.put(`${PREFIX}web/10.0.0.2:80`, { Op: 0, Addr: '10.0.0.2:80', Metadata: { team: 'pay' } });
    await etcd.put(`${PREFIX}web/bare`, '10.0.0.3:80');
    const observation = await watch(backend([etcd.url])).synced(5000);
    expect(ids(observation)).toBe('10.0.0.2-80,bare,own');
    await etcd.put(`${PREFIX}web/bare`, { host: '10.0.0.4', port: 80 });
    await observation.until(
      'the new layout',
      () => observation.of('web').some((each) => each.host === '10.0.0.4'),
      5000,
    );
    await etcd.delete(`${PREFIX}web/10.0.0.2:80`);
    await seen(observation, 'bare,own');
  });

  it('takes instances away whose lease runs out', async () => {
    const lease = (await etcd.gateway('lease/grant', { TTL: 1 })) as { ID: string };
    const key = Buffer.from(`${PREFIX}web/leased`).toString('base64');
    const value = Buffer.from('10.0.0.1:80').toString('base64');
    await etcd.gateway('kv/put', { key, value, lease: lease.ID });
    const observation = await watch(backend([etcd.url])).synced(5000);
    expect(ids(observation)).toBe('leased');
    await seen(observation, '');
  });

  it('behind a black hole is given up after a heartbeat and its deadline, and reached again when it heals', async () => {
    const proxy = own(await TcpProxy.to(etcd.port));
    await etcd.put(`${PREFIX}web/a`, '10.0.0.1:80');
    const source = backend([`http://127.0.0.1:${proxy.port}`], { heartbeatMs: 300, requestMs: 500 });
    const observation = await watch(source).synced(5000);
    proxy.blackHole();
    const startMs = performance.now();
    expect((await ended(observation)).message).toContain('no answer within 500 ms: it hangs or is cut off');
    expect(performance.now() - startMs).toBeLessThan(3000);
    expect(ids(observation)).toBe('a');
    expect((await failure(source)).message).toContain('no connection within 1000 ms');
    proxy.heal();
    await seen(watch(source), 'a');
  });

  it('is reached through the next endpoint when one is dead or a black hole', async () => {
    const [port] = await freePorts(1);
    const hole = own(await TcpProxy.to(etcd.port));
    hole.blackHole();
    const endpoints = [`http://127.0.0.1:${String(port)}`, `http://127.0.0.1:${hole.port}`, etcd.url];
    await etcd.put(`${PREFIX}web/a`, '10.0.0.1:80');
    const source = backend(endpoints, { connectMs: 300 });
    expect(ids(await watch(source).synced(5000))).toBe('a');
    expect(source.info().endpoint).toBe(etcd.url);
    await until('the leader', () => /^[0-9a-f]+$/.test(source.info().leader ?? ''));
  });

  it('that is something else says which address to check', async () => {
    const other = createServer((_, response) => response.end('hello'));
    other.listen(0, '127.0.0.1');
    await once(other, 'listening');
    const [port] = await freePorts(1);
    const advice = 'check registries[].endpoints';
    for (const url of [
      `http://127.0.0.1:${(other.address() as AddressInfo).port}`,
      `http://127.0.0.1:${String(port)}`,
    ]) {
      const { message } = await failure(backend([url]));
      expect(message).toContain(`registry "main" at ${url}`);
      expect(message).toContain(advice);
    }
    expect((await failure(backend([etcd.url.replace('http:', 'https:')]))).message).toContain('http:// or https://?');
    expect((await failure(backend(['127.0.0.1:2379']))).message).toContain(
      'write registries[].endpoints like http://host:port',
    );
    other.close();
  });

  it('delivers registrations quickly (figures are printed, not judged)', async () => {
    const source = backend([etcd.url]);
    const arrivals = new Map<string, number>();
    const controller = new AbortController();
    const reading = (async () => {
      for await (const event of source.watch(ALL, controller.signal)) {
        if (event.kind === 'upsert') arrivals.set(event.instance.id, performance.now());
        else if (event.kind === 'reset') for (const each of event.instances) arrivals.set(each.id, performance.now());
      }
    })();
    await until('the watch', () => source.info().leader !== undefined);
    const [written, sent] = [new Map<string, number>(), new Map<string, number>()];
    for (let at = 0; at < 200; at += 1) {
      sent.set(`i${at}`, performance.now());
      await etcd.put(`${PREFIX}web/i${at}`, '10.0.0.1:80');
      written.set(`i${at}`, performance.now());
    }
    await until('all of them', () => arrivals.size === 200);
    controller.abort();
    await reading;
    const spread = (since: Map<string, number>): string => {
      const times = [...arrivals].map(([id, atMs]) => atMs - (since.get(id) ?? Number.NaN)).sort((a, b) => a - b);
      return [0.5, 0.99, 1].map((share) => (times[Math.ceil(share * times.length) - 1] ?? 0).toFixed(1)).join(' / ');
    };
    console.log(
      `etcd: put sent → event, p50 / p99 / max ms: ${spread(sent)}; put acknowledged → event: ${spread(written)}`,
    );
    expect(arrivals.size).toBe(200);
  });
});

describe.skipIf(absent)('an etcd with authentication', () => {
  const user = { name: 'reader', password: 'right', role: 'discovery', readPrefix: PREFIX };
  const credentials = { username: 'reader', password: 'right' };
  let etcd: EtcdServer;
  beforeAll(async () => {
    etcd = await EtcdServer.start({ extraArguments: ['--auth-token-ttl', '1'] });
    await etcd.put(`${PREFIX}web/a`, '10.0.0.1:80');
    await etcd.enableAuth(user);
  });
  afterAll(() => etcd[Symbol.asyncDispose]());

  it('is followed over the life of many tokens', async () => {
    // Tokens live 1 s after their last use: every heartbeat finds its own expired.
    const observation = await watch(backend([etcd.url], { ...credentials, heartbeatMs: 2500 })).synced(5000);
    const heartbeats = observation.counts.synced;
    await observation.until('two renewals', () => observation.counts.synced >= heartbeats + 3, 12_000);
    await etcd.login();
    await etcd.put(`${PREFIX}web/b`, '10.0.0.2:80');
    await seen(observation, 'a,b');
    expect(observation.end).toBeUndefined();
  });

  it('starts a watch with an expired token after authenticating again', async () => {
    const options = { registry: 'main', addressSetting: 'endpoints', prefix: PREFIX, ...credentials };
    const limits = { connectMs: 1000, requestMs: 1000, pageKeys: 500, maxKeys: 1000, clock: systemClock };
    const session = await EtcdSession.open(
      etcd.url,
      undefined,
      { ...options, ...limits },
      new AbortController().signal,
    );
    await pause(2500);
    const range = { from: Buffer.from(PREFIX), to: Buffer.from('/services0') };
    const replies = await session.watch([range], 1n);
    expect((await replies.next()).value?.events.length).toBeGreaterThan(0);
    session.close();
  });

  it.each([
    ['no credentials', {}, 'set registries[].username and registries[].password'],
    [
      'a wrong password',
      { username: 'reader', password: 'x' },
      'check registries[].username and registries[].password',
    ],
    ['an unknown user', { username: 'nobody', password: 'x' }, 'check registries[].username and registries[].password'],
    [
      'a prefix that the role does not cover',
      { ...credentials, prefix: '/other/' },
      'etcdctl role grant-permission <role> read --prefix /other/',
    ],
  ])('refuses %s and names the setting', async (_, more, advice) => {
    const error = await failure(backend([etcd.url], more));
    expect(error).toBeInstanceOf(RegistryRefusal);
    expect(error.message).toContain(advice);
  });

  it('lets a role that covers one service follow that service', async () => {
    await etcd.login();
    await etcd.etcdctl('role', 'add', 'narrow');
    await etcd.etcdctl('role', 'grant-permission', 'narrow', 'read', '--prefix', `${PREFIX}web/`);
    await etcd.etcdctl('user', 'add', 'narrow:pw');
    await etcd.etcdctl('user', 'grant-role', 'narrow', 'narrow');
    const source = backend([etcd.url], { username: 'narrow', password: 'pw' });
    const observation = await watch(source, { kind: 'services', names: new Set(['web']) }).synced(5000);
    expect(ids(observation)).toContain('a');
    expect(await failure(source)).toBeInstanceOf(RegistryRefusal);
  });

  it('ends a watch whose permission is revoked: etcd itself would let it run on', async () => {
    const observation = await watch(backend([etcd.url], { ...credentials, heartbeatMs: 300 })).synced(5000);
    await etcd.login();
    await etcd.etcdctl('role', 'revoke-permission', 'discovery', '--prefix', PREFIX);
    const error = await ended(observation);
    expect(error).toBeInstanceOf(RegistryRefusal);
    await etcd.etcdctl('role', 'grant-permission', 'discovery', 'read', '--prefix', PREFIX);
  });
});

describe.skipIf(absent)('an etcd behind TLS', () => {
  let authority: TestAuthority;
  let stranger: TestAuthority;
  let etcd: EtcdServer;
  beforeAll(async () => {
    authority = new TestAuthority();
    stranger = new TestAuthority('stranger');
    etcd = await EtcdServer.start({ authority });
    await etcd.etcdctl('put', `${PREFIX}web/a`, '10.0.0.1:80');
  });
  afterAll(async () => {
    await etcd[Symbol.asyncDispose]();
    authority[Symbol.dispose]();
    stranger[Symbol.dispose]();
  });

  it('is followed with a client certificate, which is asked for anew at every connection', async () => {
    const { cert, key } = authority.issue('client');
    let asked = 0;
    const tls = (): Promise<{ ca: string; cert: string; key: string }> => {
      asked += 1;
      return Promise.resolve({ ca: authority.ca.cert, cert, key });
    };
    const source = backend([etcd.url], { tls });
    const observation = await watch(source).synced(5000);
    await etcd.etcdctl('put', `${PREFIX}web/b`, '10.0.0.2:80');
    await seen(observation, 'a,b');
    await source.list(ALL, AbortSignal.timeout(5000));
    expect(asked).toBe(2);
  });

  it('says which setting is missing or wrong', async () => {
    const ours = authority.issue('ours');
    const theirs = stranger.issue('theirs');
    const ca = authority.ca.cert;
    const cases = [
      [{ cert: ours.cert, key: ours.key }, 'set registries[].tls.ca'],
      [{ ca: stranger.ca.cert, cert: ours.cert, key: ours.key }, 'registries[].tls.ca'],
      [{ ca, cert: ours.cert, key: ours.key, serverName: 'other.internal' }, 'registries[].tls.serverName'],
      [{ ca }, 'check registries[].tls.cert and .key'],
      [{ ca, cert: theirs.cert, key: theirs.key }, 'check registries[].tls.cert and .key'],
      [{ ca, cert: ours.cert, key: theirs.key }, 'check registries[].tls: ca, cert and key'],
    ] as const;
    for (const [tls, advice] of cases) {
      expect((await failure(backend([etcd.url], { tls: () => Promise.resolve(tls) }))).message).toContain(advice);
    }
    const plain = await failure(backend([etcd.url.replace('https:', 'http:')]));
    expect(plain.message).toContain('check registries[].endpoints');
  });
});

describe.skipIf(absent)('a cluster of three', () => {
  it('is followed through the loss of a member, and given up when the quorum is lost', async () => {
    const cluster = own(await EtcdCluster.start(3));
    const [first, second, third] = cluster.members;
    const source = backend(cluster.urls);
    await first!.put(`${PREFIX}web/a`, '10.0.0.1:80');
    const observation = await watch(source).synced(5000);
    expect(source.info().endpoint).toBe(first!.url);
    await first!.server.kill();
    await ended(observation);
    const again = watch(source);
    await seen(again, 'a');
    await second!.put(`${PREFIX}web/b`, '10.0.0.2:80');
    await seen(again, 'a,b');
    await third!.server.kill();
    const error = await ended(again, 15_000);
    expect(error.message).toMatch(/no leader|timed out|no answer|Unavailable|connection/i);
    expect(ids(again)).toBe('a,b');
    expect((await failure(source)).message).toContain('none of its endpoints works');
  }, 60_000);
});
