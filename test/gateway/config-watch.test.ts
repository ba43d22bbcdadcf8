import { mkdtemp, rename, rm, symlink, unlink, utimes, writeFile, mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import { ConfigWatch, lookAt } from '../../src/gateway/config-watch.ts';
import { silentLogger } from '../../src/telemetry/log.ts';

let directory: string;
let path: string;
let clock: ManualClock;
let reloads: number;
let warnings: string[];
let watch: ConfigWatch;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'fairlead-watch-'));
  path = join(directory, 'fairlead.yaml');
  await writeFile(path, 'one');
  await start();
});

afterEach(async () => {
  watch.set(false);
  await rm(directory, { recursive: true });
});

async function start(): Promise<void> {
  clock = new ManualClock();
  reloads = 0;
  warnings = [];
  watch = new ConfigWatch({
    path,
    seen: await lookAt(path),
    clock,
    log: { ...silentLogger, warn: (event) => warnings.push(event) },
    reload: async () => {
      await watch.note();
      reloads++;
    },
  });
  watch.set(true);
}

/** Each look happens half a second of the clock after the end of the one before. */
async function looks(count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    clock.advance(500);
    while (clock.pending === 0) await new Promise((resolve) => setImmediate(resolve));
  }
}

describe('the watch on the configuration file', () => {
  it('leaves a file alone that stays as it is, or is only touched', async () => {
    await looks(3);
    await utimes(path, 1, 1);
    await looks(3);
    expect(reloads).toBe(0);
  });

  it.each([
    ['written in place', () => writeFile(path, 'two')],
    [
      'replaced by a rename',
      async () => {
        await writeFile(`${path}.new`, 'two');
        await rename(`${path}.new`, path);
      },
    ],
    [
      'moved away and written anew, as editors do',
      async () => {
        await rename(path, `${path}~`);
        await looks(1);
        await writeFile(path, 'two');
      },
    ],
    [
      'gone for a moment',
      async () => {
        await unlink(path);
        await looks(5);
        await writeFile(path, 'two');
      },
    ],
    [
      'empty for a moment',
      async () => {
        await writeFile(path, '');
        await looks(5);
        expect(reloads).toBe(0);
        await writeFile(path, 'two');
      },
    ],
  ])('reloads once when it is %s', async (_, change) => {
    await change();
    await looks(4);
    expect(reloads).toBe(1);
    await looks(4);
    expect(reloads).toBe(1);
  });

  it('waits until the content stays the same', async () => {
    for (let i = 0; i < 5; i++) {
      await writeFile(path, `part ${'x'.repeat(i)}`);
      await looks(1);
    }
    expect(reloads).toBe(0);
    await looks(1);
    expect(reloads).toBe(1);
  });

  it('sees a ConfigMap swapped: a link to a file behind a directory link that is turned', async () => {
    watch.set(false);
    await unlink(path);
    for (const version of ['v1', 'v2']) {
      await mkdir(join(directory, version));
      await writeFile(join(directory, version, 'fairlead.yaml'), version);
    }
    await symlink('v1', join(directory, '..data'));
    await symlink('..data/fairlead.yaml', path);
    await start();
    await looks(3);
    expect(reloads).toBe(0);
    await symlink('v2', join(directory, '..data_tmp'));
    await rename(join(directory, '..data_tmp'), join(directory, '..data'));
    await looks(3);
    expect(reloads).toBe(1);
  });

  it('does not load again what was loaded on request', async () => {
    await writeFile(path, 'two');
    await watch.note();
    await looks(4);
    expect(reloads).toBe(0);
  });

  it('says once that the file is gone for good, and reloads when it is back with something new', async () => {
    await unlink(path);
    await looks(19);
    expect(warnings).toEqual([]);
    await looks(20);
    expect(warnings).toEqual(['the configuration file is gone: what was read last stays in use']);
    await writeFile(path, 'one');
    await looks(3);
    expect(reloads).toBe(0);
    await writeFile(path, 'three');
    await looks(3);
    expect(reloads).toBe(1);
  });

  it('stops when it is switched off', async () => {
    watch.set(false);
    await writeFile(path, 'two');
    clock.advance(5000);
    expect(clock.pending).toBe(0);
    expect(reloads).toBe(0);
  });
});
