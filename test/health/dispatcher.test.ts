import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import { TimingWheel } from '../../src/core/wheel.ts';
import { Dispatcher, type Job } from '../../src/health/dispatcher.ts';
import { Fifo } from '../../src/health/fifo.ts';

class TestJob implements Job {
  readonly name: string;
  readonly host: string;
  readonly suspect: boolean;
  wanted = true;
  queued = false;
  lane: 'steady' | 'suspect' = 'steady';

  constructor(name: string, host: string, suspect = false) {
    this.name = name;
    this.host = host;
    this.suspect = suspect;
  }
}

function setUp(limits: { concurrency?: number; perHost?: number; startsPerTick?: number }) {
  const clock = new ManualClock();
  const wheel = new TimingWheel({ clock, tickMs: 10, slots: 32 });
  const begun: TestJob[] = [];
  const full = { concurrency: 1000, perHost: 1000, startsPerTick: 1000, ...limits };
  const dispatcher = new Dispatcher<TestJob>(clock, wheel, full, (job) => begun.push(job));
  return { clock, wheel, begun, dispatcher, names: () => begun.map(({ name }) => name) };
}

describe('Dispatcher', () => {
  it('runs at most so many jobs at once, in order of arrival', () => {
    const { dispatcher, names, begun } = setUp({ concurrency: 2 });
    for (let index = 0; index < 5; index++) dispatcher.offer(new TestJob(`j${index}`, `h${index}`), 0);
    expect(names()).toEqual(['j0', 'j1']);
    expect([dispatcher.running, dispatcher.queued]).toEqual([2, 3]);
    dispatcher.ended(begun[0]!);
    expect(names()).toEqual(['j0', 'j1', 'j2']);
    dispatcher.ended(begun[2]!);
    dispatcher.ended(begun[1]!);
    expect(names()).toEqual(['j0', 'j1', 'j2', 'j3', 'j4']);
  });

  it('lets the jobs of a full host wait without holding up those of others', () => {
    const { dispatcher, names, begun } = setUp({ perHost: 1 });
    for (const name of ['a1', 'a2', 'a3', 'b1', 'c1']) dispatcher.offer(new TestJob(name, name.charAt(0)), 0);
    expect(names()).toEqual(['a1', 'b1', 'c1']);
    dispatcher.ended(begun[0]!);
    expect(names()).toEqual(['a1', 'b1', 'c1', 'a2']);
    dispatcher.ended(begun[3]!);
    expect(names().at(-1)).toBe('a3');
  });

  it('leaves half of the places to those that are not suspected of hanging', () => {
    const { dispatcher, begun } = setUp({ concurrency: 10 });
    for (let index = 0; index < 50; index++) dispatcher.offer(new TestJob(`s${index}`, `s${index}`, true), 0);
    expect(begun).toHaveLength(5);
    for (let index = 0; index < 50; index++) dispatcher.offer(new TestJob(`j${index}`, `j${index}`), 0);
    expect(begun.filter(({ suspect }) => !suspect)).toHaveLength(5);
    for (let round = 0; round < 20; round++) dispatcher.ended(begun.filter(({ suspect }) => !suspect)[round]!);
    expect(begun.filter(({ suspect }) => !suspect)).toHaveLength(25);
    expect(begun.filter(({ suspect }) => suspect)).toHaveLength(5);
  });

  it('takes turns, so that a full lane of steady jobs does not starve the suspects', () => {
    const { dispatcher, begun } = setUp({ concurrency: 4 });
    for (let index = 0; index < 40; index++) dispatcher.offer(new TestJob(`j${index}`, `j${index}`), 0);
    for (let index = 0; index < 10; index++) dispatcher.offer(new TestJob(`s${index}`, `s${index}`, true), 0);
    for (let ended = 0; ended < 12; ended++) dispatcher.ended(begun[ended]!);
    expect(begun.filter(({ suspect }) => suspect).length).toBeGreaterThanOrEqual(4);
  });

  it('begins a burst over several ticks', () => {
    const { clock, dispatcher, begun } = setUp({ startsPerTick: 10 });
    for (let index = 0; index < 25; index++) dispatcher.offer(new TestJob(`j${index}`, `h${index}`), 0);
    expect(begun).toHaveLength(10);
    dispatcher.ended(begun[0]!);
    expect(begun).toHaveLength(10);
    clock.advance(10);
    expect(begun).toHaveLength(20);
    clock.advance(10);
    expect(begun).toHaveLength(25);
    clock.advance(100);
    expect(clock.pending).toBe(0);
  });

  it('drops a job that is no longer wanted when its turn comes', () => {
    const { dispatcher, names, begun } = setUp({ concurrency: 1 });
    const jobs = ['j0', 'j1', 'j2'].map((name) => new TestJob(name, name));
    for (const job of jobs) dispatcher.offer(job, 0);
    jobs[1]!.wanted = false;
    dispatcher.ended(begun[0]!);
    expect(names()).toEqual(['j0', 'j2']);
    expect([dispatcher.queued, jobs[1]!.queued]).toEqual([0, false]);
  });

  it('drops withdrawn jobs parked with a full host, and still runs the one behind them', () => {
    const { dispatcher, names, begun } = setUp({ perHost: 1 });
    const jobs = ['a1', 'a2', 'a3', 'a4'].map((name) => new TestJob(name, 'a'));
    for (const job of jobs) dispatcher.offer(job, 0);
    jobs[1]!.wanted = false;
    jobs[2]!.wanted = false;
    dispatcher.ended(begun[0]!);
    expect(names()).toEqual(['a1', 'a4']);
    dispatcher.ended(jobs[3]!);
    expect([dispatcher.running, dispatcher.queued]).toEqual([0, 0]);
  });

  it('runs fewer at once when told that the machine cannot carry them, and grows back', () => {
    const { dispatcher, begun } = setUp({ concurrency: 100 });
    for (let index = 0; index < 200; index++) dispatcher.offer(new TestJob(`j${index}`, `h${index}`), 0);
    expect(begun).toHaveLength(100);
    dispatcher.shrink();
    expect(dispatcher.concurrency).toBe(50);
    for (let ended = 0; ended < 40; ended++) dispatcher.ended(begun[ended]!);
    expect(begun).toHaveLength(100);
    for (let ended = 40; ended < 60; ended++) dispatcher.ended(begun[ended]!);
    expect(dispatcher.running).toBeLessThanOrEqual(57);
    for (let ended = 60; ended < 200; ended++) dispatcher.ended(begun[ended]!);
    expect(begun).toHaveLength(200);
    expect(dispatcher.concurrency).toBeGreaterThan(60);
    for (let count = 0; count < 10; count++) dispatcher.shrink();
    expect(dispatcher.concurrency).toBeGreaterThanOrEqual(16);
  });

  it('offers no second place to a job that is queued already', () => {
    const { dispatcher, begun } = setUp({ concurrency: 1 });
    const [first, second] = [new TestJob('a', 'a'), new TestJob('b', 'b')];
    dispatcher.offer(first, 0);
    dispatcher.offer(second, 0);
    dispatcher.offer(second, 0);
    dispatcher.ended(first);
    dispatcher.ended(second);
    expect(begun).toEqual([first, second]);
  });
});

describe('Fifo', () => {
  it('gives items back in order, whatever the mix of pushes and shifts', () => {
    const fifo = new Fifo<{ readonly n: number }>();
    let pushed = 0;
    let shifted = 0;
    for (let step = 0; step < 5000; step++) {
      if (step % 7 < 4) fifo.push({ n: pushed++ });
      else {
        const item = fifo.shift();
        if (item !== undefined) expect(item.n).toBe(shifted++);
      }
      expect(fifo.size).toBe(pushed - shifted);
    }
    while (fifo.size > 0) expect(fifo.shift()!.n).toBe(shifted++);
    expect(fifo.shift()).toBeUndefined();
  });
});
