import { describe, expect, it } from 'vitest';
import { interleave } from '../../src/registry/interleave.ts';
import { stoppable } from '../../src/registry/stoppable.ts';

/** Counts up until it is stopped, then waits for ever: only its signal wakes it. */
function counting(
  upTo: number,
  ends: { count: number },
): (signal: AbortSignal) => AsyncGenerator<number, void, undefined> {
  return async function* (signal) {
    try {
      for (let at = 1; at <= upTo; at += 1) yield at;
      await new Promise((_, reject) =>
        signal.addEventListener('abort', () => reject(new Error('torn down')), { once: true }),
      );
    } finally {
      ends.count += 1;
    }
  };
}

describe('a stoppable iteration', () => {
  it('ends without an error when the signal aborts in the middle of a next()', async () => {
    const ends = { count: 0 };
    const controller = new AbortController();
    const seen: number[] = [];
    setTimeout(() => controller.abort(), 20);
    for await (const item of stoppable(controller.signal, counting(2, ends))) seen.push(item);
    expect([seen, ends.count]).toEqual([[1, 2], 1]);
  });

  it('ends when return() is called in the middle of a next(), and the next() with it', async () => {
    const ends = { count: 0 };
    const iterator = stoppable(new AbortController().signal, counting(0, ends))[Symbol.asyncIterator]();
    const waiting = iterator.next();
    expect(await iterator.return?.()).toEqual({ done: true, value: undefined });
    expect(await waiting).toEqual({ done: true, value: undefined });
    expect(ends.count).toBe(1);
  });

  it('tells nothing once it is aborted, though there may be more', async () => {
    const ends = { count: 0 };
    const controller = new AbortController();
    const seen: number[] = [];
    for await (const item of stoppable(controller.signal, counting(5, ends))) {
      seen.push(item);
      controller.abort();
    }
    expect([seen, ends.count]).toEqual([[1], 1]);
    for await (const item of stoppable(AbortSignal.abort(), counting(5, ends))) seen.push(item);
    expect(seen).toEqual([1]);
  });

  it('passes errors on, and aborts what is left running behind them', async () => {
    const signals: AbortSignal[] = [];
    const failing = stoppable(new AbortController().signal, async function* (signal) {
      signals.push(signal);
      yield 1;
      await Promise.resolve();
      throw new Error('lost');
    });
    const read = async (): Promise<void> => {
      for await (const item of failing) expect(item).toBe(1);
    };
    await expect(read()).rejects.toThrow('lost');
    expect(signals[0]?.aborted).toBe(true);
  });

  it('leaves no listener on the signal it was given', async () => {
    const controller = new AbortController();
    let listeners = 0;
    const { signal } = controller;
    const counted = new Proxy(signal, {
      get: (target, key) => {
        const value = Reflect.get(target, key, target) as unknown;
        if (typeof value !== 'function') return value;
        return (...args: unknown[]): unknown => {
          if (key === 'addEventListener') listeners += 1;
          if (key === 'removeEventListener') listeners -= 1;
          return Reflect.apply(value, target, args);
        };
      },
    });
    for await (const item of stoppable(counted, counting(3, { count: 0 }))) if (item === 3) break;
    expect(listeners).toBe(0);
  });
});

describe('interleaved iterations', () => {
  async function* timed(name: string, ...delaysMs: number[]): AsyncGenerator<string, void, undefined> {
    for (const [at, delayMs] of delaysMs.entries()) {
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      yield `${name}${at}`;
    }
  }

  it('come as they come, each in its own order, until all have ended', async () => {
    const seen: string[] = [];
    for await (const item of interleave(timed('a', 1, 1, 1), timed('b', 60, 1), timed('c'))) seen.push(item);
    expect(seen).toEqual(['a0', 'a1', 'a2', 'b0', 'b1']);
  });

  it('end with the first error of any', async () => {
    const failing = (async function* () {
      yield await Promise.resolve('x');
      throw new Error('broken');
    })();
    const seen: string[] = [];
    const read = async (): Promise<void> => {
      for await (const item of interleave(timed('a', 500), failing)) seen.push(item);
    };
    await expect(read()).rejects.toThrow('broken');
    expect(seen).toEqual(['x']);
  });

  it('are asked for nothing more while the reader is busy', async () => {
    let made = 0;
    const eager = (async function* () {
      while (true) yield await Promise.resolve((made += 1));
    })();
    for await (const item of interleave(eager)) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      expect(made).toBe(item);
      if (item === 5) break;
    }
  });
});
