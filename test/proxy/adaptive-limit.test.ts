import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../src/core/random.ts';
import { adapt, adaptiveLimit, overload } from '../../src/proxy/adaptive-limit.ts';
import { isLimited, limitOf } from '../../src/proxy/limits.ts';
import { Figures } from '../../src/upstream/figures.ts';

const SLOT = 1;

/** An instance that does `capacity` things at once in `workMs` each; more of them wait their turn. */
function world(capacity: number) {
  const figures = new Figures(4);
  figures.clear(SLOT);
  const random = seededRandom(1);
  const state = { capacity, nowMs: 1000, workMs: 20 };
  /** As many clients ask as the limit lets, or as there are. */
  const run = (forMs: number, clients: number): number => {
    const endMs = state.nowMs + forMs;
    while (state.nowMs < endMs) {
      const inflight = Math.min(clients, adaptiveLimit(figures, SLOT));
      const tookMs = state.workMs * Math.max(1, inflight / state.capacity) * (0.8 + 0.4 * random());
      state.nowMs += tookMs / inflight;
      figures.inflight[SLOT] = inflight;
      (figures.attempts[SLOT] as number)++;
      figures.answered(SLOT, tookMs, state.nowMs);
      adapt(figures, SLOT, tookMs, state.nowMs);
    }
    return adaptiveLimit(figures, SLOT);
  };
  return { figures, state, run };
}

describe('the adaptive limit of an instance', () => {
  it('grows to what the instance bears, and little beyond', () => {
    const limit = world(100).run(20_000, 10_000);
    expect(limit).toBeGreaterThan(90);
    expect(limit).toBeLessThan(400);
  });

  it('stays where nobody makes use of it', () => {
    expect(world(100).run(20_000, 5)).toBe(20);
  });

  it('shrinks when the instance bears less all of a sudden, and comes back', () => {
    const { state, run } = world(100);
    const before = run(20_000, 10_000);
    state.capacity = 10;
    const during = run(3000, 10_000);
    expect(during).toBeLessThan(before / 3);
    state.capacity = 100;
    expect(run(20_000, 10_000)).toBeGreaterThan(90);
  });

  it('starts anew where everything takes longer for good', () => {
    const { state, run } = world(100);
    run(20_000, 10_000);
    state.workMs = 100;
    run(60_000, 10_000);
    const limit = run(60_000, 10_000);
    expect(limit).toBeGreaterThan(50);
    expect(limit).toBeLessThan(400);
  });

  it('shrinks by what the instance says of itself, a tenth at a time, and never below four', () => {
    const { figures, run, state } = world(100);
    const before = run(20_000, 10_000);
    state.nowMs += 1000;
    overload(figures, SLOT, state.nowMs);
    for (let i = 0; i < 100; i++) overload(figures, SLOT, state.nowMs);
    const once = adaptiveLimit(figures, SLOT);
    expect(once).toBeGreaterThan(before * 0.8);
    expect(once).toBeLessThan(before);
    for (let i = 0; i < 200; i++) overload(figures, SLOT, (state.nowMs += 1000));
    expect(adaptiveLimit(figures, SLOT)).toBe(4);
    expect(run(30_000, 10_000)).toBeGreaterThan(90);
  });

  it('is a thousand at most', () => {
    expect(world(100_000).run(60_000, 100_000)).toBe(1000);
  });

  it('holds besides the fixed one, and only where it is asked for', () => {
    const { figures, run } = world(100);
    run(20_000, 10_000);
    expect(isLimited({ maxInflightPerInstance: 0, adaptiveLimit: false })).toBe(false);
    expect(limitOf({ maxInflightPerInstance: 7, adaptiveLimit: false }, figures, SLOT)).toBe(7);
    expect(limitOf({ maxInflightPerInstance: 7, adaptiveLimit: true }, figures, SLOT)).toBe(7);
    expect(limitOf({ maxInflightPerInstance: 0, adaptiveLimit: true }, figures, SLOT)).toBe(
      adaptiveLimit(figures, SLOT),
    );
    expect(limitOf({ maxInflightPerInstance: 0, adaptiveLimit: true }, figures, 2)).toBe(20);
  });
});
