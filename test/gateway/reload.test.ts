import { describe, expect, it } from 'vitest';
import type { Config } from '../../src/config/config.ts';
import type { LoadResult } from '../../src/config/load.ts';
import { ManualClock } from '../../src/core/clock.ts';
import { type Reloadable, Reloader } from '../../src/gateway/reload.ts';
import { silentLogger } from '../../src/telemetry/log.ts';
import { Timeline } from '../../src/telemetry/timeline.ts';
import { load } from '../config/load-text.ts';

const BASE = load('');

/** A part that writes down what is asked of it. */
function part(name: string, calls: string[], trouble: { prepare?: string; commit?: string } = {}): Reloadable {
  return {
    prepare: (next) => {
      calls.push(`${name} prepares`);
      if (trouble.prepare !== undefined) throw new Error(trouble.prepare);
      return {
        commit: () => {
          calls.push(`${name} commits`);
          if (trouble.commit !== undefined) throw new Error(trouble.commit);
          return [`${name} ${next.gateway.domain}`];
        },
        abandon: () => void calls.push(`${name} abandons`),
      };
    },
  };
}

function reloader(
  parts: Reloadable[],
  next: () => Promise<LoadResult>,
): { reloader: Reloader; counted: string[]; clock: ManualClock } {
  const counted: string[] = [];
  const metrics = { configReload: (result: 'success' | 'failure') => void counted.push(result) };
  const clock = new ManualClock();
  const timeline = new Timeline({ clock });
  const made = new Reloader({
    clock,
    config: BASE,
    load: next,
    file: 'f.yaml',
    parts,
    log: silentLogger,
    metrics,
    timeline,
  });
  return { reloader: made, counted, clock };
}

const good = (change: Partial<Config> = {}) => Promise.resolve({ ok: true as const, config: { ...BASE, ...change } });

describe('a reload', () => {
  it('lets every part prepare before the first one takes over', async () => {
    const calls: string[] = [];
    const { reloader: made, counted } = reloader([part('a', calls), part('b', calls)], good);
    expect(await made.reload()).toEqual({ ok: true, changes: ['a localhost', 'b localhost'] });
    expect(calls).toEqual(['a prepares', 'b prepares', 'a commits', 'b commits']);
    expect(counted).toEqual(['success']);
  });

  it('that one part refuses changes nothing: the others give back what they opened', async () => {
    const calls: string[] = [];
    const parts = [part('a', calls), part('b', calls), part('c', calls, { prepare: 'the address is in use' })];
    const { reloader: made, counted } = reloader(parts, () => good({ workers: 3 }));
    expect(await made.reload()).toEqual({
      ok: false,
      issues: [{ file: 'f.yaml', line: 1, column: 1, path: '', message: 'the address is in use' }],
    });
    expect(calls.slice(3)).toEqual(['b abandons', 'a abandons']);
    expect(counted).toEqual(['failure']);
    expect(made.config).toBe(BASE);
  });

  it('of a file with mistakes asks no part', async () => {
    const calls: string[] = [];
    const issues = [{ file: 'f.yaml', line: 2, column: 3, path: 'x', message: 'unknown key' }];
    const { reloader: made, counted } = reloader([part('a', calls)], () => Promise.resolve({ ok: false, issues }));
    expect(await made.reload()).toEqual({ ok: false, issues });
    expect(calls).toEqual([]);
    expect(counted).toEqual(['failure']);
  });

  it('goes on with the other parts where one has a defect, and with the next reload', async () => {
    const calls: string[] = [];
    const { reloader: made } = reloader([part('a', calls, { commit: 'defect' }), part('b', calls)], good);
    expect(await made.reload()).toEqual({ ok: true, changes: ['b localhost'] });
    expect(await made.reload()).toEqual({ ok: true, changes: ['b localhost'] });
  });

  it('never rejects, not even where the file cannot be loaded for a defect', async () => {
    const { reloader: made } = reloader([], () => Promise.reject(new Error('defect')));
    expect(await made.reload()).toMatchObject({ ok: false, issues: [{ message: 'defect' }] });
  });

  it('waits for the one before it, and all who ask meanwhile share the next', async () => {
    const calls: string[] = [];
    const { reloader: made, counted } = reloader([part('a', calls)], good);
    const first = made.reload();
    while (calls.length === 0) await new Promise((resolve) => setImmediate(resolve));
    const others = await Promise.all(Array.from({ length: 300 }, () => made.reload()));
    expect(new Set(others)).toEqual(new Set([{ ok: true, changes: ['a localhost'] }]));
    await first;
    expect(calls).toEqual(['a prepares', 'a commits', 'a prepares', 'a commits']);
    expect(counted).toEqual(['success', 'success']);
    await made.reload();
    expect(calls).toHaveLength(6);
  });

  it('names what only the next start takes over, for as long as it differs', async () => {
    let config: Partial<Config> = { workers: 3, metrics: { perInstance: false } };
    const { reloader: made } = reloader([], () => good(config));
    const changes = ['workers is taken over at the next start', 'metrics.perInstance is taken over at the next start'];
    expect(await made.reload()).toEqual({ ok: true, changes });
    expect(await made.reload()).toEqual({ ok: true, changes });
    config = {};
    expect(await made.reload()).toEqual({ ok: true, changes: [] });
  });

  it('gives up on a disk that does not answer, and on what comes of it later', async () => {
    const calls: string[] = [];
    let answer = (): void => undefined;
    const stuck: Reloadable = {
      prepare: async () => {
        await new Promise<void>((resolve) => (answer = resolve));
        return { commit: () => [], abandon: () => void calls.push('stuck abandons') };
      },
    };
    const { reloader: made, clock } = reloader([part('a', calls), stuck], good);
    const first = made.reload();
    while (calls.length === 0) await new Promise((resolve) => setImmediate(resolve));
    await clock.advanceAsync(10_000);
    expect(await first).toMatchObject({ issues: [{ message: 'a file or a disk has not answered for 10 s' }] });
    expect(calls).toEqual(['a prepares', 'a abandons']);
    answer();
    await new Promise((resolve) => setImmediate(resolve));
    expect(calls.at(-1)).toBe('stuck abandons');
    expect(clock.pending).toBe(0);
  });

  it('is refused with the reason while the gateway says so', async () => {
    const { reloader: made } = reloader([], good);
    await made.refuse('the gateway is stopping');
    expect(await made.reload()).toMatchObject({ ok: false, issues: [{ message: 'the gateway is stopping' }] });
    await made.refuse(undefined);
    expect(await made.reload()).toEqual({ ok: true, changes: [] });
  });
});
