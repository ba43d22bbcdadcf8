import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import { Watchdog } from '../../src/worker/watchdog.ts';

function watch(cpuOf: (nowMs: number) => number | undefined) {
  const clock = new ManualClock();
  const state = {
    beats: 1,
    memoryMb: 10,
    asked: 0,
    answer: undefined as number | undefined,
    maxMb: 100,
    stuckAtMs: [] as number[],
    bloated: [] as number[],
  };
  const watchdog = new Watchdog({
    clock,
    threads: 1,
    beatsOf: () => state.beats,
    cpuOf: () => cpuOf(clock.now()),
    memoryOf: () => state.memoryMb,
    weigh: () => {
      state.asked++;
      return Promise.resolve(state.answer);
    },
    maxMemoryOf: () => state.maxMb,
    onBloated: (_, memoryMb) => state.bloated.push(memoryMb),
    onStuck: () => state.stuckAtMs.push(clock.now()),
  });
  return { clock, state, watchdog };
}

describe('the watchdog of threads', () => {
  it('finds a loop within three quarters of a second', () => {
    const { clock, state } = watch((nowMs) => nowMs);
    for (let beat = 0; beat < 20; beat++) {
      state.beats++;
      clock.advance(50);
    }
    expect(state.stuckAtMs).toEqual([]);
    clock.advance(3000);
    expect(state.stuckAtMs[0]! - 1000).toBeLessThanOrEqual(750);
  });

  it('gives a thread that does not run 3 s, and one of which it is not known what it does no longer than a loop', () => {
    const starved = watch(() => 0);
    starved.clock.advance(2900);
    expect(starved.state.stuckAtMs).toEqual([]);
    starved.clock.advance(500);
    expect(starved.state.stuckAtMs).toHaveLength(1);
    const unknown = watch(() => undefined);
    unknown.clock.advance(1000);
    expect(unknown.state.stuckAtMs).toHaveLength(1);
  });

  it('does not judge a thread that has yet to begin, nor while it is late itself', () => {
    const young = watch((nowMs) => nowMs);
    young.state.beats = 0;
    young.clock.advance(10_000);
    expect(young.state.stuckAtMs).toEqual([]);
  });

  it('tells once of memory that has grown too much, and again of the next thread', () => {
    const { clock, state, watchdog } = watch(() => 0);
    clock.advance(200);
    expect(state.bloated).toEqual([]);
    state.memoryMb = 101;
    clock.advance(1000);
    expect(state.bloated).toEqual([101]);
    watchdog.reset(0);
    clock.advance(150);
    expect(state.bloated).toEqual([101, 101]);
  });

  it('holds to the limit as it is at the time', () => {
    const { clock, state } = watch(() => 0);
    state.memoryMb = 90;
    clock.advance(300);
    expect(state.bloated).toEqual([]);
    state.maxMb = 80;
    clock.advance(150);
    expect(state.bloated).toEqual([90]);
  });

  it('asks a thread that does not beat for its memory, before it counts as stuck, and no other', async () => {
    const { clock, state } = watch((nowMs) => nowMs);
    for (let beat = 0; beat < 20; beat++) {
      state.beats++;
      clock.advance(50);
    }
    expect(state.asked).toBe(0);
    state.answer = 500;
    clock.advance(300);
    expect(state.asked).toBe(1);
    await Promise.resolve();
    expect(state.bloated).toEqual([500]);
    expect(state.stuckAtMs).toEqual([]);
  });

  it('heeds no answer about a thread that another one has replaced', async () => {
    const { clock, state, watchdog } = watch(() => 0);
    state.answer = 500;
    clock.advance(300);
    expect(state.asked).toBe(1);
    watchdog.reset(0);
    await Promise.resolve();
    expect(state.bloated).toEqual([]);
  });

  it('leaves no timer', () => {
    const { clock, watchdog } = watch(() => 0);
    watchdog.stop();
    expect(clock.pending).toBe(0);
  });
});
