import { describe, expect, it } from 'vitest';
import { ManualClock, sleep } from '../../src/core/clock.ts';
import { type Instance, instance } from '../../src/core/instance.ts';
import { seededRandom } from '../../src/core/random.ts';
import type { Interest, RegistryBackend, RegistryEvent, RegistryInfo } from '../../src/registry/backend.ts';
import {
  FOLLOW_DEFAULTS,
  type FollowState,
  type FollowTimings,
  type Loss,
  RegistryFollower,
} from '../../src/registry/follow.ts';
import { SourceTable, type TableEvent } from '../../src/registry/table.ts';
import { MemoryBackend, MemoryRegistry } from '../contract/memory-backend.ts';

const ALL: Interest = { kind: 'all' };
const nothing = (): void => undefined;
const web = (id: number, part: Partial<Instance> = {}): Instance =>
  instance({ service: 'web', id: `i${id}`, host: `10.0.0.${id}`, port: 80, ...part });

/** A follower on a manual clock, with everything it says written down. */
class Stage {
  readonly clock = new ManualClock();
  readonly registry = new MemoryRegistry();
  readonly losses: Loss[] = [];
  readonly states: FollowState[] = [];
  readonly drifts: string[][] = [];
  readonly listErrors: string[] = [];
  readonly leaders: string[] = [];
  readonly table = new SourceTable(
    { name: 'memory', rank: 0, put: nothing, drop: nothing, know: nothing, forget: nothing, flush: nothing },
    { instances: 1000, services: 1000 },
    nothing,
    nothing,
  );
  readonly applied: TableEvent[] = [];
  readonly follow: RegistryFollower;

  constructor(timings: Partial<FollowTimings> = {}, backend?: (stage: Stage) => RegistryBackend) {
    this.follow = new RegistryFollower({
      backend: backend?.(this) ?? new MemoryBackend(this.registry, { clock: this.clock }),
      interest: ALL,
      clock: this.clock,
      random: seededRandom(7),
      timings: { ...FOLLOW_DEFAULTS, relistMs: 0, ...timings },
      target: {
        apply: (event, arrivedMs) => {
          this.applied.push(event);
          this.table.apply(event, arrivedMs);
          this.table.show(() => false);
        },
        known: () => [...this.table.services()].filter((service) => service.known).map((service) => service.name),
        differences: (listed, only) => this.table.differences(listed, only),
      },
      listener: {
        state: (state) => this.states.push(state),
        lost: (loss) => this.losses.push(loss),
        drift: (services) => this.drifts.push([...services]),
        listFailed: (error) => this.listErrors.push(error.message),
        leaderChanged: (leader, previous) => this.leaders.push(`${previous}→${leader}`),
      },
    });
  }

  async started(): Promise<this> {
    this.follow.start();
    await this.pass(10);
    return this;
  }

  async pass(ms: number, stepMs = 100): Promise<void> {
    await this.clock.advanceAsync(ms, Math.min(ms, stepMs));
    for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }

  ids(service = 'web'): string[] {
    return [...(this.table.service(service)?.slots.keys() ?? [])].sort();
  }

  async stopped(): Promise<void> {
    const stopped = this.follow.stop();
    await this.pass(FOLLOW_DEFAULTS.endMs + 1000);
    await stopped;
  }
}

/** A backend whose watch is a script. */
function scripted(
  watch: (signal: AbortSignal, clock: ManualClock) => AsyncIterable<RegistryEvent>,
  more: Partial<RegistryBackend> = {},
) {
  return (stage: Stage): RegistryBackend => ({
    type: 'scripted',
    watch: (_interest, signal) => watch(signal, stage.clock),
    list: () => Promise.resolve(new Map()),
    info: (): RegistryInfo => ({ endpoint: undefined, leader: undefined, revision: undefined }),
    ...more,
  });
}

const reset = (...instances: Instance[]): RegistryEvent => ({ kind: 'reset', service: 'web', instances });
const synced: RegistryEvent = { kind: 'synced', revision: '1' };

describe('following a registry', () => {
  it('goes from init over synced to stale and failed, and back', async () => {
    const stage = new Stage();
    expect(stage.follow.state).toBe('init');
    stage.registry.register(web(1));
    await stage.started();
    expect(stage.follow.state).toBe('synced');
    stage.registry.lose();
    await stage.pass(100);
    expect(stage.follow.state).toBe('stale');
    expect(stage.follow.status().ageMs).toBeGreaterThanOrEqual(100);
    await stage.pass(60_000);
    expect(stage.follow.state).toBe('failed');
    expect(stage.ids()).toEqual(['i1']);
    stage.registry.restore();
    await stage.pass(31_000);
    expect(stage.states).toEqual(['synced', 'stale', 'failed', 'synced']);
    expect(stage.follow.status().counters.resyncs.get('error')).toBe(stage.losses.length);
    await stage.stopped();
  });

  it('is failed at once where the registry never answered', async () => {
    const stage = new Stage();
    stage.registry.lose();
    await stage.started();
    expect(stage.states).toEqual(['failed']);
    expect(stage.follow.status()).toMatchObject({ ageMs: undefined, lastError: { refused: false } });
    await stage.stopped();
  });

  it('is stale with a saved set, which ages', async () => {
    const stage = new Stage();
    stage.registry.lose();
    await stage.started();
    stage.follow.adopted(3_600_000);
    await stage.pass(1000);
    expect(stage.follow.status()).toMatchObject({ state: 'stale', ageMs: 3_601_000 });
    await stage.stopped();
  });

  it('takes a service absent that a complete first read did not name, and none that a broken one did not', async () => {
    let round = 0;
    const known: string[][] = [];
    const broken = async function* (signal: AbortSignal, clock: ManualClock): AsyncIterable<RegistryEvent> {
      round += 1;
      known.push([...stage.table.services()].map((each) => each.name));
      if (round === 1) {
        yield reset(web(1));
        yield { kind: 'reset', service: 'pay', instances: [] };
        yield synced;
        await sleep(clock, 1000, signal);
        throw new Error('lost');
      }
      if (round === 2) {
        yield reset(web(1), web(2));
        throw new Error('lost in the first read');
      }
      yield reset(web(2));
      yield synced;
      await sleep(clock, 1e9, signal);
    };
    const stage = new Stage({}, scripted(broken));
    await stage.started();
    await stage.pass(5000);
    expect(known).toEqual([[], ['web', 'pay'], ['web', 'pay']]);
    expect([...stage.table.services()].map((each) => each.name)).toEqual(['web']);
    expect(stage.applied.filter((event) => event.kind === 'absent')).toEqual([{ kind: 'absent', service: 'pay' }]);
    await stage.stopped();
  });

  it('counts events by kind and changes of the leader, and tells the age since the last of them', async () => {
    const stage = await new Stage().started();
    stage.registry.register(web(1));
    stage.registry.register(web(2));
    stage.registry.deregister('web', 'i1');
    await stage.pass(500);
    stage.registry.leader = 'memory-b';
    stage.registry.beat();
    await stage.pass(300);
    const status = stage.follow.status();
    expect(status.counters).toMatchObject({
      events: { reset: 1, upsert: 1, remove: 1, absent: 0, synced: 2 },
      leaderChanges: 1,
    });
    expect(status).toMatchObject({ leader: 'memory-b', endpoint: 'memory:1' });
    expect(status.ageMs).toBeLessThanOrEqual(301);
    expect(stage.leaders).toEqual(['memory-a→memory-b']);
    await stage.stopped();
  });

  it('shows no age for what cannot age', async () => {
    const fixed = async function* (signal: AbortSignal, clock: ManualClock): AsyncIterable<RegistryEvent> {
      yield synced;
      await sleep(clock, 1e9, signal);
    };
    const stage = await new Stage({}, scripted(fixed, { alwaysFresh: true })).started();
    await stage.pass(100_000, 10_000);
    expect(stage.follow.status()).toMatchObject({ state: 'synced', ageMs: 0 });
    await stage.stopped();
  });
});

describe('coming back to a lost registry', () => {
  it('waits with full jitter below a ceiling that doubles from half a second to 30 seconds', async () => {
    const stage = new Stage();
    stage.registry.lose();
    await stage.started();
    await stage.pass(400_000, 50);
    const waits = stage.losses.map((loss) => loss.retryInMs);
    expect(waits.length).toBeGreaterThan(15);
    waits.forEach((wait, at) => {
      expect(wait).toBeGreaterThanOrEqual(100);
      expect(wait).toBeLessThanOrEqual(Math.min(30_000, 500 * 2 ** at));
    });
    const late = waits.slice(7);
    expect(Math.max(...late) - Math.min(...late)).toBeGreaterThan(10_000);
    expect(stage.losses.map((loss) => loss.attempts)).toEqual(waits.map((_, at) => at + 1));
    await stage.stopped();
  });

  it('forgets the doubling once a watch has been stable, and not before', async () => {
    const stage = await new Stage().started();
    const loseAfter = async (upMs: number): Promise<number> => {
      stage.registry.restore();
      while (stage.follow.state !== 'synced') await stage.pass(100);
      await stage.pass(upMs);
      stage.registry.lose();
      await stage.pass(10);
      return stage.losses.at(-1)!.attempts;
    };
    expect(await loseAfter(0)).toBe(1);
    expect(await loseAfter(1000)).toBe(2);
    expect(await loseAfter(29_000)).toBe(3);
    expect(await loseAfter(30_000)).toBe(1);
    await stage.stopped();
  });

  it('retries a refusal at the slow end, and says that it is one', async () => {
    const stage = new Stage();
    stage.registry.refuse();
    await stage.started();
    await stage.pass(200_000);
    expect(stage.losses.length).toBeGreaterThan(5);
    for (const loss of stage.losses) {
      expect(loss).toMatchObject({ refused: true, reason: 'refused' });
      expect(loss.retryInMs).toBeGreaterThanOrEqual(15_000);
      expect(loss.retryInMs).toBeLessThanOrEqual(30_000);
    }
    expect(stage.follow.status()).toMatchObject({
      state: 'failed',
      lastError: { refused: true, message: expect.stringContaining('registries[].token') as string },
    });
    stage.registry.restore();
    await stage.pass(31_000);
    expect(stage.follow.state).toBe('synced');
    await stage.stopped();
  });

  it('takes a watch that simply ends for a loss', async () => {
    const ending = async function* (): AsyncIterable<RegistryEvent> {
      await Promise.resolve();
      yield synced;
    };
    const stage = await new Stage({}, scripted(ending)).started();
    expect(stage.losses[0]).toMatchObject({ reason: 'ended', message: 'the scripted watch ended without an error' });
    await stage.stopped();
  });

  it('starts anew at once when it is asked to', async () => {
    const stage = await new Stage().started();
    stage.follow.restart('an operator asked');
    await stage.pass(200);
    expect(stage.follow.state).toBe('synced');
    expect(stage.follow.status().counters.resyncs.get('requested')).toBe(1);
    await stage.stopped();
  });

  it('keeps the last error as one line of bounded length, with its causes', async () => {
    const failing = async function* (): AsyncIterable<RegistryEvent> {
      yield* [];
      await Promise.resolve();
      throw new Error('cannot read\n\u0007the list', { cause: new Error(`refused ${'x'.repeat(1000)}`) });
    };
    const stage = await new Stage({}, scripted(failing)).started();
    const message = stage.follow.status().lastError?.message ?? '';
    expect(message).toMatch(/^cannot read the list: refused x+…$/);
    expect(message).toHaveLength(500);
    await stage.stopped();
  });

  it('does not say the fault twice that the error names by its code', async () => {
    const failing = async function* (): AsyncIterable<RegistryEvent> {
      yield* [];
      await Promise.resolve();
      const cause = Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:1'), { code: 'ECONNREFUSED' });
      throw new Error('nothing listens there (ECONNREFUSED); check registries[].address', { cause });
    };
    const stage = await new Stage({}, scripted(failing)).started();
    expect(stage.follow.status().lastError?.message).toBe(
      'nothing listens there (ECONNREFUSED); check registries[].address',
    );
    await stage.stopped();
  });
});

describe('a registry that falls silent', () => {
  const quietAfter = (...events: readonly [number, RegistryEvent][]) =>
    async function* (signal: AbortSignal, clock: ManualClock): AsyncIterable<RegistryEvent> {
      for (const [afterMs, event] of events) {
        await sleep(clock, afterMs, signal);
        yield event;
      }
      await sleep(clock, 1e9, signal);
    };

  it('is given up when the watch yields nothing at all', async () => {
    const stage = await new Stage({ syncMs: 10_000 }, scripted(quietAfter())).started();
    await stage.pass(9900);
    expect(stage.losses).toEqual([]);
    await stage.pass(200);
    expect(stage.losses[0]).toMatchObject({
      reason: 'sync-deadline',
      message: expect.stringContaining('10000 ms') as string,
    });
    await stage.stopped();
  });

  it('is not given up while the first read makes progress, but not for ever', async () => {
    const drip = Array.from({ length: 100 }, (_, at): [number, RegistryEvent] => [
      8000,
      { kind: 'absent', service: `s${at}` },
    ]);
    const stage = await new Stage({ syncMs: 10_000 }, scripted(quietAfter(...drip))).started();
    await stage.pass(95_000, 1000);
    expect(stage.losses).toEqual([]);
    await stage.pass(10_000, 1000);
    expect(stage.losses[0]?.reason).toBe('sync-deadline');
    await stage.stopped();
  });

  it('is given up after the silence that it or the operator promised to break', async () => {
    const stage = await new Stage(
      {},
      scripted(quietAfter([10, synced], [20_000, synced]), { maxSilenceMs: 25_000 }),
    ).started();
    await stage.pass(44_000, 500);
    expect(stage.losses).toEqual([]);
    await stage.pass(2000, 500);
    expect(stage.losses[0]).toMatchObject({ reason: 'silence' });
    await stage.stopped();
  });

  it('may be silent for as long as it likes where nobody promised anything', async () => {
    const stage = await new Stage({}, scripted(quietAfter([10, synced]))).started();
    await stage.pass(3_600_000, 60_000);
    expect(stage.losses).toEqual([]);
    await stage.stopped();
  });

  it('does not hold us up where its watch ignores the abort: that is told', async () => {
    let open = 0;
    const deaf = async function* (_signal: AbortSignal, clock: ManualClock): AsyncIterable<RegistryEvent> {
      open += 1;
      yield synced;
      await sleep(clock, 100_000);
      yield reset(web(66));
    };
    const stage = await new Stage({ maxSilenceMs: 10_000 }, scripted(deaf)).started();
    await stage.pass(17_000);
    expect(stage.losses[0]).toMatchObject({ reason: 'silence', stuck: true });
    expect(open).toBe(2);
    await stage.pass(90_000);
    // What a watch says after its end is not heard.
    expect(stage.applied.filter((event) => event.kind === 'reset')).toEqual([]);
    await stage.stopped();
  });
});

describe('the full list beside the watch', () => {
  it('finds what the watch missed, repairs it, counts it and begins the watch anew', async () => {
    const stage = await new Stage({ relistMs: 60_000 }).started();
    stage.registry.register(web(1));
    stage.registry.register(instance({ service: 'pay', id: 'p', host: '10.1.0.1', port: 80 }));
    await stage.pass(100);
    stage.registry.lie({ kind: 'remove', service: 'web', id: 'i1' });
    stage.registry.lie({
      kind: 'upsert',
      instance: instance({ service: 'ghost', id: 'g', host: '10.2.0.1', port: 80 }),
    });
    await stage.pass(80_000, 500);
    expect(stage.drifts.map((services) => services.sort())).toEqual([['ghost', 'web']]);
    expect(stage.ids()).toEqual(['i1']);
    expect(stage.ids('ghost')).toEqual([]);
    expect(stage.follow.status().counters).toMatchObject({ drift: 2, listFailures: 0 });
    expect(stage.follow.status().counters.resyncs.get('drift')).toBe(1);
    expect(stage.follow.state).toBe('synced');
    await stage.stopped();
  });

  it('takes a watch that is merely late for no drift, and its later word for the newer', async () => {
    let watchDelayMs = 0;
    const stage = new Stage({ relistMs: 7000 }, (self) => {
      const inner = new MemoryBackend(self.registry, { clock: self.clock, listDelayMs: 500 });
      return {
        type: 'late',
        list: (interest, signal) => inner.list(interest, signal),
        info: () => inner.info(),
        async *watch(interest, signal) {
          for await (const event of inner.watch(interest, signal)) {
            await sleep(self.clock, watchDelayMs, signal);
            yield event;
          }
        },
      };
    });
    await stage.started();
    watchDelayMs = 900;
    for (let at = 0; at < 100; at += 1) {
      if (at % 2 === 0) stage.registry.register(web(1, { weight: 1 + at }));
      else stage.registry.register(web(2, { weight: 1 + at }));
      await stage.pass(1000, 100);
    }
    expect(stage.follow.status().counters.lists).toBeGreaterThan(10);
    expect(stage.drifts).toEqual([]);
    await stage.stopped();
  });

  it('changes nothing when it fails or hangs, and is tried again', async () => {
    const stage = new Stage({ relistMs: 60_000, listMs: 5000 }, (self) => {
      const inner = new MemoryBackend(self.registry, { clock: self.clock });
      let round = 0;
      return {
        type: 'memory',
        watch: (interest, signal) => inner.watch(interest, signal),
        info: () => inner.info(),
        list: () => (round++ === 0 ? new Promise<never>(nothing) : Promise.reject(new Error('not allowed'))),
      };
    });
    stage.registry.register(web(1));
    await stage.started();
    await stage.pass(160_000, 1000);
    expect(stage.listErrors).toEqual(['the memory list was not complete after 5000 ms', 'not allowed']);
    expect(stage.ids()).toEqual(['i1']);
    expect(stage.losses).toEqual([]);
    await stage.stopped();
  });

  it('is not asked for while the registry is lost', async () => {
    const stage = await new Stage({ relistMs: 10_000 }).started();
    stage.registry.lose();
    await stage.pass(100_000, 1000);
    expect(stage.follow.status().counters.lists).toBe(0);
    await stage.stopped();
  });
});

describe('stopping', () => {
  it.each(['up', 'down', 'frozen'] as const)(
    'releases watch, timers and reads while the registry is %s',
    async (state) => {
      const stage = new Stage({ relistMs: 1000 });
      stage.registry.register(web(1));
      await stage.started();
      if (state === 'down') stage.registry.lose();
      if (state === 'frozen') stage.registry.freeze();
      const reading = stage.follow.read(undefined, new AbortController().signal).then(
        () => 'read',
        () => 'given up',
      );
      await stage.pass(1500);
      await stage.stopped();
      expect(await reading).toBe(state === 'up' ? 'read' : 'given up');
      expect(stage.clock.pending).toBe(0);
      expect(stage.registry.watchers).toBe(0);
    },
  );

  it('gives other work its turn during a flood of events', async () => {
    let turns = 0;
    const flood = async function* (signal: AbortSignal, clock: ManualClock): AsyncIterable<RegistryEvent> {
      for (let at = 0; at < 1000; at += 1) {
        clock.advance(1);
        yield { kind: 'absent', service: `s${at}` };
      }
      yield synced;
      await sleep(clock, 1e9, signal);
    };
    const stage = new Stage({ sliceMs: 5 }, scripted(flood));
    stage.follow.start();
    while (stage.follow.state !== 'synced') {
      turns += 1;
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(turns).toBeGreaterThan(100);
    await stage.stopped();
  });
});
