import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ManualClock, systemClock } from '../../src/core/clock.ts';
import { LineSink } from '../../src/telemetry/line-sink.ts';
import { fileAt } from '../../src/telemetry/sink-files.ts';
import { FakeFiles, settle } from './fake-files.ts';

function sinkOn(files: FakeFiles, part: { blockBytes?: number; maxBlocks?: number } = {}) {
  const clock = new ManualClock();
  const troubles: string[] = [];
  const sink = new LineSink({
    clock,
    files,
    blockBytes: part.blockBytes ?? 64,
    maxBlocks: part.maxBlocks ?? 4,
    onTrouble: (error) => troubles.push(error?.message ?? 'mended'),
  });
  return { clock, sink, troubles };
}

describe('a line', () => {
  test('is written within the flush interval, with its neighbours', async () => {
    const files = new FakeFiles();
    const { clock, sink } = sinkOn(files);
    sink.write('one\n');
    sink.write('two\n');
    clock.advance(99);
    await settle();
    expect(files.text).toBe('');
    clock.advance(1);
    await settle();
    expect(files.text).toBe('one\ntwo\n');
    expect(clock.pending).toBe(0);
  });

  test('is written at once when a block is full', async () => {
    const files = new FakeFiles();
    const { sink } = sinkOn(files, { blockBytes: 8 });
    sink.write('12345\n');
    sink.write('67890\n');
    await settle();
    expect(files.text).toBe('12345\n');
  });

  test('is dropped and counted when the destination hangs, and those after it come through again', async () => {
    const files = new FakeFiles();
    files.automatic = false;
    const { clock, sink } = sinkOn(files, { blockBytes: 8, maxBlocks: 3 });
    const kept = Array.from({ length: 10 }, (_, at) => sink.write(`line ${at}\n`));
    expect(kept).toEqual([true, true, true, false, false, false, false, false, false, false]);
    expect(sink.dropped).toBe(7);
    files.automatic = true;
    files.last.answer();
    await settle();
    expect(sink.write('later1\n')).toBe(true);
    clock.advance(100);
    await settle();
    expect(files.text).toBe('line 0\nline 1\nline 2\nlater1\n');
  });

  test('that is longer than a block is dropped', () => {
    const { sink } = sinkOn(new FakeFiles(), { blockBytes: 8 });
    expect([sink.write('12345678\n'), sink.dropped]).toEqual([false, 1]);
  });

  test('comes out whole through writes that take part of it, and through a full pipe', async () => {
    const files = new FakeFiles();
    const { clock, sink } = sinkOn(files);
    files.last.bite = 3;
    files.last.failure = 'EAGAIN';
    sink.write('hello world\n');
    await clock.advanceAsync(200, 10);
    files.last.failure = undefined;
    await clock.advanceAsync(40, 10);
    expect([files.text, sink.dropped]).toEqual(['hello world\n', 0]);
  });
});

describe('a destination', () => {
  test('whose reader has gone takes its lines with it and throws nothing', async () => {
    const files = new FakeFiles();
    const { clock, sink, troubles } = sinkOn(files);
    files.last.failure = 'EPIPE';
    sink.write('one\n');
    sink.write('two\n');
    clock.advance(100);
    await settle();
    expect([sink.write('three\n'), sink.dropped, troubles]).toEqual([false, 3, ['EPIPE: by the test']]);
    sink.reopen();
    sink.write('four\n');
    await clock.advanceAsync(100);
    expect([files.text, troubles.at(-1)]).toEqual(['four\n', 'mended']);
  });

  test('that is full loses the block it refused, tells once, and begins the next on a line of its own', async () => {
    const files = new FakeFiles();
    const { clock, sink, troubles } = sinkOn(files);
    files.last.bite = 3;
    sink.write('first\n');
    clock.advance(100);
    await Promise.resolve();
    files.last.failure = 'ENOSPC';
    await settle();
    sink.write('second\n');
    await clock.advanceAsync(100);
    files.last.failure = undefined;
    files.last.bite = 100;
    sink.write('third\n');
    await clock.advanceAsync(100);
    expect(files.text).toBe('fir\nthird\n');
    expect([sink.dropped, troubles]).toEqual([2, ['ENOSPC: by the test', 'mended']]);
  });

  test('is opened anew after a rotation; the write under way ends in the old one', async () => {
    const files = new FakeFiles();
    files.automatic = false;
    const { clock, sink } = sinkOn(files);
    sink.write('old\n');
    clock.advance(100);
    sink.reopen();
    const [old, fresh] = files.opened;
    expect(old!.closed).toBe(false);
    files.automatic = true;
    old!.answer();
    await settle();
    sink.write('new\n');
    await clock.advanceAsync(100);
    expect([old!.text, old!.closed, fresh!.text]).toEqual(['old\n', true, 'new\n']);
  });

  test('that cannot be opened anew leaves the old one in use', async () => {
    const files = new FakeFiles();
    const { clock, sink, troubles } = sinkOn(files);
    files.refuse = 'EACCES';
    sink.reopen();
    sink.write('one\n');
    await clock.advanceAsync(100);
    expect([files.text, files.last.closed, troubles]).toEqual(['one\n', false, ['EACCES: by the test', 'mended']]);
  });

  test('that cannot be opened at all is an error at once', () => {
    const files = new FakeFiles();
    files.refuse = 'ENOENT';
    expect(() => sinkOn(files)).toThrow('ENOENT');
  });
});

describe('closing', () => {
  test('writes what is left, and takes no more', async () => {
    const files = new FakeFiles();
    const { clock, sink } = sinkOn(files, { blockBytes: 8 });
    sink.write('12345\n');
    sink.write('67890\n');
    await sink.close(1000);
    expect([files.text, files.last.closed, clock.pending]).toEqual(['12345\n67890\n', true, 0]);
    expect([sink.write('late\n'), sink.dropped]).toEqual([false, 1]);
    await sink.close(1000);
  });

  test('gives up at its deadline', async () => {
    const files = new FakeFiles();
    files.automatic = false;
    const { clock, sink } = sinkOn(files, { blockBytes: 8 });
    for (let at = 0; at < 3; at++) sink.write('12345\n');
    const closing = sink.close(500);
    clock.advance(500);
    await closing;
    expect([sink.dropped, files.last.closed, clock.pending]).toEqual([2, true, 0]);
  });
});

test('whatever the destination does, lines come out whole, in order, or are counted', async () => {
  const step = fc.oneof(
    { weight: 5, arbitrary: fc.record({ kind: fc.constant('write' as const), size: fc.integer({ min: 1, max: 40 }) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('wait' as const), size: fc.integer({ min: 1, max: 200 }) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('bite' as const), size: fc.integer({ min: 1, max: 20 }) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('again' as const), size: fc.integer({ min: 0, max: 1 }) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('reopen' as const), size: fc.constant(0) }) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const files = new FakeFiles();
      const { clock, sink } = sinkOn(files, { blockBytes: 48, maxBlocks: 3 });
      const expected: string[] = [];
      let sequence = 0;
      for (const { kind, size } of steps) {
        if (kind === 'write') {
          const line = `${++sequence}:${'x'.repeat(size)}\n`;
          if (sink.write(line)) expected.push(line);
        } else if (kind === 'wait') await clock.advanceAsync(size, 20);
        else if (kind === 'bite') files.last.bite = size;
        else if (kind === 'again') for (const file of files.opened) file.failure = size === 1 ? 'EAGAIN' : undefined;
        else sink.reopen();
      }
      for (const file of files.opened) file.failure = undefined;
      await clock.advanceAsync(2000, 20);
      expect(files.text).toBe(expected.join(''));
      expect(sink.dropped).toBe(sequence - expected.length);
    }),
    { numRuns: 60 },
  );
});

describe('on real files', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'fairlead-log-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  test('appends, survives a rotation, and others may not write', async () => {
    const path = join(folder, 'access.log');
    const sink = new LineSink({ clock: systemClock, files: fileAt(path), flushMs: 1 });
    sink.write('before\n');
    await expect.poll(() => readFileSync(path, 'utf8')).toBe('before\n');
    renameSync(path, `${path}.1`);
    sink.reopen();
    sink.write('after\n');
    await sink.close(1000);
    expect(readFileSync(`${path}.1`, 'utf8')).toBe('before\n');
    expect(readFileSync(path, 'utf8')).toBe('after\n');
    expect(statSync(path).mode & 0o022).toBe(0);
  });

  test('a pipe without a reader is refused at once in place of waiting for one', () => {
    const path = join(folder, 'pipe');
    execFileSync('mkfifo', [path]);
    expect(() => new LineSink({ clock: systemClock, files: fileAt(path) })).toThrow('ENXIO');
  });
});

const WRITER = `
import { systemClock } from './src/core/clock.ts';
import { LineSink } from './src/telemetry/line-sink.ts';
import { standardStream } from './src/telemetry/sink-files.ts';
const sink = new LineSink({ clock: systemClock, files: standardStream(1), flushMs: 5 });
let turns = 0;
const timer = setInterval(() => {
  turns++;
  for (let i = 0; i < Number(process.env.LINES); i++) sink.write('x'.repeat(999) + '\\n');
  if (turns === 50) void end();
}, 10);
async function end() {
  clearInterval(timer);
  await sink.close(Number(process.env.CLOSE_MS));
  process.stderr.write(JSON.stringify({ dropped: sink.dropped, turns }));
  process.exit();
}
`;

/** A process that writes so many kilobytes to its standard output fifty times, and tells how many were dropped. */
async function dropsOf(
  stdout: 'pipe' | number,
  onStart: (child: ChildProcess) => void,
  { lines, closeMs } = { lines: 200, closeMs: 100 },
): Promise<number> {
  const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', WRITER], {
    cwd: new URL('../..', import.meta.url),
    stdio: ['ignore', stdout, 'pipe'],
    env: { ...process.env, LINES: String(lines), CLOSE_MS: String(closeMs) },
  });
  let report = '';
  child.stderr!.on('data', (text: Buffer) => (report += text.toString()));
  onStart(child);
  const [code] = (await once(child, 'exit')) as [number];
  expect([code, report]).toEqual([0, expect.stringContaining('"turns":50')]);
  return (JSON.parse(report) as { dropped: number }).dropped;
}

describe('a process goes on and counts what it drops', () => {
  test('when its standard output is a pipe that nobody reads', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'fairlead-log-'));
    const path = join(folder, 'pipe');
    execFileSync('mkfifo', [path]);
    const both = openSync(path, 'r+');
    try {
      expect(await dropsOf(both, () => undefined)).toBeGreaterThan(1000);
    } finally {
      closeSync(both);
      rmSync(folder, { recursive: true });
    }
  });

  test('when its standard output is a socket that nobody reads', async () => {
    expect(await dropsOf('pipe', (child) => child.stdout?.pause())).toBeGreaterThan(1000);
  });

  test('when the reader of its standard output goes away', async () => {
    expect(await dropsOf('pipe', (child) => child.stdout?.destroy())).toBeGreaterThan(1000);
  });

  test('and drops nothing where it is read', async () => {
    let bytes = 0;
    let ended: Promise<unknown> | undefined;
    const dropped = await dropsOf(
      'pipe',
      (child) => {
        child.stdout!.on('data', (data: Buffer) => (bytes += data.length));
        ended = once(child.stdout!, 'end');
        // Less than what may wait: however slowly this process gets to read, nothing has to be dropped.
      },
      { lines: 50, closeMs: 15_000 },
    );
    await ended;
    expect([dropped, bytes]).toEqual([0, 2_500_000]);
  });
});
