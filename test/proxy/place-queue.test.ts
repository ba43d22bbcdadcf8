import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import { PlaceQueues } from '../../src/proxy/place-queue.ts';
import type { RoutedService } from '../../src/upstream/directory.ts';
import { POLICY } from '../policy.ts';

const service = (size = 10): RoutedService =>
  ({ policy: { ...POLICY, queue: { size, timeoutMs: 1000 } } }) as unknown as RoutedService;

/** Requests that take one of `places`, and write down in which order. */
function stage(size?: number) {
  const clock = new ManualClock();
  const [queues, web] = [new PlaceQueues(clock), service(size)];
  const taken: string[] = [];
  const leaving = new Map<string, (() => void) | undefined>();
  const free = { places: 0 };
  const join = (name: string, then?: () => void): boolean => {
    const leave = queues.join(web, {
      takePlace: () => {
        if (free.places === 0) return false;
        free.places--;
        leaving.get(name)?.();
        taken.push(name);
        then?.();
        return true;
      },
    });
    leaving.set(name, leave);
    return leave !== undefined;
  };
  return { clock, queues, web, taken, leaving, free, join };
}

describe('requests that wait for a place', () => {
  it('are served first come, first served, as places come free', async () => {
    const { queues, web, taken, leaving, free, join, clock } = stage(3);
    expect(['a', 'b', 'c', 'd'].map((name) => join(name))).toEqual([true, true, true, false]);
    leaving.get('b')?.();
    leaving.get('b')?.();
    expect(queues.length).toBe(2);
    free.places = 1;
    queues.freed(web);
    await Promise.resolve();
    expect(taken).toEqual(['a']);
    free.places = 5;
    clock.advance(10);
    expect(taken).toEqual(['a', 'c']);
    expect(queues.isWaitedFor(web)).toBe(false);
    clock.advance(10);
    expect(clock.pending).toBe(0);
  });

  it('have one turn each, although they come back at once', async () => {
    const { queues, web, taken, free, join } = stage();
    join('a', () => join('a'));
    join('b');
    free.places = 100;
    queues.freed(web);
    await Promise.resolve();
    expect(taken).toEqual(['a', 'b']);
    expect(queues.length).toBe(1);
  });

  it('may leave after the end', () => {
    const { queues, leaving, join, clock } = stage();
    join('a');
    queues.close();
    leaving.get('a')?.();
    expect(queues.length).toBe(0);
    expect(clock.pending).toBe(0);
  });
});
