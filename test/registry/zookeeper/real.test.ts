import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { seededRandom } from '../../../src/core/random.ts';
import { RegistryRefusal, type Interest } from '../../../src/registry/backend.ts';
import { ZookeeperBackend, type ZookeeperOptions } from '../../../src/registry/zookeeper/zookeeper-backend.ts';
import { Observation } from '../../contract/observation.ts';
import { freePorts, until } from '../../servers/real-server.ts';
import { TcpProxy } from '../../servers/tcp-proxy.ts';
import { ANYONE, digestId, zookeeperClasses, ZookeeperServer } from '../../servers/zookeeper.ts';
import { OldZookeeper } from './old-zookeeper.ts';

const ALL: Interest = { kind: 'all' };
const PATH = '/services';
const watching: Observation[] = [];
const open: AsyncDisposable[] = [];
const skips: { service: string; id: string; why: string }[] = [];

afterEach(async () => {
  await Promise.all(watching.splice(0).map((each) => each.stop()));
  for (const each of open.splice(0).reverse()) await each[Symbol.asyncDispose]();
  skips.length = 0;
});

function own<T extends AsyncDisposable>(made: T): T {
  open.push(made);
  return made;
}

function backend(ports: number | readonly number[], more: Partial<ZookeeperOptions> = {}): ZookeeperBackend {
  return new ZookeeperBackend({
    name: 'main',
    servers: [ports].flat().map((port) => ({ host: '127.0.0.1', port })),
    chroot: '',
    path: PATH,
    layout: 'auto',
    sessionTimeoutMs: 4000,
    connectMs: 1000,
    requestMs: 3000,
    clock: systemClock,
    random: seededRandom(1),
    onSkip: (what) => skips.push(what),
    ...more,
  });
}

function watch(source: ZookeeperBackend, interest: Interest = ALL): Observation {
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
const failure = (source: ZookeeperBackend, interest: Interest = ALL): Promise<Error> =>
  source.list(interest, AbortSignal.timeout(10_000)).then(
    () => new Error('it was let in'),
    (error: unknown) => error as Error,
  );
const named = (...names: readonly string[]): Interest => ({ kind: 'services', names: new Set(names) });

const absent = zookeeperClasses === undefined;
if (absent) {
  describe('zookeeper', () => it.skip('no zookeeper here: install zookeeper', () => undefined));
}

describe.skipIf(absent)('a real ZooKeeper', () => {
  let zookeeper: ZookeeperServer;
  let chroots = 0;
  let chroot = '';
  beforeAll(async () => {
    zookeeper = await ZookeeperServer.start();
  });
  afterAll(() => zookeeper[Symbol.asyncDispose]());

  /** Every test has a tree of its own, below a chroot. */
  const at = (path: string): string => `${chroot}${PATH}/${path}`;
  const source = (more: Partial<ZookeeperOptions> = {}, ports: number | readonly number[] = zookeeper.port) =>
    backend(ports, { chroot, ...more });
  const sessionOf = async (): Promise<string[]> =>
    [...(await zookeeper.word('cons')).matchAll(/sid=(0x[0-9a-f]+),[^\n]*to=(?:1500|4000),/g)].map(
      (match) => match[1] ?? '',
    );

  afterEach(() => void (chroot = ''));
  const begin = async (...nodes: readonly string[]): Promise<void> => {
    chroot = `/tree-${(chroots += 1)}`;
    await zookeeper.write(
      nodes.map((node, index) => ({
        path: at(node),
        value: `10.0.${Math.floor(index / 250)}.${(index % 250) + 1}:80`,
      })),
    );
  };

  it('keeps the session over a mere disconnection, and reads everything again', async () => {
    await begin('web/a', 'pay/a');
    const proxy = own(await TcpProxy.to(zookeeper.port));
    const zk = source({}, proxy.port);
    const before = await watch(zk).synced(5000);
    const [session] = await sessionOf();
    proxy.reset();
    expect((await ended(before)).message).toContain('if it never works, check registries[].connect');
    expect([ids(before), ids(before, 'pay')]).toEqual(['a', 'a']);
    await zookeeper.put(at('web/b'), '10.0.0.9:80');
    await zookeeper.delete(at('pay/a'));
    const after = await watch(zk).synced(5000);
    expect([ids(after), ids(after, 'pay')]).toEqual(['a,b', '']);
    expect(await sessionOf()).toEqual([session]);
    await zookeeper.put(at('web/c'), '10.0.0.8:80');
    await seen(after, 'a,b,c');
  });

  it('takes a new session where the old one has expired, with watches and a table of its own', async () => {
    await begin('web/a');
    const proxy = own(await TcpProxy.to(zookeeper.port));
    const zk = source({ sessionTimeoutMs: 1500 }, proxy.port);
    const before = await watch(zk).synced(5000);
    const [session] = await sessionOf();
    proxy.blackHole();
    expect((await ended(before)).message).toContain('nothing heard for 1000 ms');
    await zookeeper.put(at('web/b'), '10.0.0.9:80');
    await until('the session expires', async () => !(await zookeeper.word('dump')).includes(session ?? '?'), 10_000);
    proxy.heal();
    const after = await watch(zk).synced(5000);
    expect(ids(after)).toBe('a,b');
    expect(await sessionOf()).not.toContain(session);
    await zookeeper.put(at('web/c'), '10.0.0.8:80');
    await seen(after, 'a,b,c');
  });

  it('says goodbye when a watch or a list ends, so that no session lingers', async () => {
    await begin('web/a');
    const observation = await watch(source()).synced(5000);
    await source().list(ALL, AbortSignal.timeout(5000));
    expect(await sessionOf()).toHaveLength(1);
    await observation.stop();
    await until('no session of ours', async () => (await sessionOf()).length === 0, 5000);
    expect((await zookeeper.word('dump')).match(/Session Sets/g)).toHaveLength(1);
  });

  it('stopped by SIGSTOP is given up after two thirds of the session timeout, and followed again when it wakes', async () => {
    await begin('web/a');
    const zk = source({ sessionTimeoutMs: 1500 });
    const before = await watch(zk).synced(5000);
    const startMs = performance.now();
    zookeeper.server.freeze();
    try {
      expect((await ended(before)).message).toContain(`127.0.0.1:${zookeeper.port}: nothing heard for 1000 ms`);
      expect(performance.now() - startMs).toBeLessThan(2500);
      expect((await failure(zk)).message).toContain('no session within 1000 ms');
    } finally {
      zookeeper.server.thaw();
    }
    const after = await watch(zk).synced(8000);
    expect(ids(after)).toBe('a');
  });

  it('reads only what is below its chroot and path', async () => {
    await begin('web/a');
    await zookeeper.put(`${chroot}/elsewhere/web/b`, '10.0.0.2:80');
    await zookeeper.put('/services/web/c', '10.0.0.3:80');
    const deep = await watch(source({ chroot: `${chroot}/`, path: 'elsewhere/' })).synced(5000);
    const plain = await watch(source()).synced(5000);
    expect([ids(deep), ids(plain)]).toEqual(['b', 'a']);
    await zookeeper.put(`${chroot}/elsewhere/web/d`, '10.0.0.4:80');
    await seen(deep, 'b,d');
    expect(ids(plain)).toBe('a');
  });

  it('reports a path that does not exist, and follows it from the moment it does', async () => {
    await begin();
    const observation = await watch(source()).synced(5000);
    expect(skips[0]?.why).toContain(`there is no node ${chroot}${PATH}`);
    expect(skips[0]?.why).toContain('check registries[].path and the chroot in registries[].connect');
    await zookeeper.put(at('web/a'), '10.0.0.1:80');
    await seen(observation, 'a');
    expect([observation.end, observation.violations]).toEqual([undefined, []]);
  });

  it('holds all layouts side by side, and a node may move from one to another', async () => {
    await begin('web/bare');
    await zookeeper.put(at('web/own'), { host: '10.0.0.2', port: 80, weight: 2, zone: 'z' });
    await zookeeper.put(at('web/curator'), { name: 'web', id: 'x', address: '10.0.0.3', port: 80, payload: null });
    await zookeeper.put(at('web/10.0.0.4:80'), '');
    const observation = await watch(source()).synced(5000);
    expect(ids(observation)).toBe('10.0.0.4-80,bare,curator,own');
    await zookeeper.put(at('web/bare'), { host: '10.0.0.5', port: 80 });
    await observation.until(
      'the new layout',
      () => observation.of('web').some(({ host }) => host === '10.0.0.5'),
      5000,
    );
    await zookeeper.put(at('web/bare'), 'nonsense');
    await seen(observation, '10.0.0.4-80,curator,own');
    const strict = await watch(source({ layout: 'curator' })).synced(5000);
    expect(ids(strict)).toBe('curator');
  });

  it('loses ephemeral nodes with the session that made them', async () => {
    await begin('web/a');
    await zookeeper.create(at('web/fleeting'), '10.0.0.7:80', true);
    const observation = await watch(source()).synced(5000);
    expect(ids(observation)).toBe('a,fleeting');
    await zookeeper.endWriter();
    await seen(observation, 'a');
  });

  it('deleted and made anew in one breath keeps what was made last', async () => {
    await begin('web/a', 'web/b');
    const observation = await watch(source()).synced(5000);
    for (let round = 1; round <= 20; round += 1) {
      await zookeeper.write([
        { path: at('web/a'), value: undefined },
        { path: at('web/b'), value: undefined },
        { path: at('web'), value: undefined },
        { path: at('web'), value: '' },
        { path: at('web/a'), value: `10.0.1.${round}:80` },
      ]);
      const host = `10.0.1.${round}`;
      await observation.until(host, () => ids(observation) === 'a' && observation.of('web')[0]?.host === host, 5000);
    }
    expect([observation.end, observation.violations]).toEqual([undefined, []]);
  });

  it('follows more services than it has watches for', async () => {
    const services = Array.from({ length: 70 }, (_, index) => `s${index}`);
    await begin(...services.map((service) => `${service}/a`), 'other/a');
    const observation = await watch(source(), named(...services, 'none')).synced(5000);
    expect([...observation.table.keys()].sort()).toEqual([...services].sort());
    await zookeeper.put(at('none/a'), '10.0.0.1:80');
    await zookeeper.put(at('other/b'), '10.0.0.1:80');
    await zookeeper.put(at('s69/b'), '10.0.0.1:80');
    await seen(observation, 'a,b', 's69');
    expect([ids(observation, 'none'), observation.violations]).toEqual(['a', []]);
  });

  it('refuses to read more nodes than it was told to', async () => {
    await begin('web/a', 'web/b', 'web/c');
    const { message } = await failure(source({ maxNodes: 2 }));
    expect(message).toContain(`there are more than 2 nodes under ${chroot}${PATH}; check registries[].path`);
    const observation = await watch(source({ maxNodes: 3 })).synced(5000);
    await zookeeper.put(at('web/d'), '10.0.0.1:80');
    expect((await ended(observation)).message).toContain('more than 3 nodes');
  });

  it('is reached through another server when one is dead or a black hole', async () => {
    await begin('web/a');
    const [dead = 0] = await freePorts(1);
    const hole = own(await TcpProxy.to(zookeeper.port));
    hole.blackHole();
    for (const seed of [0, 0.4, 0.99]) {
      const zk = source({ connectMs: 300, random: () => seed }, [dead, hole.port, zookeeper.port]);
      await seen(watch(zk), 'a');
      expect(zk.info()).toMatchObject({ endpoint: `127.0.0.1:${zookeeper.port}` });
    }
    const { message } = await failure(source({ connectMs: 300 }, [dead, hole.port]));
    expect(message).toContain('none of its endpoints works');
    expect(message).toContain(`127.0.0.1:${dead}: connection refused`);
    expect(message).toContain(`127.0.0.1:${hole.port}: no session within 300 ms`);
  });

  it('that is something else says which address to check', async () => {
    const answers = ['HTTP/1.1 400 Bad Request\r\n\r\n', '\x00\x00\x00\x04\x00\x00\x00\x07', ''];
    for (const answer of answers) {
      const other = createServer((socket) => socket.on('error', () => undefined).end(answer)).listen(0, '127.0.0.1');
      await once(other, 'listening');
      const { port } = other.address() as AddressInfo;
      const { message } = await failure(backend(port));
      expect(message).toContain(`registry "main" at 127.0.0.1:${port}`);
      expect(message).toContain('check registries[].connect');
      other.close();
    }
  });

  it('older than 3.6 is followed by watches that fire once', async () => {
    await begin('web/a', 'pay/a');
    const old = own(await OldZookeeper.before(zookeeper.port));
    const zk = source({}, old.port);
    const all = await watch(zk).synced(5000);
    const few = await watch(zk, named('web', 'none')).synced(5000);
    for (let round = 0; round < 3; round += 1) {
      await zookeeper.put(at('web/b'), `10.0.2.${round}:80`);
      const host = `10.0.2.${round}`;
      for (const each of [all, few]) {
        await each.until(host, () => each.of('web').some((instance) => instance.host === host), 5000);
      }
      await zookeeper.delete(at('web/b'));
      for (const each of [all, few]) await seen(each, 'a');
      await zookeeper.put(at('none/a'), '10.0.0.9:80');
      for (const each of [all, few]) await seen(each, 'a', 'none');
      await zookeeper.write([
        { path: at('none/a'), value: undefined },
        { path: at('none'), value: undefined },
      ]);
      for (const each of [all, few]) await seen(each, '', 'none');
    }
    expect(old.refused).toBe(1);
    expect([all.end, few.end, all.violations, few.violations]).toEqual([undefined, undefined, [], []]);
  }, 30_000);

  it('follows 1,000 changes in a second to the end (figures are printed, not judged)', async () => {
    await begin('web/a');
    const observation = await watch(source()).synced(5000);
    const writes = Array.from({ length: 1000 }, (_, index) => ({
      path: at(`s${index % 20}/i${index % 200}`),
      value: index % 5 === 4 ? undefined : `10.0.3.${index % 250}:${1000 + index}`,
    }));
    const startMs = performance.now();
    await zookeeper.write(writes);
    const writtenMs = performance.now() - startMs;
    const wanted = new Map<string, number>();
    for (const { path, value } of writes) {
      const key = path.slice(chroot.length + PATH.length + 1);
      if (value === undefined) wanted.delete(key);
      else wanted.set(key, Number(value.split(':')[1]));
    }
    const table = (): string[] =>
      [...observation.table].flatMap(([service, instances]) =>
        [...instances.values()].map((each) => `${service}/${each.id}:${each.port}`),
      );
    const goal = [...[...wanted].map(([key, port]) => `${key}:${port}`), 'web/a:80'].sort().join();
    await observation.until('the end of it', () => table().sort().join() === goal, 10_000);
    const settledMs = performance.now() - startMs;
    console.log(`zookeeper: 1,000 writes in ${writtenMs.toFixed(0)} ms, table equal after ${settledMs.toFixed(0)} ms`);
    expect([observation.end, observation.violations]).toEqual([undefined, []]);
  });

  it('delivers registrations quickly (figures are printed, not judged)', async () => {
    await begin('web/a');
    const arrivals = new Map<string, number>();
    const controller = new AbortController();
    const zk = source();
    let synced = false;
    const reading = (async () => {
      for await (const event of zk.watch(ALL, controller.signal)) {
        if (event.kind === 'upsert') arrivals.set(event.instance.id, performance.now());
        synced ||= event.kind === 'synced';
      }
    })();
    await until('the watch', () => synced);
    const sent = new Map<string, number>();
    for (let index = 0; index < 200; index += 1) {
      sent.set(`i${index}`, performance.now());
      await zookeeper.put(at(`web/i${index}`), '10.0.0.1:80');
    }
    await until('all of them', () => arrivals.size === 200);
    controller.abort();
    await reading;
    const times = [...arrivals].map(([id, atMs]) => atMs - (sent.get(id) ?? Number.NaN)).sort((a, b) => a - b);
    const spread = [0.5, 0.99, 1].map((share) => (times[Math.ceil(share * times.length) - 1] ?? 0).toFixed(1));
    console.log(`zookeeper: create sent → event, p50 / p99 / max ms: ${spread.join(' / ')}`);
    expect(arrivals.size).toBe(200);
  });

  it('reads a large table in one go (figures are printed, not judged)', async () => {
    const nodes = Array.from({ length: 10_000 }, (_, index) => `s${index % 1000}/i${index}`);
    await begin(...nodes);
    const startMs = performance.now();
    const listed = await source({ requestMs: 10_000 }).list(ALL, AbortSignal.timeout(30_000));
    const tookMs = performance.now() - startMs;
    console.log(`zookeeper: 1,000 services × 10 instances listed in ${tookMs.toFixed(0)} ms`);
    expect([...listed.values()].flat()).toHaveLength(10_000);
  }, 60_000);

  describe('with access control', () => {
    const right = { user: 'reader', password: 'right' };
    const wrong = { user: 'reader', password: 'wrong' };
    const readers = [{ permissions: 1, scheme: 'digest' as const, id: digestId('reader', 'right') }];

    it('lets the right password in, again on every connection, and refuses the wrong one and none', async () => {
      await begin('web/a');
      for (const path of [at('web/a'), at('web'), `${chroot}${PATH}`]) await zookeeper.setAcl(path, readers);
      const proxy = own(await TcpProxy.to(zookeeper.port));
      const zk = source({ auth: right }, proxy.port);
      const before = await watch(zk).synced(5000);
      proxy.reset();
      await ended(before);
      expect(ids(await watch(zk).synced(5000))).toBe('a');
      for (const auth of [wrong, undefined]) {
        for (const interest of [ALL, named('web')]) {
          const error = await failure(source({ auth }), interest);
          expect(error).toBeInstanceOf(RegistryRefusal);
          expect(error.message).toContain('check registries[].auth.user and registries[].auth.password');
          expect(error.message).toContain('zkCli.sh: setAcl -R');
        }
      }
    });

    it('never takes instances that it may not read for none', async () => {
      await begin('web/a', 'web/b');
      for (const path of [at('web/a'), at('web/b')]) await zookeeper.setAcl(path, readers);
      expect(await failure(source({ auth: wrong }))).toBeInstanceOf(RegistryRefusal);
      // Among others that can be read it is one registration's own mistake.
      await zookeeper.put(at('pay/a'), '10.0.0.1:80');
      const observation = await watch(source({ auth: wrong })).synced(5000);
      expect([ids(observation), ids(observation, 'pay')]).toEqual(['', 'a']);
      expect(skips.map(({ service, id }) => `${service}/${id}`)).toEqual(expect.arrayContaining(['web/a', 'web/b']));
      expect(await failure(source({ auth: wrong }), named('web'))).toBeInstanceOf(RegistryRefusal);
    });

    it('keeps what a node held when it may not be read any more', async () => {
      await begin('web/a', 'web/b');
      const observation = await watch(source({ auth: wrong })).synced(5000);
      await zookeeper.setAcl(at('web/a'), [...readers, { ...ANYONE, permissions: 2 }]);
      // Servers since CVE-2024-23944 do not even tell us of it; others do, and then refuse the read.
      await zookeeper.put(at('web/a'), '10.0.9.9:80');
      await zookeeper.put(at('web/c'), '10.0.0.3:80');
      await seen(observation, 'a,b,c');
      expect(observation.of('web').map(({ host }) => host)).toEqual(['10.0.0.1', '10.0.0.2', '10.0.0.3']);
    });

    it('may be narrowed to one service', async () => {
      await begin('web/a', 'pay/a');
      await zookeeper.setAcl(`${chroot}${PATH}`, [{ ...ANYONE, permissions: 30 }]);
      const observation = await watch(source(), named('web')).synced(5000);
      expect(ids(observation)).toBe('a');
      expect(await failure(source())).toBeInstanceOf(RegistryRefusal);
    });
  });
});

describe.skipIf(absent)('a ZooKeeper of its own', () => {
  it('restarted empty is followed from nothing', async () => {
    const zookeeper = own(await ZookeeperServer.start());
    await zookeeper.put(`${PATH}/web/a`, '10.0.0.1:80');
    const zk = backend(zookeeper.port);
    const before = await watch(zk).synced(5000);
    await zookeeper.server.restartEmpty();
    await ended(before);
    expect(ids(before)).toBe('a');
    // Its transactions begin again: nothing of the old session or its numbers may keep us out.
    const after = await watch(zk).synced(5000);
    expect(ids(after)).toBe('');
    await zookeeper.put(`${PATH}/web/b`, '10.0.0.1:80');
    await seen(after, 'b');
  }, 60_000);

  it('that admits nobody without credentials says so', async () => {
    const config = ['enforce.auth.enabled=true', 'enforce.auth.schemes=digest'];
    const zookeeper = own(await ZookeeperServer.start({ config }));
    await zookeeper.put(`${PATH}/web/a`, '10.0.0.1:80');
    const error = await failure(backend(zookeeper.port));
    expect(error).toBeInstanceOf(RegistryRefusal);
    expect(error.message).toContain('set registries[].auth.user and registries[].auth.password');
    expect(ids(await watch(backend(zookeeper.port, { auth: { user: 'a', password: 'b' } })).synced(5000))).toBe('a');
  }, 60_000);
});

describe.skipIf(absent)('an ensemble of three', () => {
  it('is followed through the loss of a member, and given up when the quorum is lost', async () => {
    const ports = await freePorts(9);
    const lines = [1, 2, 3].map((id) => `server.${id}=127.0.0.1:${ports[id + 2]}:${ports[id + 5]}`);
    const config = [...lines, 'initLimit=20', 'syncLimit=10', 'standaloneEnabled=false'];
    const members = await Promise.all(
      [1, 2, 3].map(async (myId) =>
        own(await ZookeeperServer.prepare({ myId, config, clientPort: ports[myId - 1] ?? 0 })),
      ),
    );
    await Promise.all(members.map((member) => member.server.start()));
    const [first, second, third] = members;
    await first!.put(`${PATH}/web/a`, '10.0.0.1:80');
    const zk = backend(
      members.map(({ port }) => port),
      { random: () => 0 },
    );
    const before = await watch(zk).synced(5000);
    expect(zk.info().endpoint).toBe(`127.0.0.1:${first!.port}`);
    await first!.server.kill();
    await ended(before);
    let after = watch(zk);
    // If it was the leader, the others elect a new one meanwhile.
    await until('another member', async () => {
      if (after.end) after = watch(zk);
      await pause(50);
      return after.counts.synced > 0;
    });
    expect(ids(after)).toBe('a');
    await second!.put(`${PATH}/web/b`, '10.0.0.2:80');
    await seen(after, 'a,b');
    const survivor = zk.info().endpoint === `127.0.0.1:${third!.port}` ? second! : third!;
    await survivor.server.kill();
    expect((await ended(after, 15_000)).message).toMatch(/hung up|nothing heard|connection/);
    expect(ids(after)).toBe('a,b');
    expect((await failure(zk)).message).toContain('none of its endpoints works');
  }, 90_000);
});
