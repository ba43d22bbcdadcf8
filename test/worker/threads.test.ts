import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { instance } from '../../src/core/instance.ts';
import { systemRandom } from '../../src/core/random.ts';
import { SocketBudget } from '../../src/core/socket-budget.ts';
import type { Logger } from '../../src/telemetry/log.ts';
import { Figures } from '../../src/upstream/figures.ts';
import { Fleet } from '../../src/upstream/fleet.ts';
import type { Failing, MemoryPattern } from '../../src/worker/failing.ts';
import { DataThreads, ThreadBarrier, type ThreadListener } from '../../src/worker/threads.ts';
import { load } from '../config/load-text.ts';
import { eventually, pause } from '../e2e/world.ts';
import { POLICY } from '../policy.ts';

/** Real threads, with real sockets, of a fleet in this process. */
class World {
  readonly figures = new Figures(64);
  readonly died: string[] = [];
  /** Details of messages of level info: of threads that are replaced. */
  readonly said: unknown[] = [];
  readonly fleet: Fleet;
  readonly threads: DataThreads;
  readonly origin: http.Server;
  listener!: ThreadListener;

  private constructor(count: number, origin: http.Server) {
    this.origin = origin;
    const barrier = new ThreadBarrier();
    this.fleet = new Fleet({
      clock: systemClock,
      random: systemRandom,
      figures: this.figures,
      barrier,
      defaultPolicy: { ...POLICY, breaker: { ...POLICY.breaker, openMs: 200 } },
    });
    const gateway = load(
      'gateway: { upstreamAddresses: { allowLoopback: true }, limits: { threadMemory: 128MiB } }',
    ).gateway;
    this.threads = new DataThreads({
      clock: systemClock,
      fleet: this.fleet,
      barrier,
      log: { ...QUIET, info: (_, details) => void this.said.push(details) },
      count,
      reusePort: true,
      settings: { gateway, hosts: [], ownListeners: [], accessLog: false },
      sockets: { openFiles: undefined, cells: SocketBudget.cells(count + 1) },
      serviceRows: 16,
      rowOf: () => 2,
      onSuspect: (slot, cause) => void this.fleet.memberBySlot(slot)?.guard()?.trip(cause),
      onRefused: () => undefined,
      onLines: () => undefined,
      onDied: (thread, cause) => void this.died.push(`${thread}: ${cause}`),
    });
  }

  static async start(count: number, answer: http.RequestListener): Promise<World> {
    const origin = http.createServer(answer);
    await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve));
    const world = new World(count, origin);
    world.register('i1');
    world.listener = await world.threads.listen('127.0.0.1', 0);
    return world;
  }

  register(id: string): void {
    const { port } = this.origin.address() as AddressInfo;
    const member = this.fleet.upsert(instance({ id, service: 'web', host: '127.0.0.1', port }));
    if (member) this.fleet.setProbe(member, 'passing', 'test');
  }

  get slot(): number {
    return this.fleet.find('web', 'i1')!.slot;
  }

  /** On a connection of its own, so that the kernel chooses the thread. */
  get(path = '/'): Promise<number> {
    return new Promise((resolve, reject) => {
      const options = {
        port: this.listener.port,
        path,
        headers: { host: 'web.localhost' },
        agent: false,
        timeout: 5000,
      };
      http
        .get(options, (response) => {
          response.resume();
          response.on('end', () => {
            resolve(response.statusCode ?? 0);
          });
          response.on('error', reject);
        })
        .on('error', reject);
    });
  }

  async stop(): Promise<void> {
    await this.threads.close();
    this.fleet.close();
    this.origin.closeAllConnections();
    await new Promise((resolve) => this.origin.close(resolve));
  }
}

const QUIET: Logger = {
  trace: () => undefined,
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => QUIET,
};

let world: World | undefined;
afterEach(async () => {
  await world?.stop();
  world = undefined;
});

async function answered(it: World): Promise<void> {
  await eventually('a thread answers', async () => (await it.get()) === 200, 10_000);
}

describe('data-plane threads', () => {
  it('share a port, the load figures and what they count', { timeout: 30_000 }, async () => {
    let waiting: (() => void)[] = [];
    const it = (world = await World.start(3, (request, response) => {
      if (request.url === '/') response.end('ok');
      else waiting.push(() => response.end('ok'));
    }));
    await answered(it);
    const slow = Array.from({ length: 40 }, () => it.get('/slow'));
    await eventually('all are in flight', () => waiting.length === 40, 10_000);
    expect(it.figures.inflight[it.slot]).toBe(40);
    await eventually('each thread has some', () => it.threads.sum('requests') === 40, 5000);
    const perThread = it.threads.meters.length;
    expect(perThread).toBe(3);
    for (const answer of waiting) answer();
    waiting = [];
    expect(new Set(await Promise.all(slow))).toEqual(new Set([200]));
    await eventually('nothing is left', () => it.figures.inflight[it.slot] === 0, 5000);
  });

  it(
    'all obey a breaker that one of them has opened, and make one trial between them',
    { timeout: 30_000 },
    async () => {
      let broken = true;
      let trials = 0;
      let hold: (() => void) | undefined;
      const it = (world = await World.start(3, (_, response) => {
        if (broken) {
          response.statusCode = 503;
          response.end();
          return;
        }
        trials++;
        hold = () => response.end('ok');
      }));
      await eventually(
        'it opens',
        async () => {
          await it.get();
          return it.figures.breaker[it.slot] === 1;
        },
        10_000,
      );
      expect(await Promise.all(Array.from({ length: 10 }, () => it.get()))).toEqual(new Array(10).fill(503));
      broken = false;
      await eventually('it is half-open', () => it.figures.breaker[it.slot] === 2, 5000);
      await pause(50);
      const many = Array.from({ length: 30 }, () => it.get());
      await eventually('the trial is under way', () => trials === 1, 5000);
      await pause(200);
      expect(trials).toBe(1);
      hold?.();
      const statuses = await Promise.all(many);
      expect(statuses.filter((status) => status === 200)).toHaveLength(1);
      await eventually('it is closed', () => it.figures.breaker[it.slot] === 0, 5000);
    },
  );

  it.each<Failing>(['exit', 'throw', 'loop', 'trickle'])(
    'replace one that ends by %s, with its in-flight figures and its trial put right',
    { timeout: 60_000 },
    async (how) => {
      let over = false;
      const it = (world = await World.start(2, (request, response) => {
        if (request.url === '/' || over) response.end('ok');
      }));
      await answered(it);
      const hanging = Array.from({ length: 20 }, () =>
        it.get('/never').catch((error: unknown) => (error as Error).message),
      );
      await eventually('all are in flight', () => it.figures.inflight[it.slot] === 20, 5000);
      it.threads.fail(0, how);
      await eventually('the thread is noticed', () => it.died.length === 1, 30_000);
      const left = it.figures.inflight[it.slot]!;
      expect(left).toBeLessThan(20);
      await eventually(
        'both serve again',
        async () => {
          const statuses = await Promise.all(Array.from({ length: 20 }, () => it.get().catch(() => 0)));
          return statuses.every((status) => status === 200);
        },
        20_000,
      );
      expect(it.figures.inflight[it.slot]).toBe(left);
      over = true;
      it.origin.closeAllConnections();
      await Promise.all(hanging);
      await eventually('nothing is left', () => it.figures.inflight[it.slot] === 0, 5000);
      expect(it.died).toHaveLength(1);
    },
  );

  // Each of them aborts the whole process where V8 finds its own limit before the watchdog has looked.
  it.each<MemoryPattern>(['objects', 'strings', 'growing-array', 'giant-array', 'map', 'buffers', 'buffers-loop'])(
    'survive one that takes all the memory it can get: %s',
    { timeout: 60_000 },
    async (how) => {
      let over = false;
      const it = (world = await World.start(2, (request, response) => {
        if (request.url === '/' || over) response.end('ok');
      }));
      await answered(it);
      const hanging = Array.from({ length: 20 }, () => it.get('/never').catch(() => 'broken'));
      await eventually('all are in flight', () => it.figures.inflight[it.slot] === 20, 5000);
      it.threads.fail(0, how);
      await eventually('it is ended', () => it.died.length === 1, 30_000);
      const left = it.figures.inflight[it.slot]!;
      await eventually('another one listens in its place', () => it.said.length === 1, 10_000);
      // It lived for less than 10 s: 100 ms of waiting, and on a busy machine what it takes to begin.
      expect((it.said[0] as { afterMs: number }).afterMs).toBeLessThan(3000);
      expect(await Promise.all(Array.from({ length: 20 }, () => it.get()))).toEqual(new Array(20).fill(200));
      expect(it.figures.inflight[it.slot]).toBe(left);
      over = true;
      it.origin.closeAllConnections();
      const outcomes = await Promise.all(hanging);
      // What was not on that thread ends as it would have without all this.
      expect(outcomes.filter((outcome) => outcome === 'broken')).toHaveLength(20 - left);
      expect(it.died).toHaveLength(1);
    },
  );

  it('take less memory over at once, and more with the next thread', { timeout: 60_000 }, async () => {
    const it = (world = await World.start(1, (_, response) => response.end('ok')));
    await answered(it);
    const { gateway, ...settings } = it.threads.settings;
    const permit = (threadMemoryBytes: number): void => {
      it.threads.reconfigure({
        ...settings,
        gateway: { ...gateway, limits: { ...gateway.limits, threadMemoryBytes } },
      });
    };
    permit(2 ** 20);
    await eventually('it has more than that, and is ended', () => it.died.length === 1, 5000);
    permit(2 ** 30);
    await eventually('the next one may have as much as it needs', () => it.said.length === 1, 20_000);
    await answered(it);
    await pause(500);
    expect(it.died.length).toBeLessThanOrEqual(2);
  });

  it.each<Failing>(['exit', 'loop'])(
    'lose no connection that comes while one has ended by %s and is replaced',
    { timeout: 60_000 },
    async (how) => {
      const it = (world = await World.start(2, (_, response) => response.end('ok')));
      await answered(it);
      await answered(it);
      const failures: string[] = [];
      let sent = 0;
      const asking: Promise<unknown>[] = [];
      const ask = (): void => {
        sent++;
        const number = sent;
        asking.push(
          it
            .get()
            .then((status) => status !== 200 && failures.push(`${number}: ${status}`))
            .catch((error: unknown) => failures.push(`${number}: ${(error as Error).message}`)),
        );
      };
      const timer = setInterval(ask, 5);
      // Enough to know that a thread which accepts before it knows them would be seen.
      for (let other = 0; other < 40; other++)
        it.fleet.upsert(instance({ id: 'i', service: `other-${other}`, host: '127.0.0.1', port: 1 }));
      await pause(300);
      it.threads.fail(0, how);
      await eventually('the thread is noticed', () => it.died.length === 1, 20_000);
      await pause(1500);
      clearInterval(timer);
      await Promise.all(asking);
      expect(sent).toBeGreaterThan(200);
      expect(failures.filter((each) => /: \d+$/.test(each))).toEqual([]);
      // Those that the thread had taken from the kernel just before.
      expect(failures.length).toBeLessThanOrEqual(2);
    },
  );

  it('refuse an address that somebody else listens on', { timeout: 20_000 }, async () => {
    const it = (world = await World.start(2, (_, response) => response.end('ok')));
    const { port } = it.origin.address() as AddressInfo;
    await expect(it.threads.listen('127.0.0.1', port)).rejects.toThrow(
      `cannot listen on 127.0.0.1:${port}: another process listens there already (EADDRINUSE)`,
    );
  });

  it('drop nothing that is new while an instance leaves', { timeout: 30_000 }, async () => {
    const it = (world = await World.start(2, (_, response) => response.end('ok')));
    await answered(it);
    it.register('i2');
    await eventually(
      'i2 is picked',
      async () => {
        await it.get();
        const member = it.fleet.find('web', 'i2');
        return member !== undefined && it.figures.attempts[member.slot]! > 0;
      },
      5000,
    );
    const slot = it.slot;
    const before = it.figures.attempts[slot];
    it.fleet.remove('web', 'i1');
    const statuses = await Promise.all(Array.from({ length: 50 }, () => it.get()));
    expect(new Set(statuses)).toEqual(new Set([200]));
    expect(it.figures.attempts[slot]).toBe(before);
    await eventually('its slot is free', () => it.fleet.memberBySlot(slot) === undefined, 5000);
  });
});
