import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  type DiskOperation,
  FaultyDisk,
  contents,
  openRegistry,
  register,
  request,
  temporaryDirectory,
} from './fixture.ts';

/** What a process that starts after a kill at this moment finds. */
async function afterKill(dataDir: string): Promise<string[]> {
  const copy = temporaryDirectory();
  writeFileSync(join(copy, 'registry.log'), readFileSync(join(dataDir, 'registry.log')));
  const { registry } = await openRegistry({ dataDir: copy });
  return contents(registry);
}

describe('a disk that fails', () => {
  it.each<[string, string, DiskOperation[]]>([
    ['is full', 'ENOSPC', ['write']],
    ['is full and cannot even shorten a file', 'ENOSPC', ['write', 'truncate']],
    ['cannot write', 'EIO', ['write', 'sync']],
    ['cannot sync', 'EIO', ['sync']],
    ['cannot sync or write anything', 'EIO', ['sync', 'write', 'rename', 'open', 'truncate']],
  ])(
    'and %s: nothing is acknowledged, nothing changes, and it goes on when the disk does',
    async (_, code, operations) => {
      const disk = new FaultyDisk();
      const { registry, lines, dataDir, clock } = await openRegistry({ disk });
      await register(registry, { id: 'before' });
      const events: unknown[] = [];
      registry.subscribe((change) => events.push(change));
      const before = { contents: contents(registry), index: registry.index };
      disk.partialBytes = 20;
      disk.fail(code, ...operations);
      for (let attempt = 0; attempt < 3; attempt++) {
        expect(await registry.register(request({ id: `lost-${attempt}`, port: 81 }))).toEqual({
          kind: 'unavailable',
          why: expect.stringMatching(/could not be written to disk/) as string,
        });
        expect((await registry.deregister('before')).kind).toBe('unavailable');
      }
      expect({ contents: contents(registry), index: registry.index }).toEqual(before);
      expect(events).toEqual([]);
      expect(registry.figures).toMatchObject({ diskHealthy: false });
      const errors = lines.filter((line) => line.level === 'error');
      expect(errors).toHaveLength(1);
      expect(errors[0]?.fields).toMatchObject({ dataDir, code });
      expect(errors[0]?.fields['reason']).toContain(`dataDir ${dataDir} cannot be written to: `);

      disk.mend();
      clock.advance(1000);
      await register(registry, { id: 'after', port: 82 });
      const now = contents(registry);
      expect(now).toEqual(['web/after 10.0.0.1:82 1 -', 'web/before 10.0.0.1:80 1 -']);
      expect(registry.figures.diskHealthy).toBe(true);
      expect(lines.at(-1)).toMatchObject({ level: 'info', message: 'registrations are written to disk again' });
      expect(await afterKill(dataDir)).toEqual(now);
    },
  );

  it('still answers heartbeats, and registrations that change nothing', async () => {
    const disk = new FaultyDisk();
    const { registry } = await openRegistry({ disk });
    const id = await register(registry, { ttlMs: 5000 });
    disk.fail('ENOSPC', 'write');
    expect(registry.heartbeat(id).kind).toBe('renewed');
    const [known, fresh] = await Promise.all([
      registry.register(request({ ttlMs: 5000 })),
      registry.register(request({ port: 81 })),
    ]);
    expect([known.kind, fresh.kind]).toEqual(['registered', 'unavailable']);
  });

  it('takes back what it could not finish at once, so that a crash brings back nothing that was refused', async () => {
    const disk = new FaultyDisk();
    const { registry, dataDir } = await openRegistry({ disk });
    await register(registry, { id: 'kept' });
    disk.fail('ENOSPC', 'write');
    // The whole record reaches the file before the error does.
    disk.partialBytes = 10_000;
    expect((await registry.register(request({ id: 'refused', port: 81 }))).kind).toBe('unavailable');
    expect(await afterKill(dataDir)).toEqual(['web/kept 10.0.0.1:80 1 -']);
  });

  it('is not believed again after a failed sync: the log is written anew', async () => {
    const disk = new FaultyDisk();
    const { registry, lines, clock } = await openRegistry({ disk });
    await register(registry, { id: 'one' });
    disk.fail('EIO', 'sync');
    await registry.register(request({ port: 81 }));
    disk.mend();
    disk.calls.length = 0;
    clock.advance(1000);
    await register(registry, { id: 'two', port: 82 });
    expect(disk.calls).toContain('rename');
    expect(lines.some((line) => line.message === 'the log was replaced after an error of the disk')).toBe(true);
  });

  it('does not lose what comes after a rename that reported an error and had happened', async () => {
    const disk = new FaultyDisk();
    const { registry, dataDir, clock } = await openRegistry({ disk, compactAboveBytes: 500 });
    disk.renamesAnyway = true;
    disk.fail('EIO', 'rename');
    // From the failed rename on, these are refused.
    for (let port = 1; port < 20; port++) await registry.register(request({ port }));
    await expect.poll(() => registry.figures.compactionFailures).toBeGreaterThan(0);
    disk.mend();
    disk.renamesAnyway = false;
    clock.advance(1000);
    await register(registry, { port: 99 });
    expect(await afterKill(dataDir)).toEqual(contents(registry));
  });

  it('that cannot make room for a new log leaves the old one in use, and is tried again later', async () => {
    const disk = new FaultyDisk();
    const { registry, lines, clock, dataDir } = await openRegistry({ disk, compactAboveBytes: 500 });
    disk.fail('ENOSPC', 'open');
    for (let port = 1; port < 20; port++) await register(registry, { port });
    await expect.poll(() => registry.figures.compactionFailures).toBe(1);
    expect(lines.filter((line) => line.message.includes('was not rewritten'))).toHaveLength(1);
    disk.mend();
    await register(registry, { port: 20 });
    expect(registry.figures.compactions).toBe(0);
    clock.advance(60_000);
    await register(registry, { port: 21 });
    await expect.poll(() => registry.figures.compactions).toBe(1);
    await register(registry, { port: 22 });
    expect(await afterKill(dataDir)).toEqual(contents(registry));
  });

  it('acknowledges nothing on a new log before the directory knows it', async () => {
    const disk = new FaultyDisk();
    const { registry } = await openRegistry({ disk, compactAboveBytes: 500 });
    disk.fail('EIO', 'syncDirectory');
    let refused = false;
    for (let port = 1; port < 40 && !refused; port++) {
      refused = (await registry.register(request({ port }))).kind === 'unavailable';
    }
    expect(refused).toBe(true);
    disk.mend();
    await register(registry, { port: 99 });
  });

  it('is full at the start: what is registered is served all the same', async () => {
    const { registry, dataDir } = await openRegistry();
    await register(registry, { id: 'one' });
    const before = registry.index;
    await registry.close();
    const disk = new FaultyDisk();
    disk.fail('ENOSPC', 'write');
    const { registry: next } = await openRegistry({ dataDir, disk });
    expect(contents(next)).toEqual(['web/one 10.0.0.1:80 1 -']);
    expect(next.index).toBeGreaterThan(before);
    disk.mend();
    await register(next, { id: 'two', port: 81 });
    const reached = next.index;
    await next.close();
    expect((await openRegistry({ dataDir })).registry.index).toBeGreaterThan(reached);
  });
});

describe('a disk that hangs', () => {
  it('is treated as failing after a while; what it finishes later is applied', async () => {
    const disk = new FaultyDisk();
    const { registry, clock, lines } = await openRegistry({ disk, commitTimeoutMs: 10_000 });
    disk.hang();
    const caught = registry.register(request({ id: 'caught' }));
    await expect.poll(() => disk.calls.at(-1)).toBe('sync');
    const waiting = registry.register(request({ id: 'waiting', port: 81 }));
    clock.advance(10_000);
    const refusal = { kind: 'unavailable', why: 'the disk does not answer' };
    expect(await Promise.all([caught, waiting])).toEqual([refusal, refusal]);
    expect(await registry.register(request({ port: 82 }))).toEqual(refusal);
    expect(registry.figures.diskHealthy).toBe(false);
    expect(lines.filter((line) => line.level === 'error')).toHaveLength(1);
    // Not before it is on disk.
    expect(contents(registry)).toEqual([]);
    disk.release();
    await expect.poll(() => contents(registry)).toEqual(['web/caught 10.0.0.1:80 1 -']);
    await register(registry, { id: 'after', port: 83 });
    expect(registry.figures.diskHealthy).toBe(true);
  });

  it('does not keep the registry from closing', async () => {
    const disk = new FaultyDisk();
    const { registry, clock, lines } = await openRegistry({ disk });
    disk.hang();
    void registry.register(request());
    await expect.poll(() => disk.calls.at(-1)).toBe('sync');
    const closed = registry.close();
    clock.advance(5000);
    await closed;
    expect(lines.at(-1)?.message).toContain('the disk does not answer');
    disk.release();
  });

  it('makes no endless queue', async () => {
    const disk = new FaultyDisk();
    const { registry } = await openRegistry({ disk });
    disk.hang();
    const results = Array.from({ length: 12_000 }, (_, port) => registry.register(request({ port: port + 1 })));
    expect(registry.figures.pending).toBe(10_000);
    expect(await results.at(-1)).toEqual({ kind: 'unavailable', why: 'too many changes are waiting for the disk' });
    disk.release();
    await Promise.all(results);
    expect(registry.figures.instances).toBe(10_000);
  });
});
