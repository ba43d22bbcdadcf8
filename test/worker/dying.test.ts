import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import http from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { instance } from '../../src/core/instance.ts';
import { systemRandom } from '../../src/core/random.ts';
import { SocketBudget } from '../../src/core/socket-budget.ts';
import { silentLogger } from '../../src/telemetry/log.ts';
import { Figures } from '../../src/upstream/figures.ts';
import { Fleet } from '../../src/upstream/fleet.ts';
import { DataThreads, ThreadBarrier, type ThreadListener } from '../../src/worker/threads.ts';
import { type SpawnThread, spawnWorker } from '../../src/worker/worker-thread.ts';
import { load } from '../config/load-text.ts';
import { eventually, freePort } from '../e2e/world.ts';
import { POLICY } from '../policy.ts';

/** Real threads, of which those with these numbers die at once for as long as they are in this set. */
class World {
  readonly doomed = new Set<number>();
  readonly fleet: Fleet;
  readonly threads: DataThreads;
  listener!: ThreadListener;
  deaths = 0;
  replaced = 0;

  constructor(count: number) {
    const barrier = new ThreadBarrier();
    const parts = { clock: systemClock, random: systemRandom, barrier };
    this.fleet = new Fleet({ ...parts, figures: new Figures(64), defaultPolicy: POLICY });
    const spawn: SpawnThread = (setup, events) => {
      const thread = spawnWorker(setup, events);
      if (this.doomed.has(setup.number)) setTimeout(() => thread.post({ type: 'fail', how: 'exit' }), 1);
      return thread;
    };
    this.threads = new DataThreads({
      ...parts,
      fleet: this.fleet,
      log: {
        ...silentLogger,
        info: (event) => {
          if (event === 'data-plane thread replaced') this.replaced++;
        },
      },
      count,
      spawn,
      reusePort: true,
      settings: { gateway: load('').gateway, hosts: [], ownListeners: [], accessLog: false },
      sockets: { openFiles: undefined, cells: SocketBudget.cells(count + 1) },
      serviceRows: 16,
      rowOf: () => 2,
      onSuspect: () => undefined,
      onRefused: () => undefined,
      onLines: () => undefined,
      onDied: () => {
        this.deaths++;
      },
    });
    this.fleet.upsert(instance({ id: 'i', service: 'web', host: '127.0.0.1', port: 1 }));
  }

  /** How long the answer takes: 503, since there is no instance. */
  async askMs(): Promise<number> {
    const beganMs = performance.now();
    const status = await new Promise((resolve, reject) => {
      const options = { port: this.listener.port, agent: false, headers: { host: 'web.localhost' }, timeout: 20_000 };
      http
        .get(options, (response) => {
          response.resume().on('end', () => {
            resolve(response.statusCode);
          });
        })
        .on('error', reject);
    });
    expect(status).toBe(503);
    return performance.now() - beganMs;
  }

  /** This thread dies, and so does every one that follows. */
  async doom(number: number, deaths: number): Promise<void> {
    this.doomed.add(number);
    this.threads.fail(number, 'exit');
    await eventually('they die one after the other', () => this.deaths >= deaths, 30_000);
  }

  async stop(): Promise<void> {
    await this.threads.close();
    this.fleet.close();
  }
}

let world: World | undefined;
afterEach(async () => {
  await world?.stop();
  world = undefined;
});

async function start(count: number): Promise<World> {
  const made = (world = new World(count));
  made.listener = await made.threads.listen('127.0.0.1', 0);
  await made.askMs();
  return made;
}

/** Descriptors of this process for sockets that listen at this port. */
function descriptors(port: number): number {
  const local = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const rows = readFileSync('/proc/net/tcp', 'latin1')
    .split('\n')
    .map((row) => row.trim().split(/\s+/));
  const listening = rows.filter((row) => row[1]?.endsWith(local) && row[3] === '0A').map((row) => `socket:[${row[9]}]`);
  return readdirSync('/proc/self/fd').filter((fd) => listening.includes(linkOf(fd))).length;
}

function linkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    // Closed in the meantime.
    return '';
  }
}

describe('a thread that dies again and again', () => {
  it('lets the others accept what waits for it, until it lives', { timeout: 60_000 }, async () => {
    const it = await start(2);
    await it.doom(1, 6);
    expect(it.threads.isStalled).toBe(false);
    // The next one comes in 3.2 s at the earliest.
    const took = await Promise.all(Array.from({ length: 30 }, () => it.askMs()));
    expect(Math.max(...took)).toBeLessThan(2500);
    it.doomed.clear();
    await eventually('it lives', async () => it.threads.census.running === 2 && (await it.askMs()) < 1000);
    // Whether the deputy still helps or the thread is just about to listen: nobody does any more.
    await it.listener.close();
    await eventually('all are closed', () => descriptors(it.listener.port) === 0);
    const refused = it.askMs().then(
      () => 'answered',
      (error: unknown) => (error as NodeJS.ErrnoException).code,
    );
    expect(await refused).toBe('ECONNREFUSED');
  });

  it('leaves no descriptors behind, is told when it is all there is, and comes back', { timeout: 60_000 }, async () => {
    const it = await start(1);
    const { port } = it.listener;
    expect(descriptors(port)).toBe(2);
    await it.doom(0, 6);
    expect(it.threads.isStalled).toBe(true);
    expect(descriptors(port)).toBe(1);
    const waiting = it.askMs();
    it.doomed.clear();
    // It has waited in the queue of the kernel.
    await waiting;
    expect(it.threads.isStalled).toBe(false);
    expect(descriptors(port)).toBe(2);
  });

  it('takes its place back', { timeout: 60_000 }, async () => {
    const it = await start(2);
    const { port } = it.listener;
    await it.doom(1, 4);
    // Two kept ones, that of the other thread, and that which it has in place of this one.
    await eventually('another listens in its place', () => descriptors(port) === 4);
    it.doomed.clear();
    await eventually('it listens itself', () => it.replaced === 1);
    await eventually('and nobody in its place', () => descriptors(port) === 4);
    for (let round = 0; round < 20; round++) await it.askMs();
  });

  it('does not refuse a listener that others can open', { timeout: 60_000 }, async () => {
    const it = await start(2);
    await it.doom(0, 5);
    const port = await freePort();
    const added = await it.threads.listen('127.0.0.1', port);
    expect(added.port).toBe(port);
    it.listener = added;
    it.doomed.clear();
    await eventually('both live', () => it.threads.census.running === 2);
    for (let round = 0; round < 20; round++) await it.askMs();
  });
});

it('nobody listens where every thread dies at once', { timeout: 30_000 }, async () => {
  const made = (world = new World(1));
  made.doomed.add(0);
  await made.doom(0, 2);
  await expect(made.threads.listen('127.0.0.1', 0)).rejects.toThrow('every thread has ended before it could listen');
});
