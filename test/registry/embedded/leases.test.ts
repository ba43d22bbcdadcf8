import { describe, expect, it } from 'vitest';
import { type Clock, ManualClock } from '../../../src/core/clock.ts';
import { type Lease, Leases } from '../../../src/registry/embedded/leases.ts';
import { FaultyDisk, contents, onCleanup, openRegistry, register } from './fixture.ts';

/** Ten seconds, as most tests here give. */
const ttlMs = 10_000;

describe('a registration with a ttl', () => {
  it('goes down when a heartbeat is missed, says why, and comes back with the next one', async () => {
    const { registry, clock } = await openRegistry();
    const id = await register(registry, { ttlMs });
    const state = (): unknown => registry.find({ service: 'web', id })?.instance;
    clock.advance(9_999);
    expect(state()).toMatchObject({ state: 'up', stateReason: undefined });
    clock.advance(51);
    expect(state()).toMatchObject({ state: 'down', stateReason: 'no heartbeat within its ttl of 10s' });
    expect(registry.heartbeat(id).kind).toBe('renewed');
    expect(state()).toMatchObject({ state: 'up', stateReason: undefined });
    clock.advance(9_999);
    expect(state()).toMatchObject({ state: 'up' });
  });

  it('stays as long as heartbeats come', async () => {
    const { registry, clock } = await openRegistry();
    const id = await register(registry, { ttlMs });
    const before = registry.index;
    for (let beat = 0; beat < 100; beat++) {
      clock.advance(9_900);
      expect(registry.heartbeat(id).kind).toBe('renewed');
    }
    expect(registry.index).toBe(before);
  });

  it('is removed after three missed ttls, durably, and the next heartbeat hears of it', async () => {
    const { registry, clock, dataDir } = await openRegistry();
    const reasons: string[] = [];
    registry.subscribe((change) => {
      if (change.kind === 'remove') reasons.push(change.reason);
    });
    const id = await register(registry, { ttlMs });
    clock.advance(29_999);
    expect(contents(registry)).toHaveLength(1);
    clock.advance(51);
    expect(registry.heartbeat(id)).toEqual({ kind: 'unknown' });
    await expect.poll(() => contents(registry)).toEqual([]);
    expect(reasons).toEqual(['expired']);
    expect(registry.figures.leases).toBe(0);
    await registry.close();
    expect(contents((await openRegistry({ dataDir })).registry)).toEqual([]);
  });

  it('is kept when it registers again while its removal is on the way', async () => {
    const { registry, clock } = await openRegistry();
    const id = await register(registry, { id: 'one', ttlMs });
    clock.advance(30_050);
    expect(registry.heartbeat(id)).toEqual({ kind: 'unknown' });
    await register(registry, { id: 'one', ttlMs });
    expect(contents(registry)).toEqual(['web/one 10.0.0.1:80 1 10000']);
    expect(registry.heartbeat(id).kind).toBe('renewed');
  });

  it.each([
    ['anew', 2],
    ['as before', 1],
  ])('is kept when it registered %s just before its removal was decided', async (_, weight) => {
    const { registry, clock } = await openRegistry();
    const id = await register(registry, { id: 'one', ttlMs });
    const removals: string[] = [];
    registry.subscribe((change) => {
      if (change.kind === 'remove') removals.push(change.reason);
    });
    const again = register(registry, { id: 'one', ttlMs, weight });
    clock.advance(30_050);
    await again;
    await register(registry, { port: 81 });
    expect(contents(registry)).toContain(`web/one 10.0.0.1:80 ${weight} 10000`);
    expect(registry.heartbeat(id).kind).toBe('renewed');
    expect(removals).toEqual([]);
  });

  it('counts registering again as a heartbeat, and takes a new ttl at once', async () => {
    const { registry, clock } = await openRegistry();
    const id = await register(registry, { ttlMs });
    const state = (): string | undefined => registry.find({ service: 'web', id })?.instance.state;
    clock.advance(8000);
    await register(registry, { ttlMs });
    clock.advance(8000);
    expect(state()).toBe('up');
    clock.advance(3000);
    expect(state()).toBe('down');
    await register(registry, { ttlMs });
    expect(state()).toBe('up');
    await register(registry, { ttlMs: 2000 });
    clock.advance(2051);
    expect(state()).toBe('down');
    await register(registry, {});
    clock.advance(10 * ttlMs);
    expect(state()).toBe('up');
    expect(registry.figures.leases).toBe(0);
  });

  it('is not touched by steps of the wall clock', async () => {
    const { registry, clock } = await openRegistry();
    const id = await register(registry, { ttlMs });
    for (const stepMs of [86_400_000, -365 * 86_400_000, 10 * 86_400_000]) {
      clock.stepWall(stepMs);
      clock.advance(3000);
      expect(registry.find({ service: 'web', id })?.instance.state).toBe('up');
    }
    clock.advance(1100);
    expect(registry.find({ service: 'web', id })?.instance.state).toBe('down');
  });

  it('has a whole ttl before it after a restart, even when it was down before', async () => {
    const { registry, clock, dataDir } = await openRegistry();
    const id = await register(registry, { ttlMs });
    clock.advance(25_000);
    expect(registry.find({ service: 'web', id })?.instance.state).toBe('down');
    await registry.close();
    const { registry: next, clock: later } = await openRegistry({ dataDir });
    const state = (): string | undefined => next.find({ service: 'web', id })?.instance.state;
    later.advance(9_999);
    expect(state()).toBe('up');
    later.advance(51);
    expect(state()).toBe('down');
    later.advance(20_000);
    await expect.poll(() => contents(next)).toEqual([]);
  });

  it('stays, as down, while its removal cannot be written, and goes when it can', async () => {
    const disk = new FaultyDisk();
    const { registry, clock } = await openRegistry({ disk });
    const id = await register(registry, { ttlMs });
    disk.fail('ENOSPC', 'write');
    clock.advance(30_050);
    await expect.poll(() => registry.figures.appendFailures).toBe(1);
    await expect.poll(() => registry.heartbeat(id).kind).toBe('renewed');
    clock.advance(30_050);
    await expect.poll(() => registry.figures.appendFailures).toBe(2);
    expect(registry.find({ service: 'web', id })?.instance.state).toBe('down');
    disk.mend();
    clock.advance(ttlMs + 50);
    await expect.poll(() => contents(registry)).toEqual([]);
  });

  it('without a ttl lives until it is deregistered', async () => {
    const { registry, clock } = await openRegistry();
    const id = await register(registry);
    clock.advance(365 * 86_400_000);
    expect(registry.find({ service: 'web', id })?.instance.state).toBe('up');
    expect(registry.heartbeat(id).kind).toBe('renewed');
    expect((await registry.deregister(id)).kind).toBe('removed');
    expect(contents(registry)).toEqual([]);
  });
});

/** A process that is stopped and goes on: timers come late, all at once. */
class StallingClock implements Clock {
  readonly #manual = new ManualClock();
  #aheadMs = 0;

  now(): number {
    return this.#manual.now() + this.#aheadMs;
  }

  wall(): number {
    return this.#manual.wall();
  }

  after(delayMs: number, task: () => void): () => void {
    return this.#manual.after(delayMs, task);
  }

  advance(byMs: number): void {
    this.#manual.advance(byMs);
  }

  stall(byMs: number): void {
    this.#aheadMs += byMs;
  }
}

describe('Leases', () => {
  const setUp = (clock: Clock): { leases: Leases; missed: string[]; expired: Lease[] } => {
    const missed: string[] = [];
    const expired: Lease[] = [];
    const leases = new Leases({
      clock,
      onMissed: (lease) => missed.push(lease.key.id),
      onExpired: (lease) => expired.push(lease),
    });
    onCleanup(() => {
      leases.stop();
    });
    return { leases, missed, expired };
  };
  const key = (id: string): { service: string; id: string } => ({ service: 'web', id });

  it('hold nobody to the time in which this process stood still', () => {
    const clock = new StallingClock();
    const { leases, missed, expired } = setUp(clock);
    const lease = leases.grant(key('a'), ttlMs);
    clock.advance(5000);
    clock.stall(60_000);
    clock.advance(4000);
    expect(leases.stalledMs).toBeGreaterThan(59_000);
    expect(missed).toEqual([]);
    clock.advance(2000);
    expect(missed).toEqual(['a']);
    expect(leases.renew(lease)).toBe(true);
    clock.stall(3_600_000);
    clock.advance(9000);
    expect(missed).toEqual(['a']);
    clock.advance(2000);
    expect(missed).toEqual(['a', 'a']);
    clock.stall(3_600_000);
    clock.advance(18_000);
    expect(expired).toEqual([]);
    clock.advance(3000);
    expect(expired).toEqual([lease]);
  });

  it('take one timer for any number, and none when there is none', () => {
    const clock = new ManualClock();
    const { leases, missed } = setUp(clock);
    const held = Array.from({ length: 20_000 }, (_, at) => leases.grant(key(String(at)), 10_000 + at));
    expect(clock.pending).toBe(1);
    clock.advance(9000);
    for (const lease of held) leases.renew(lease);
    clock.advance(9000);
    expect(missed).toEqual([]);
    expect(clock.pending).toBe(1);
    for (const lease of held) leases.end(lease);
    expect(clock.pending).toBe(0);
    expect(leases.size).toBe(0);
  });

  it('are all looked at when they run out together', () => {
    const clock = new ManualClock();
    const { leases, missed, expired } = setUp(clock);
    for (let at = 0; at < 5000; at++) leases.grant(key(String(at)), ttlMs);
    clock.advance(ttlMs + 100);
    expect(missed).toHaveLength(5000);
    clock.advance(2 * ttlMs);
    expect(expired).toHaveLength(5000);
  });
});
