import { once } from 'node:events';
import { createServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { ManualClock, systemClock } from '../../../src/core/clock.ts';
import { RegistryRefusal, type Interest } from '../../../src/registry/backend.ts';
import { EtcdBackend, type EtcdOptions } from '../../../src/registry/etcd/etcd-backend.ts';
import { RegistryUnreachable } from '../../../src/registry/network-fault.ts';
import { Observation } from '../../contract/observation.ts';
import { FakeEtcd, type FakeWatch } from './fake-etcd.ts';

const ALL: Interest = { kind: 'all' };
const A = { '/services/web/a': '10.0.0.1:80' };
const B = { '/services/web/b': '10.0.0.2:80' };
const OTHER = { '/services/pay/a': '10.0.0.3:80' };
const fakes: FakeEtcd[] = [];
const watching: Observation[] = [];

afterEach(async () => {
  await Promise.all(watching.splice(0).map((each) => each.stop()));
  await Promise.all(fakes.splice(0).map((each) => each[Symbol.asyncDispose]()));
});

async function fake(): Promise<FakeEtcd> {
  const made = await FakeEtcd.start();
  fakes.push(made);
  return made;
}

function backend(endpoints: readonly string[], more: Partial<EtcdOptions> = {}): EtcdBackend {
  return new EtcdBackend({
    name: 'main',
    endpoints,
    prefix: '/services/',
    clock: systemClock,
    onSkip: () => undefined,
    ...more,
  });
}

function watch(etcd: FakeEtcd, more: Partial<EtcdOptions> = {}, interest = ALL): Observation {
  const observation = new Observation(backend([etcd.url], more), interest);
  watching.push(observation);
  return observation;
}

async function ended(observation: Observation): Promise<Error> {
  await observation.until('the end', () => observation.end !== undefined, 5000);
  return observation.end?.error as Error;
}

const hosts = (observation: Observation, service = 'web'): string[] => observation.of(service).map((each) => each.host);
const seen = (observation: Observation, wanted: readonly string[], service = 'web'): Promise<void> =>
  observation.until(wanted.join(), () => hosts(observation, service).join() === wanted.join(), 3000);

describe('the cursor', () => {
  it('comes from the list, never from the confirmation of a watch, which runs ahead of its events', async () => {
    const etcd = await fake();
    etcd.onRange = () => ({ revision: 10n, pairs: A });
    etcd.onWatch = (each, turn) => {
      each.created(99n);
      if (turn === 0) each.end({ code: 14, message: 'bye' });
      else each.events(11n, B);
    };
    await ended(watch(etcd));
    await seen(watch(etcd), ['10.0.0.1', '10.0.0.2']);
    expect(etcd.starts).toEqual([11n, 11n]);
  });

  it('is applied to every part of a large frame', async () => {
    const etcd = await fake();
    etcd.onWatch = (each) => {
      each.created();
      each.events(2n, A, true);
      each.events(2n, B);
    };
    await seen(watch(etcd), ['10.0.0.1', '10.0.0.2']);
  });

  it('loses no event that overtakes the confirmation of a second range', async () => {
    const etcd = await fake();
    etcd.onWatch = (each, turn) => {
      each.created();
      if (turn === 0) each.events(2n, A);
    };
    const interest: Interest = { kind: 'services', names: new Set(['web', 'pay']) };
    await seen(watch(etcd, {}, interest), ['10.0.0.1']);
    expect(etcd.ranges.map((call) => call.from)).toEqual(['/services/web/', '/services/pay/']);
    // Both ranges as of one revision.
    expect(etcd.ranges.map((call) => call.revision)).toEqual([0n, 1n]);
  });
});

describe('compaction', () => {
  it('between list and watch is answered by listing again, and nobody is told of it', async () => {
    const etcd = await fake();
    etcd.onRange = (_, turn) => (turn === 0 ? { revision: 5n, pairs: A } : { revision: 50n, pairs: B });
    etcd.onWatch = (each, turn) => {
      each.created();
      if (turn === 0) each.compacted(40n);
    };
    const observation = await watch(etcd).synced(3000);
    await observation.until('the second list', () => observation.counts.synced > 1, 3000);
    expect(hosts(observation)).toEqual(['10.0.0.2']);
    expect(etcd.starts).toEqual([6n, 51n]);
    expect(observation.end).toBeUndefined();
  });

  it('in the middle of a watch resets what there is and calls absent what is gone', async () => {
    const etcd = await fake();
    etcd.onRange = (_, turn) =>
      turn === 0 ? { revision: 5n, pairs: { ...A, ...OTHER } } : { revision: 50n, pairs: B };
    let first: FakeWatch | undefined;
    etcd.onWatch = (each) => {
      first ??= each;
      each.created();
    };
    const observation = await watch(etcd).synced(3000);
    expect(hosts(observation, 'pay')).toEqual(['10.0.0.3']);
    first?.compacted(40n);
    await observation.until('pay to be called absent', () => !observation.table.has('pay'), 3000);
    await seen(observation, ['10.0.0.2']);
    expect([...observation.table.keys()]).toEqual(['web']);
    await expect.poll(() => etcd.starts.length).toBe(2);
    expect(etcd.starts).toEqual([6n, 51n]);
    expect([observation.end, observation.violations]).toEqual([undefined, []]);
  });

  it('between two pages starts the list over, a bounded number of times', async () => {
    const etcd = await fake();
    const compacted = { code: 11, message: 'etcdserver: mvcc: required revision has been compacted' };
    etcd.onRange = (call, turn) => {
      if (turn === 1) return compacted;
      return call.revision === 0n ? { revision: BigInt(turn + 1), pairs: A, more: true } : { revision: 9n, pairs: B };
    };
    const services = await backend([etcd.url]).list(ALL, AbortSignal.timeout(5000));
    expect(services.get('web')?.map((each) => each.host)).toEqual(['10.0.0.1', '10.0.0.2']);
    etcd.onRange = (call) => (call.revision === 0n ? { revision: 1n, pairs: A, more: true } : compacted);
    await expect(backend([etcd.url]).list(ALL, AbortSignal.timeout(5000))).rejects.toThrow(
      'lengthen its compaction period',
    );
  });
});

describe('a list', () => {
  it('reads all its pages at one revision, each from after the last key', async () => {
    const etcd = await fake();
    etcd.onRange = (_, turn) => ({ revision: BigInt(7 + turn), pairs: turn === 0 ? A : B, more: turn === 0 });
    const services = await backend([etcd.url], { pageKeys: 1 }).list(ALL, AbortSignal.timeout(5000));
    expect(services.get('web')).toHaveLength(2);
    expect(etcd.ranges.map(({ from, revision, limit }) => [from, revision, limit])).toEqual([
      ['/services/', 0n, 1],
      ['/services/web/a\0', 7n, 1],
    ]);
  });

  it('refuses more keys than the limit, and names the setting', async () => {
    const etcd = await fake();
    etcd.onRange = () => ({ revision: 1n, pairs: { ...A, ...B } });
    await expect(backend([etcd.url], { maxKeys: 1 }).list(ALL, AbortSignal.timeout(5000))).rejects.toThrow(
      'has more than 1 keys under /services/: narrow registries[].prefix',
    );
  });
});

describe('a token', () => {
  const credentials = { username: 'reader', password: 'pw' };
  const expired = { code: 16, message: 'etcdserver: invalid auth token' };

  it('that expires is renewed for lists, watches and heartbeats alike', async () => {
    const etcd = await fake();
    etcd.onRange = (call) => (call.token === 'token-1' ? expired : { revision: 1n, pairs: A });
    etcd.onWatch = (each, turn) => {
      if (turn === 0) each.refused('rpc error: code = Unauthenticated desc = etcdserver: invalid auth token');
      else each.created();
    };
    let probes = 0;
    etcd.onProbe = () => ((probes += 1) === 2 ? expired : { revision: 1n });
    const observation = await watch(etcd, { ...credentials, heartbeatMs: 50 }).synced(3000);
    await observation.until('heartbeats after the renewal', () => probes > 3, 3000);
    expect(etcd.tokens).toEqual(['token-2', 'token-3']);
    expect(etcd.authentications).toBe(4);
    expect(observation.end).toBeUndefined();
  });

  it('that is never accepted ends in a refusal, not in a loop', async () => {
    const etcd = await fake();
    etcd.onRange = () => expired;
    const error = await ended(watch(etcd, credentials));
    expect(error).toBeInstanceOf(RegistryRefusal);
    expect(error.message).toContain('check registries[].username and registries[].password');
    expect(etcd.authentications).toBe(2);
  });

  it('is not needed where authentication is off', async () => {
    const etcd = await fake();
    etcd.onAuthenticate = () => ({ code: 9, message: 'etcdserver: authentication is not enabled' });
    await watch(etcd, credentials).synced(3000);
    expect(etcd.tokens).toEqual([undefined]);
  });
});

describe('a watch ends with the reason', () => {
  it.each([
    [
      'no leader',
      { code: 14, message: 'etcdserver: no leader' },
      'cannot serve: etcdserver: no leader (gRPC status 14)',
    ],
    ['words beyond ASCII', { code: 13, message: 'größer als 100 %' }, 'größer als 100 %'],
    ['a clean end', { code: 0, message: '' }, 'the server ended the watch'],
  ])('when the server ends it: %s', async (_, status, message) => {
    const etcd = await fake();
    etcd.onWatch = (each) => {
      each.created();
      each.end(status);
    };
    const error = await ended(watch(etcd));
    expect(error).toBeInstanceOf(RegistryUnreachable);
    expect(error.message).toContain(`registry "main" at ${etcd.url}: answered that it cannot serve`);
    expect(error.message).toContain(message);
  });

  it('when the server says that it shuts down', async () => {
    const etcd = await fake();
    const observation = await watch(etcd).synced(3000);
    etcd.goAway();
    expect((await ended(observation)).message).toContain('the server is shutting down');
  });

  it('when heartbeats are not answered any more', async () => {
    const etcd = await fake();
    let probes = 0;
    etcd.onProbe = () => ((probes += 1) > 2 ? undefined : { revision: 1n });
    const error = await ended(watch(etcd, { heartbeatMs: 40, requestMs: 100 }));
    expect(error.message).toContain('no answer within 100 ms: it hangs or is cut off');
  });

  it('when the confirmation of a watch never comes', async () => {
    const etcd = await fake();
    etcd.onWatch = () => undefined;
    expect((await ended(watch(etcd, { requestMs: 100 }))).message).toContain(
      'no confirmation of a watch within 100 ms',
    );
  });

  it('when permission is taken away: the server itself would let the watch run on', async () => {
    const etcd = await fake();
    let allowed = true;
    etcd.onProbe = () => (allowed ? { revision: 1n } : { code: 7, message: 'etcdserver: permission denied' });
    const observation = await watch(etcd, { heartbeatMs: 40, username: 'reader', password: 'pw' }).synced(3000);
    allowed = false;
    const error = await ended(observation);
    expect(error).toBeInstanceOf(RegistryRefusal);
    expect(error.message).toContain('etcdctl role grant-permission <role> read --prefix /services/');
  });

  it('when what answers is HTTP/2, but no gRPC', async () => {
    const server = createServer((_, response) =>
      response.writeHead(404, { 'content-type': 'text/html' }).end('<html>'),
    );
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    await expect(backend([url]).list(ALL, AbortSignal.timeout(5000))).rejects.toThrow(
      "what answers there is not etcd's client port (HTTP status 404 with text/html in place of gRPC); check registries[].endpoints",
    );
    server.close();
  });
});

describe('signs of life', () => {
  it('come from progress notifications and heartbeats, with the revision', async () => {
    const etcd = await fake();
    etcd.onProbe = () => ({ revision: 20n, raftTerm: 3n });
    etcd.onWatch = (each) => {
      each.created();
      each.progress(21n);
    };
    const revisions: (string | undefined)[] = [];
    const source = backend([etcd.url], { heartbeatMs: 50 });
    for await (const event of source.watch(ALL, AbortSignal.timeout(5000))) {
      if (event.kind === 'synced') revisions.push(event.revision);
      if (revisions.length === 5) break;
    }
    expect(revisions[0]).toBe('1');
    expect(new Set(revisions.slice(1))).toEqual(new Set(['20', '21']));
    expect(source.info()).toEqual({ endpoint: etcd.url, leader: 'abc', revision: expect.any(String) as string });
  });

  it('are asked for by the clock that was passed in', async () => {
    const etcd = await fake();
    let probes = 0;
    etcd.onProbe = () => ({ revision: BigInt((probes += 1)) });
    const clock = new ManualClock();
    const observation = watch(etcd, { clock, heartbeatMs: 10_000 });
    // The second one comes from the first heartbeat, once its requests and their deadlines are done.
    await observation.until('the first heartbeat', () => observation.counts.synced === 2, 3000);
    await expect.poll(() => clock.pending).toBe(1);
    expect(probes).toBe(1);
    clock.advance(9_999);
    expect(clock.pending).toBe(1);
    clock.advance(1);
    await expect.poll(() => probes).toBe(2);
  });
});

describe('several endpoints', () => {
  it('are tried in turn when one cannot serve, and the one that lost a watch comes last', async () => {
    const [first, second] = [await fake(), await fake()];
    first.onRange = () => ({ code: 14, message: 'etcdserver: no leader' });
    second.onRange = () => ({ revision: 1n, pairs: A });
    const source = backend([first.url, second.url]);
    const observation = new Observation(source, ALL);
    watching.push(observation);
    await observation.synced(3000);
    expect(source.info().endpoint).toBe(second.url);
    first.onRange = () => ({ revision: 1n, pairs: B });
    second.goAway();
    await ended(observation);
    const again = new Observation(source, ALL);
    watching.push(again);
    await again.synced(3000);
    expect(hosts(again)).toEqual(['10.0.0.2']);
    expect(source.info().endpoint).toBe(first.url);
  });

  it('are all named when none of them serves, and none is asked after a refusal', async () => {
    const [first, second] = [await fake(), await fake()];
    first.onRange = second.onRange = () => ({ code: 14, message: 'etcdserver: no leader' });
    const source = backend([first.url, second.url]);
    const error = await source.list(ALL, AbortSignal.timeout(5000)).catch((reason: unknown) => reason as Error);
    expect((error as Error).message).toContain(first.url);
    expect((error as Error).message).toContain(second.url);
    first.onRange = () => ({ code: 7, message: 'etcdserver: permission denied' });
    const asked = second.ranges.length;
    await expect(source.list(ALL, AbortSignal.timeout(5000))).rejects.toBeInstanceOf(RegistryRefusal);
    expect(second.ranges.length).toBe(asked);
  });
});
