import { existsSync, readdirSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { EtcdServer, etcdBinary } from '../servers/etcd.ts';
import { eventually, GatewayProcess, Instance, pause, request, Traffic } from './world.ts';

vi.setConfig({ testTimeout: 60_000 });

const HOUR_MS = 3_600_000;

/** The one for threads. Debian's package `libfaketime` keeps it in the directory of the architecture. */
function findLibrary(): string | undefined {
  const roots = ['/usr/lib', ...readdirSync('/usr/lib').map((name) => join('/usr/lib', name))];
  return roots.map((root) => join(root, 'faketime/libfaketimeMT.so.1')).find((path) => existsSync(path));
}

const library = process.platform === 'linux' ? findLibrary() : undefined;
const required = process.env['FAIRLEAD_REQUIRE_SERVERS'] !== undefined;
const missing = [library ? '' : 'libfaketime', etcdBinary ? '' : 'etcd'].filter((name) => name !== '').join(', ');
const why = missing !== '' && !required ? ` (cannot be had: ${missing})` : '';

interface Event {
  readonly kind: string;
  readonly service: string;
  readonly to: string;
  readonly cause: string;
}

async function events(gateway: GatewayProcess): Promise<Event[]> {
  return ((await (await fetch(`${gateway.admin}/api/events`)).json()) as { events: Event[] }).events;
}

async function registryNamed(gateway: GatewayProcess, name: string): Promise<{ state: string; ageMs: number }> {
  const { registries } = (await (await fetch(`${gateway.admin}/api/registries`)).json()) as {
    registries: { name: string; state: string; ageMs: number }[];
  };
  return registries.find((registry) => registry.name === name)!;
}

/** By how many hours the gateway's wall clock is wrong, from its timeline. */
async function hoursOff(gateway: GatewayProcess): Promise<number> {
  const before = (await events(gateway)).length;
  await gateway.register({ serviceName: `mark${before}`, host: '127.0.0.1', port: 9 });
  const { events: all } = (await (await fetch(`${gateway.admin}/api/events?service=mark${before}`)).json()) as {
    events: { wall: number }[];
  };
  return Math.round((all.at(-1)!.wall - Date.now()) / HOUR_MS) + 0;
}

describe.skipIf(why !== '')(`a gateway whose wall clock steps under load${why}`, () => {
  it.concurrent.for([['forward', 1] as const, ['back', -1] as const])(
    'an hour %s ejects nobody, lets no lease expire and believes its saved set',
    async ([way, hours], { onTestFinished }) => {
      // Its own of the context: the global one takes the other test for this one.
      const stops: (() => Promise<unknown>)[] = [];
      onTestFinished(async () => {
        for (const stop of stops.reverse()) await stop();
      });
      const etcd = await EtcdServer.start();
      stops.push(async () => etcd.server[Symbol.asyncDispose]());
      const directory = await mkdtemp(join(tmpdir(), 'fairlead-clock-'));
      stops.push(() => rm(directory, { recursive: true }));
      const clock = join(directory, 'clock');
      await writeFile(clock, '+0');
      const gateway = await GatewayProcess.start({
        besides: `{ name: far, type: etcd, endpoints: ['${etcd.url}'], prefix: /services/ }`,
        env: {
          LD_PRELOAD: library,
          FAKETIME_TIMESTAMP_FILE: clock,
          FAKETIME_NO_CACHE: '1',
          // The names of libfaketime 0.9.10 and of those before it.
          FAKETIME_DONT_FAKE_MONOTONIC: '1',
          DONT_FAKE_MONOTONIC: '1',
        },
      });
      stops.push(() => gateway.stop());
      const leased = await Instance.start({ name: 'leased', registry: gateway.registry, ttl: '1s' });
      stops.push(() => leased.kill());
      const other = await Instance.start({ name: 'other', service: 'api' });
      stops.push(() => other.kill());
      await etcd.put('/services/api/other', { host: '127.0.0.1', port: other.port });
      await gateway.serving('web', 1);
      await gateway.serving('api', 1);
      expect(await hoursOff(gateway)).toBe(0);

      const traffic = [
        new Traffic(gateway, { perSecond: 50 }),
        new Traffic(gateway, { perSecond: 50, service: 'api' }),
      ];
      await pause(500);
      const known = (await events(gateway)).length;
      await writeFile(clock, `${hours > 0 ? '+' : '-'}1h`);
      // Three leases long, and a probe of each.
      await pause(6000);
      expect(await hoursOff(gateway)).toBe(hours);
      const tallies = await Promise.all(traffic.map((each) => each.stop()));
      for (const { failures } of tallies) expect(failures.slice(0, 3)).toEqual([]);
      const happened = (await events(gateway)).slice(known).filter(({ service }) => ['web', 'api'].includes(service));
      expect(happened).toEqual([]);
      expect(await (await gateway.api('GET', '/services/web/instances?healthy=true')).json()).toHaveLength(1);
      const heard = await registryNamed(gateway, 'far');
      expect(heard.state).toBe('synced');
      expect(heard.ageMs).toBeGreaterThanOrEqual(0);
      expect(heard.ageMs).toBeLessThan(60_000);

      // What was saved an hour in the future, or in the past, is still what there was.
      gateway.process.signal('SIGTERM');
      await gateway.process.exited;
      await etcd.server.kill();
      await writeFile(clock, '+0');
      await gateway.launch();
      await eventually('both services answer', async () => {
        const answers = await Promise.all(['web', 'api'].map((service) => request(gateway, { service })));
        return answers.every(({ status }) => status === 200);
      });
      const saved = await registryNamed(gateway, 'far');
      console.log(
        `an hour ${way}: ${tallies.map(({ sent }) => sent).join(' + ')} requests; the saved set is said to be ${Math.round(saved.ageMs / 1000)} s old`,
      );
      expect(saved.state).toBe('stale');
      expect(saved.ageMs).toBeGreaterThanOrEqual(0);
      expect(saved.ageMs).toBeLessThan(2 * HOUR_MS);
      expect(await (await gateway.api('GET', '/services/web/instances')).json()).toHaveLength(1);
    },
  );
});
