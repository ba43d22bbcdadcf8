import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import { type Instance, instance } from '../../src/core/instance.ts';
import { seededRandom } from '../../src/core/random.ts';
import { RegistryMerge } from '../../src/registry/merge.ts';
import { RegistrySource, type RegistrySourceOptions } from '../../src/registry/source.ts';
import { MemoryBackend, MemoryRegistry } from '../contract/memory-backend.ts';
import { RecordingSink } from './recording-sink.ts';

const web = (id: number, part: Partial<Instance> = {}): Instance =>
  instance({ service: 'web', id: `i${id}`, host: `10.0.0.${id}`, port: 80, ...part });

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'fairlead-source-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

/** One gateway's life: what is on disk and in the registry outlives it. */
class Life {
  readonly clock = new ManualClock();
  readonly sink = new RecordingSink();
  readonly merge = new RegistryMerge(this.sink, this.clock);
  readonly notes: string[] = [];
  readonly propagations: number[] = [];
  readonly source: RegistrySource;

  constructor(registry: MemoryRegistry, options: Partial<RegistrySourceOptions> = {}) {
    this.source = new RegistrySource({
      name: 'memory',
      backend: (onSkip) => new MemoryBackend(registry, { clock: this.clock, onSkip }),
      merge: this.merge,
      clock: this.clock,
      random: seededRandom(3),
      listener: {
        snapshotUsed: ({ ageMs, services, instances }) =>
          this.notes.push(`snapshot of ${ageMs} ms: ${services}/${instances}`),
        snapshotProblem: (error) => this.notes.push(error.message),
        propagation: (durationMs, changes) => this.propagations.push(durationMs, changes),
        skip: ({ service, id, why }) => this.notes.push(`${service}/${id}: ${why}`),
      },
      ...options,
    });
    this.source.start();
  }

  async pass(ms: number, stepMs = 100): Promise<void> {
    for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    await this.clock.advanceAsync(ms, stepMs);
    for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }

  /** File operations take real time, during which the clock stands still. */
  async until(condition: () => boolean): Promise<void> {
    const deadline = performance.now() + 5000;
    while (!condition()) {
      if (performance.now() > deadline) throw new Error(`not within 5 s; ${JSON.stringify(this.source.status())}`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  async stop(): Promise<void> {
    const stopped = this.source.stop();
    await this.pass(6000);
    await stopped;
  }
}

const snapshot = () => ({ snapshot: { directory, identity: 'one' } });

describe('one registry, from its backend to the pool', () => {
  it('shows what is registered, in the turn it arrives in', async () => {
    const registry = new MemoryRegistry();
    registry.register(web(1));
    const life = new Life(registry);
    expect(life.source.isReady).toBe(false);
    await life.pass(100);
    await life.source.ready;
    registry.register(web(2));
    registry.deregister('web', 'i1');
    await life.pass(10, 10);
    expect(life.sink.ids()).toEqual(['web/i2']);
    expect(life.propagations.length).toBeGreaterThan(0);
    expect(life.source.status()).toMatchObject({
      name: 'memory',
      type: 'memory',
      state: 'synced',
      ready: true,
      services: 1,
      instances: 1,
      held: 0,
      snapshotAgeMs: undefined,
      endpoint: 'memory:1',
      leader: 'memory-a',
      revision: '3',
    });
    expect(life.source.services()).toEqual(['web']);
    expect(life.source.tableOf('web')).toEqual([{ instance: web(2), held: false }]);
    await life.stop();
    expect(life.clock.pending).toBe(0);
    expect(life.sink.ids()).toEqual(['web/i2']);
  });

  it('measures how long a change took to the return of the sink', async () => {
    const registry = new MemoryRegistry();
    const life = new Life(registry);
    await life.pass(100);
    life.sink.upsert = () => {
      life.clock.advance(7);
    };
    registry.register(web(1));
    await life.pass(10, 10);
    expect(life.propagations).toEqual([7, 1]);
    await life.stop();
  });

  it('is ready with an empty registry, and not with one that does not answer, which it explains', async () => {
    const empty = new Life(new MemoryRegistry());
    await empty.pass(100);
    expect(empty.source.isReady).toBe(true);
    await empty.stop();
    const registry = new MemoryRegistry();
    registry.lose();
    const lost = new Life(registry, snapshot());
    await lost.pass(5000);
    expect(lost.source.status()).toMatchObject({
      ready: false,
      state: 'failed',
      lastError: { message: expect.stringContaining('memory:1') as string },
    });
    await lost.stop();
  });

  it('maps, and reports what it must leave out, once', async () => {
    const registry = new MemoryRegistry();
    registry.register(web(1));
    registry.register(instance({ service: 'a/b', id: 'i', host: 'h', port: 1 }));
    registry.hostile.add('web');
    const life = new Life(registry, { mapping: { kind: 'all', prefix: 'x-' } });
    await life.pass(100);
    life.source.resync();
    await life.pass(1000);
    expect(life.sink.ids()).toEqual(['x-web/i1']);
    expect(life.notes).toEqual([
      expect.stringMatching(/^web\/hostile: port/),
      expect.stringMatching(/^a\/b\/\*: the service name/),
    ]);
    expect(life.source.status()).toMatchObject({ skipped: 4, recentSkips: [{ service: 'a/b' }, { service: 'web' }] });
    await life.stop();
  });

  it('gives an address its one spelling, so that two registries can mean the same', async () => {
    const registry = new MemoryRegistry();
    registry.register(web(1, { host: '2001:DB8:0::1' }));
    registry.register(web(2, { host: 'Web.Internal.' }));
    registry.register(web(3, { host: '2001:db8::1' }));
    const life = new Life(registry, { follow: { relistMs: 1000 } });
    await life.pass(5000);
    expect([...life.sink.pool.values()].map((each) => each.host)).toEqual(['2001:db8::1', 'web.internal']);
    expect(life.source.status().counters.drift).toBe(0);
    await life.stop();
  });

  it('takes no more than its limits, and says so', async () => {
    const registry = new MemoryRegistry();
    for (let at = 1; at <= 5; at += 1) registry.register(web(at));
    registry.register(instance({ service: 'pay', id: 'p', host: 'h', port: 1 }));
    const life = new Life(registry, { limits: { instances: 3, services: 1 } });
    await life.pass(100);
    expect(life.sink.ids()).toEqual(['web/i1', 'web/i2', 'web/i3']);
    expect(life.notes).toContain('web/i4: there are more than 3 instances');
    expect(life.notes).toContain('pay/*: there are more than 1 services');
    await life.stop();
  });

  it('keeps what a failing sink refused, tells of it, and shows it again', async () => {
    const registry = new MemoryRegistry();
    const errors: string[] = [];
    const life = new Life(registry, { listener: { sinkFailed: (error) => errors.push(error.message) } });
    await life.pass(100);
    const upsert = life.sink.upsert.bind(life.sink);
    life.sink.upsert = () => {
      throw new Error('a bug in the fleet');
    };
    registry.register(web(1));
    await life.pass(1500);
    expect(errors.length).toBeGreaterThan(1);
    expect(life.source.status().state).toBe('synced');
    life.sink.upsert = upsert;
    await life.pass(1500);
    expect(life.sink.ids()).toEqual(['web/i1']);
    await life.stop();
    expect(life.clock.pending).toBe(0);
  });

  it('leaves the pool when it is withdrawn, while its successor takes over without a gap', async () => {
    const registry = new MemoryRegistry();
    registry.register(web(1));
    registry.register(web(2));
    const life = new Life(registry);
    await life.pass(100);
    await life.stop();
    const successor = new RegistrySource({
      name: 'memory',
      backend: () => new MemoryBackend(registry, { clock: life.clock }),
      merge: life.merge,
      clock: life.clock,
      random: seededRandom(4),
    });
    registry.deregister('web', 'i2');
    life.sink.take();
    successor.start();
    await life.pass(100);
    life.source.withdraw();
    expect(life.sink.take()).toEqual(['-web/i2']);
    const stopped = successor.stop();
    await life.pass(6000);
    await stopped;
    successor.withdraw();
    expect(life.sink.pool.size).toBe(0);
    expect([...life.merge.services()]).toEqual([]);
  });
});

describe('a cold start', () => {
  /** A life in which the registry is up, and which ends in order. */
  async function firstLife(registry: MemoryRegistry): Promise<void> {
    const life = new Life(registry, snapshot());
    await life.pass(100);
    await life.stop();
    expect(await readdir(directory)).toEqual(['registry-memory.snapshot']);
  }

  it('serves the saved set at once when the registry is down, and says how old it is', async () => {
    const registry = new MemoryRegistry();
    registry.register(web(1));
    registry.register(web(2));
    await firstLife(registry);
    registry.lose();
    const life = new Life(registry, snapshot());
    await life.pass(1, 1);
    await life.until(() => life.source.isReady);
    expect(life.clock.now()).toBeLessThan(100);
    expect(life.sink.ids()).toEqual(['web/i1', 'web/i2']);
    expect(life.source.status()).toMatchObject({
      state: 'stale',
      ready: true,
      instances: 2,
      lastError: { refused: false },
    });
    expect(life.source.status().snapshotAgeMs).toBeDefined();
    expect(life.notes).toEqual([expect.stringMatching(/^snapshot of \d+ ms: 1\/2$/)]);
    registry.restore();
    await life.pass(31_000);
    expect(life.source.status()).toMatchObject({ state: 'synced', snapshotAgeMs: undefined });
    await life.stop();
  });

  it('waits out its grace for a registry that is silent', async () => {
    const registry = new MemoryRegistry();
    registry.register(web(1));
    await firstLife(registry);
    registry.freeze();
    const life = new Life(registry, snapshot());
    await life.pass(900);
    expect(life.source.isReady).toBe(false);
    await life.pass(200);
    await life.until(() => life.source.isReady);
    expect(life.sink.ids()).toEqual(['web/i1']);
    await life.stop();
  });

  it('does not touch the saved set when the registry answers', async () => {
    const registry = new MemoryRegistry();
    registry.register(web(1));
    await firstLife(registry);
    registry.deregister('web', 'i1');
    registry.register(web(2));
    const life = new Life(registry, snapshot());
    await life.pass(5000);
    expect(life.sink.calls).toEqual(['+web/i2']);
    expect(life.notes).toEqual([]);
    await life.stop();
  });

  it('guards the saved set against a registry that comes back empty', async () => {
    const registry = new MemoryRegistry();
    for (let at = 1; at <= 4; at += 1) registry.register(web(at));
    await firstLife(registry);
    registry.lose();
    const passing = new Set(['i1', 'i2']);
    const life = new Life(registry, { ...snapshot(), passes: (_service, id) => passing.has(id) });
    await life.pass(1, 1);
    await life.until(() => life.source.isReady);
    registry.restartEmpty();
    await life.pass(4000);
    expect(life.sink.ids()).toEqual(['web/i1', 'web/i2']);
    expect(life.source.status()).toMatchObject({
      state: 'synced',
      held: 2,
      holds: [{ service: 'web', instances: 2, confirmed: true }],
    });
    registry.register(web(1));
    await life.pass(60_000, 500);
    expect(life.sink.ids()).toEqual(['web/i1']);
    await life.stop();
  });

  it('goes without a saved set that is damaged or belongs to something else', async () => {
    const registry = new MemoryRegistry();
    registry.register(web(1));
    await firstLife(registry);
    registry.lose();
    const other = new Life(registry, { snapshot: { directory, identity: 'two' } });
    await other.pass(2000);
    await other.until(() => other.notes.length > 0);
    expect(other.notes[0]).toMatch(/another configuration/);
    expect(other.source.isReady).toBe(false);
    expect(other.source.status().snapshotProblem).toMatch(/another configuration/);
    await other.stop();
    await writeFile(join(directory, 'registry-memory.snapshot'), 'garbage');
    const life = new Life(registry, snapshot());
    await life.pass(2000);
    await life.until(() => life.notes.length > 0);
    expect(life.source.isReady).toBe(false);
    await life.stop();
  });

  it('does not overwrite the saved set before the registry has answered', async () => {
    const registry = new MemoryRegistry();
    registry.register(web(1));
    await firstLife(registry);
    registry.lose();
    for (let round = 0; round < 2; round += 1) {
      const life = new Life(registry, snapshot());
      await life.pass(1, 1);
      await life.until(() => life.source.isReady);
      expect(life.sink.ids()).toEqual(['web/i1']);
      await life.pass(20_000);
      await life.stop();
    }
  });
});
