import { mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import { type Instance, instance } from '../../src/core/instance.ts';
import { seededRandom } from '../../src/core/random.ts';
import { type KeeperOptions, LastKnownGood } from '../../src/registry/last-known-good.ts';
import { type SnapshotContent, SnapshotFile, SnapshotUnusable } from '../../src/registry/snapshot-file.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'fairlead-lkg-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const web = (id: string, part: Partial<Instance> = {}): Instance =>
  instance({ service: 'web', id, host: '10.0.0.7', port: 80, ...part });

const full = web('full', {
  host: '2001:db8::7',
  weight: 2.5,
  zone: 'a',
  version: '1.2',
  secure: true,
  state: 'degraded',
  stateReason: 'disk is slow',
  metadata: new Map([
    ['team', 'pay'],
    ['__proto__', 'hostile'],
    ['ü', '東京'],
  ]),
  checks: [
    {
      type: 'http',
      path: '/health',
      intervalMs: 2000,
      timeoutMs: 500,
      statuses: [[200, 299]],
      headers: [['X-Key', 'a']],
    },
  ],
});

function content(services: SnapshotContent['services'], part: Partial<SnapshotContent> = {}): SnapshotContent {
  return { identity: 'consul http://c:8500', contactWallMs: 1_700_000_000_000, revision: '42', services, ...part };
}

function file(part: Partial<ConstructorParameters<typeof SnapshotFile>[0]> = {}): SnapshotFile {
  return new SnapshotFile({
    directory,
    registry: 'consul',
    maxBytes: 1_000_000,
    writer: 'w1',
    nowMs: () => performance.now(),
    ...part,
  });
}

describe('a saved set', () => {
  it('is read back as it was written', async () => {
    await file().save(
      content([
        ['web', [full, web('b')]],
        ['empty', []],
      ]),
    );
    const loaded = await file().load('consul http://c:8500');
    expect(loaded).toEqual({
      identity: 'consul http://c:8500',
      contactWallMs: 1_700_000_000_000,
      revision: '42',
      services: new Map([
        ['web', [full, web('b')]],
        ['empty', []],
      ]),
      skipped: 0,
    });
  });

  it('holds services of any size', async () => {
    const many = Array.from({ length: 1234 }, (_, at) => web(`i${at}`, { port: 1 + at }));
    await file().save(content([['web', many]]));
    expect((await file().load('consul http://c:8500'))?.services.get('web')).toEqual(many);
  });

  it('is readable by its owner only, and leaves no other file behind', async () => {
    await file().save(content([['web', [web('a')]]]));
    expect((await stat(file().path)).mode & 0o777).toBe(0o600);
    expect(await readdir(directory)).toEqual(['registry-consul.snapshot']);
  });

  it('is nothing where nothing was saved', async () => {
    expect(await file().load('x')).toBeUndefined();
    expect(await file({ directory: join(directory, 'missing') }).load('x')).toBeUndefined();
  });

  it('stays the old one when a new one cannot be written to the end', async () => {
    await file().save(content([['web', [web('old')]]]));
    const many = Array.from({ length: 5000 }, (_, at) => web(`i${at}`));
    await expect(file({ maxBytes: 10_000 }).save(content([['web', many]]))).rejects.toThrow(/larger than 10000 bytes/);
    const broken = function* (): Iterable<Instance> {
      yield web('a');
      throw new Error('in the middle');
    };
    await expect(file().save(content([['web', broken()]]))).rejects.toThrow(/in the middle/);
    expect((await file().load('consul http://c:8500'))?.services.get('web')).toEqual([web('old')]);
    expect(await readdir(directory)).toEqual(['registry-consul.snapshot']);
  });

  it('is not used for another registry, nor for other services of the same', async () => {
    await file().save(content([['web', [web('a')]]]));
    await expect(file().load('consul http://other:8500')).rejects.toThrow(/belongs to another registry/);
  });

  it('is not used past its bound', async () => {
    await file().save(content([['web', [web('a')]]]));
    await expect(file({ maxBytes: 100 }).load('consul http://c:8500')).rejects.toThrow(/more than 100/);
  });

  it('is not used at all when any byte of it is another one, or any part is missing', async () => {
    await file().save(content([['web', [full, web('b')]]]));
    const good = await readFile(file().path);
    await fc.assert(
      fc.asyncProperty(
        fc.nat(good.length - 2),
        fc.integer({ min: 1, max: 255 }),
        fc.boolean(),
        async (at, flip, cut) => {
          const bad = Buffer.from(cut ? good.subarray(0, at) : good);
          if (!cut) bad[at]! ^= flip;
          await writeFile(file().path, bad);
          await expect(file().load('consul http://c:8500')).rejects.toBeInstanceOf(SnapshotUnusable);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('is not believed where whoever wrote it got the sum right and the content wrong', async () => {
    let instances = 0;
    const write = async (...lines: unknown[]): Promise<void> => {
      const body = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
      await writeFile(file().path, `${body}${JSON.stringify({ services: 1, instances, crc32: crc32(body) })}\n`);
    };
    const head = { format: 'fairlead-registry', version: 1, registry: 'consul', identity: 'x', contactWallMs: 1 };
    await write({ ...head, version: 2 });
    await expect(file().load('x')).rejects.toThrow(/version 1/);
    await write(head, { service: '../../etc', instances: [] });
    await expect(file().load('x')).rejects.toBeInstanceOf(SnapshotUnusable);
    await write(head, { service: 'web', instances: [{ id: 'a', host: '10.0.0.7', port: 80 }] });
    await expect(file().load('x')).rejects.toThrow(/its counts are wrong/);
    instances = 4;
    await write(head, {
      service: 'web',
      instances: [
        { id: 'a', host: '10.0.0.7', port: 80, checks: [{ type: 'script', command: ['rm'] }], metadata: 7 },
        { id: 'b', host: '10.0.0.7', port: 0 },
        { id: '__proto__', host: '10.0.0.7', port: 80 },
        null,
      ],
    });
    const loaded = await file().load('x');
    // What is essential of the first is sound; its ornaments are dropped.
    expect(loaded?.services.get('web')).toEqual([web('a')]);
    expect(loaded?.skipped).toBe(3);
  });

  it('clears away what a crashed writer left, and not what another is writing', async () => {
    const old = new Date(1_700_000_000_000 - 120_000);
    const temporary = (name: string): string => join(directory, name);
    for (const name of [
      'registry-consul.snapshot.dead.tmp',
      'registry-consul.snapshot.live.tmp',
      'registry-consul-2.snapshot.dead.tmp',
    ]) {
      await writeFile(temporary(name), 'x');
      await utimes(temporary(name), old, name.includes('live') ? new Date(1_700_000_000_000) : old);
    }
    await file().tidy(1_700_000_000_000);
    expect((await readdir(directory)).sort()).toEqual([
      'registry-consul-2.snapshot.dead.tmp',
      'registry-consul.snapshot.live.tmp',
    ]);
  });
});

/** Lets file operations run to their end while the clock stands still. */
async function settled(done: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 5000;
  while (!(await done())) {
    if (performance.now() > deadline) throw new Error('it did not happen within 5 s');
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

describe('keeping the last good set', () => {
  const make = (
    part: Partial<KeeperOptions> = {},
  ): { keeper: LastKnownGood; clock: ManualClock; problems: string[]; set: { ids: string[] } } => {
    const clock = new ManualClock();
    const problems: string[] = [];
    const set = { ids: ['a'] };
    const keeper = new LastKnownGood({
      directory,
      identity: 'x',
      registry: 'consul',
      clock,
      random: seededRandom(1),
      content: () => ({
        contactWallMs: clock.wall(),
        revision: undefined,
        services: [['web', set.ids.map((id) => web(id))]],
      }),
      onProblem: (error) => problems.push(error.message),
      ...part,
    });
    return { keeper, clock, problems, set };
  };

  const onDisk = async (): Promise<string> => {
    const loaded = await file().load('x');
    return (
      loaded?.services
        .get('web')
        ?.map((each) => each.id)
        .join() ?? 'nothing'
    );
  };

  it('writes soon after a change, at most once per interval, and the latest state', async () => {
    const { keeper, clock, set } = make();
    keeper.start();
    clock.advance(2900);
    expect(await onDisk()).toBe('nothing');
    keeper.changed();
    set.ids = ['a', 'b'];
    clock.advance(3000);
    await settled(async () => (await onDisk()) === 'a,b');
    await settled(() => Promise.resolve(clock.pending === 1));
    set.ids = ['c'];
    keeper.changed();
    keeper.changed();
    clock.advance(2900);
    expect(await onDisk()).toBe('a,b');
    clock.advance(200);
    await settled(async () => (await onDisk()) === 'c');
    await keeper.stop();
    expect(clock.pending).toBe(0);
  });

  it('renews the time of contact where nothing else changes', async () => {
    const { keeper, clock } = make({ refreshMs: 60_000 });
    keeper.start();
    clock.advance(3000);
    await settled(async () => (await onDisk()) === 'a');
    const first = (await file().load('x'))!.contactWallMs;
    await settled(() => Promise.resolve(clock.pending === 1));
    clock.advance(60_000);
    await settled(async () => (await file().load('x'))!.contactWallMs === first + 60_000);
    await keeper.stop();
  });

  it('writes a last time when it stops, and not at all where there is nothing worth it', async () => {
    const { keeper, set } = make();
    keeper.start();
    set.ids = ['last'];
    keeper.changed();
    await keeper.stop();
    expect(await onDisk()).toBe('last');
    await rm(file().path);
    const other = make({ content: () => undefined });
    other.keeper.changed();
    await other.keeper.stop();
    expect(await onDisk()).toBe('nothing');
  });

  it('reports what it cannot write, tries again ever more rarely, and recovers', async () => {
    const blocked = join(directory, 'blocked');
    await writeFile(blocked, 'a file where the directory should be');
    const { keeper, clock, problems } = make({ directory: blocked });
    keeper.changed();
    for (let at = 0; at < 100; at += 1) {
      clock.advance(1000);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    expect(problems.length).toBeGreaterThan(2);
    expect(problems.length).toBeLessThan(8);
    const text = `gateway.stateDir ${blocked} cannot be used: it is a file, and a directory is wanted (EEXIST); `;
    expect(problems[0]).toContain(text);
    await rm(blocked);
    await keeper.stop();
    expect(await readdir(blocked)).toEqual(['registry-consul.snapshot']);
  });

  it('reports a damaged file once, and goes on as if there were none', async () => {
    await writeFile(file().path, 'not a snapshot\n');
    const { keeper, problems } = make();
    expect(await keeper.load()).toBeUndefined();
    expect(problems).toEqual([expect.stringMatching(/snapshot .*is ignored/)]);
    await keeper.stop();
  });
});
