import { spawn } from 'node:child_process';
import { readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../../src/core/clock.ts';
import { DataLock } from '../../../src/registry/embedded/data-lock.ts';
import { contents, onCleanup, openRegistry, register, request, self, temporaryDirectory } from './fixture.ts';

const written = (directory: string): Record<string, unknown> =>
  JSON.parse(readFileSync(join(directory, 'lock'), 'utf8')) as Record<string, unknown>;

const taken: string[] = [];
const acquire = async (directory: string, owner = self): Promise<DataLock> => {
  taken.length = 0;
  const lock = await DataLock.acquire(directory, owner, (_level, _message, fields) =>
    taken.push(String(fields['why'])),
  );
  onCleanup(() => lock.release().catch(() => undefined));
  return lock;
};

/** A lock file as another process would have left it. */
const leave = (directory: string, content: Record<string, unknown>): void => {
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  writeFileSync(
    join(directory, 'lock'),
    JSON.stringify({ pid: 1, host: hostname(), boot, started: '', released: false, ...content }).padEnd(511) + '\n',
  );
};

describe('the lock of a data directory', () => {
  it('names its holder, and is free again after release', async () => {
    const directory = temporaryDirectory();
    const lock = await acquire(directory);
    expect(written(directory)).toMatchObject({ pid: process.pid, host: hostname(), released: false });
    await lock.verify();
    await lock.release();
    expect(written(directory)).toMatchObject({ released: true });
    await acquire(directory);
    expect(taken).toEqual([]);
  });

  it('keeps out another gateway that lives, and says which', async () => {
    const other = spawn('sleep', ['60']);
    onCleanup(() => void other.kill('SIGKILL'));
    const directory = temporaryDirectory();
    leave(directory, { pid: other.pid });
    await expect(acquire(directory)).rejects.toThrow(
      `is in use by the gateway with pid ${other.pid}. Stop that gateway, or give this one another dataDir.`,
    );
    expect(written(directory)).toMatchObject({ pid: other.pid });
    other.kill('SIGKILL');
    await new Promise((resolve) => other.once('exit', resolve));
    await acquire(directory);
    expect(taken).toEqual(['its process is gone']);
  });

  it('does not take a holder for alive that was killed, and whose parent has not heard of it', async () => {
    const parent = spawn('/bin/sh', ['-c', 'sleep 60 & echo $!; exec sleep 60'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    onCleanup(() => void parent.kill('SIGKILL'));
    const pid = Number(await new Promise<Buffer>((resolve) => parent.stdout.once('data', resolve)));
    const directory = temporaryDirectory();
    leave(directory, { pid });
    await expect(acquire(directory)).rejects.toThrow(`is in use by the gateway with pid ${pid}`);
    process.kill(pid, 'SIGKILL');
    while (!/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8')))
      await new Promise((resolve) => setTimeout(resolve, 5));
    expect(self.isAlive(pid)).toBe(true);
    await acquire(directory);
    expect(taken).toEqual(['its process has ended, and its parent has not heard of it']);
  });

  it('keeps out a second registry of the same process, by whatever path', async () => {
    const directory = temporaryDirectory();
    await acquire(directory);
    const alias = join(temporaryDirectory(), 'alias');
    symlinkSync(directory, alias);
    await expect(acquire(alias)).rejects.toThrow('another registry of this gateway');
    await acquire(temporaryDirectory());
  });

  it.each([
    ['the machine was started anew', { boot: 'another boot' }, 'the machine was started anew since'],
    [
      'the process id now belongs to another process',
      { pid: process.ppid, started: '1' },
      'its process id is in use by another',
    ],
    [
      'the process had our own id, as in a restarted container',
      { pid: process.pid },
      'it has the id of this process, of an earlier life of the container',
    ],
    ['it was held on another host', { host: 'elsewhere' }, 'it was held on another host, which cannot be asked'],
  ])('is taken over where %s', async (_, content, why) => {
    const directory = temporaryDirectory();
    leave(directory, content);
    await acquire(directory);
    expect(taken).toEqual([why]);
    expect(written(directory)).toMatchObject({ pid: process.pid });
  });

  it.each(['', 'nonsense', 'null', '{"pid":"1"}', '\0'.repeat(512)])(
    'is taken where its file holds %j, as after a crash on the first start',
    async (content) => {
      const directory = temporaryDirectory();
      writeFileSync(join(directory, 'lock'), content);
      await acquire(directory);
      expect(taken).toEqual([]);
    },
  );

  it('stops a holder from writing once another has taken it over', async () => {
    const { registry, clock, dataDir, lines } = await openRegistry();
    await register(registry, { id: 'one' });
    clock.advance(250);
    leave(dataDir, { pid: 77, host: 'elsewhere' });
    expect((await registry.register(request({ id: 'two', port: 81 }))).kind).toBe('unavailable');
    expect(lines.at(-1)?.fields['reason']).toMatch(/was taken over by pid 77 on elsewhere: nothing more is written/);
    expect(contents(registry)).toEqual(['web/one 10.0.0.1:80 1 -']);
    await registry.close();
    // And it does not release what is not its own.
    expect(written(dataDir)).toMatchObject({ pid: 77, released: false });
  });

  it('is asked for once in 250 ms, however many registrations there are', async () => {
    const { registry, clock, dataDir } = await openRegistry();
    clock.advance(250);
    await register(registry, { id: 'one' });
    leave(dataDir, { pid: 77, host: 'elsewhere' });
    clock.advance(249);
    await register(registry, { id: 'two', port: 81 });
    clock.advance(1);
    expect((await registry.register(request({ id: 'three', port: 82 }))).kind).toBe('unavailable');
    clock.advance(1);
    expect((await registry.register(request({ id: 'four', port: 83 }))).kind).toBe('unavailable');
  });

  it.each([{ host: 'elsewhere' }, { boot: 'another boot' }])(
    'leaves a former holder of %o, that cannot be asked, the time to find out before the log is read',
    async (content) => {
      const dataDir = temporaryDirectory();
      const before = await openRegistry({ dataDir });
      await register(before.registry, { id: 'early' });
      await before.registry.close();
      leave(dataDir, content);
      const log = readFileSync(join(dataDir, 'registry.log'));
      const clock = new ManualClock();
      const opening = openRegistry({ dataDir, clock });
      while (written(dataDir)['pid'] !== process.pid) await new Promise((resolve) => setTimeout(resolve, 1));
      writeFileSync(join(dataDir, 'registry.log'), log.subarray(0, log.indexOf('\n') + 1));
      await new Promise((resolve) => setTimeout(resolve, 20));
      writeFileSync(join(dataDir, 'registry.log'), log);
      const timer = setInterval(() => clock.advance(500), 5);
      onCleanup(() => clearInterval(timer));
      expect(contents((await opening).registry)).toEqual(['web/early 10.0.0.1:80 1 -']);
    },
  );

  it('cannot be had on a directory that is none', async () => {
    const directory = temporaryDirectory();
    writeFileSync(join(directory, 'file'), '');
    await expect(openRegistry({ dataDir: join(directory, 'file') })).rejects.toThrow(
      /dataDir .*file cannot be used: it is a file, and a directory is wanted \(EEXIST\); name another one/,
    );
    rmSync(join(directory, 'file'));
    await openRegistry({ dataDir: join(directory, 'new', 'deep') });
  });
});
