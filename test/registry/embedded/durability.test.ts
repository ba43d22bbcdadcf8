import { copyFileSync, existsSync, readFileSync, readdirSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../../src/core/clock.ts';
import { addressOf } from '../../../src/core/instance.ts';
import { systemDisk } from '../../../src/registry/embedded/disk.ts';
import { frame } from '../../../src/registry/embedded/frame.ts';
import { replay } from '../../../src/registry/embedded/replay.ts';
import { RegistryState } from '../../../src/registry/embedded/state.ts';
import { contents, openRegistry, register, temporaryDirectory } from './fixture.ts';
import { Model, operation } from './model.ts';

const logOf = (dataDir: string): string => join(dataDir, 'registry.log');

/** What a log of these bytes brings back. */
async function replayed(bytes: Buffer): Promise<{ contents: string[]; corruptRecords: number; tornBytes: number }> {
  const clock = new ManualClock();
  const nothing = (): void => undefined;
  const state = new RegistryState({
    clock,
    log: nothing,
    history: 0,
    waiters: 0,
    keepEmptyMs: 0,
    onExpired: nothing,
    onIndex: nothing,
  });
  async function* read(): AsyncGenerator<Buffer> {
    yield* await Promise.resolve([bytes.subarray(0, 100), bytes.subarray(100)]);
  }
  const report = await replay(
    { ...systemDisk, read },
    'log',
    (record) => {
      state.restore(record);
    },
    nothing,
  );
  const lines = [...state.table.entries()].map(
    ({ instance: of, registration }) =>
      `${of.service}/${of.id} ${addressOf(of)} ${of.weight} ${registration.ttlMs ?? '-'}`,
  );
  return { contents: lines.sort(), corruptRecords: report.corruptRecords, tornBytes: report.tornBytes };
}

/** A registry in another directory, with this log: what a new process finds after the old one was killed. */
async function reopened(log: Buffer): ReturnType<typeof openRegistry> {
  const dataDir = temporaryDirectory();
  writeFileSync(logOf(dataDir), log);
  return openRegistry({ dataDir });
}

describe('what was acknowledged', () => {
  it('is there after a restart, with every field', async () => {
    const { registry, dataDir } = await openRegistry();
    await register(registry, {
      id: 'full',
      host: '2001:db8::1',
      weight: 2.5,
      zone: 'zone ä',
      version: '1.0',
      secure: true,
      metadata: new Map([
        ['__proto__', 'harmless'],
        ['line', 'a\nb "quoted" \u2028'],
      ]),
      checks: [{ type: 'http', path: '/health', statuses: [[200, 299]] }],
      ttlMs: 30_000,
    });
    await register(registry, { id: 'plain', port: 81 });
    const before = [...(registry.services.get('web')?.entries.values() ?? [])].map((entry) => entry.registration);
    await registry.close();
    const { registry: next, lines } = await openRegistry({ dataDir });
    expect([...(next.services.get('web')?.entries.values() ?? [])].map((entry) => entry.registration)).toEqual(before);
    expect(lines).toEqual([]);
    expect(next.find({ service: 'web', id: 'full' })?.instance.metadata.get('__proto__')).toBe('harmless');
  });

  it('is what any prefix of the log says, cut at every byte', async () => {
    const { registry, dataDir } = await openRegistry();
    const model = new Model();
    const steps = [{ bytes: registry.figures.bytes, contents: model.contents() }];
    for (const wanted of fc.sample(operation, { numRuns: 30, seed: 42 })) {
      await model.apply(registry, wanted);
      steps.push({ bytes: registry.figures.bytes, contents: model.contents() });
    }
    const log = readFileSync(logOf(dataDir));
    expect(log.length).toBe(registry.figures.bytes);
    for (let length = 0; length <= log.length; length++) {
      const acknowledged = steps.findLast((step) => step.bytes <= length)?.contents ?? [];
      const found = await replayed(log.subarray(0, length));
      expect(found.contents, `cut at ${length}`).toEqual(acknowledged);
      expect(found.corruptRecords).toBe(0);
    }
  });

  it('survives a crash after any operations, in the middle of the next write, again and again', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(operation, { maxLength: 8 }), { minLength: 1, maxLength: 4 }),
        fc.nat({ max: 200 }),
        async (lives, tornBytes) => {
          const model = new Model();
          let log = Buffer.alloc(0);
          for (const life of lives) {
            const { registry, dataDir } = await reopened(log);
            expect(contents(registry)).toEqual(model.contents());
            for (const wanted of life) await model.apply(registry, wanted);
            const torn = Buffer.from(frame('{"put":{"service":"a","id":"torn","host":"10.0.0.9","port":80}}'));
            log = Buffer.concat([readFileSync(logOf(dataDir)), torn.subarray(0, Math.min(tornBytes, torn.length - 1))]);
            await registry.close();
          }
          const { registry, lines } = await reopened(log);
          expect(contents(registry)).toEqual(model.contents());
          expect(lines.length).toBe(tornBytes > 0 ? 1 : 0);
          await registry.close();
        },
      ),
      { numRuns: 25 },
    );
  });

  it('is not lost to the truncation of a torn end, which is reported', async () => {
    const { registry, dataDir } = await openRegistry();
    await register(registry, { id: 'a' });
    await register(registry, { id: 'b', port: 81 });
    await registry.close();
    truncateSync(logOf(dataDir), statSync(logOf(dataDir)).size - 3);
    const { registry: next, lines } = await openRegistry({ dataDir });
    expect(contents(next)).toEqual(['web/a 10.0.0.1:80 1 -']);
    expect(lines).toMatchObject([{ level: 'warn', message: 'dropped an incomplete last record of the log' }]);
    expect(next.figures.tornBytes).toBeGreaterThan(0);
    await register(next, { id: 'c', port: 82 });
    await next.close();
    const { registry: last, lines: quiet } = await openRegistry({ dataDir });
    expect(contents(last)).toEqual(['web/a 10.0.0.1:80 1 -', 'web/c 10.0.0.1:82 1 -']);
    expect(quiet).toEqual([]);
  });
});

describe('a corrupt record in the middle', () => {
  it('costs only itself, is reported and counted, and a copy of the log is kept', async () => {
    const { registry, dataDir } = await openRegistry();
    for (const id of ['a', 'b', 'c']) await register(registry, { id, host: `10.0.0.${id.charCodeAt(0)}` });
    await registry.close();
    const log = readFileSync(logOf(dataDir));
    const at = log.indexOf('"b"');
    log[at + 1] = 0x42;
    writeFileSync(logOf(dataDir), log);

    const { registry: next, lines } = await openRegistry({ dataDir });
    expect(contents(next)).toEqual(['web/a 10.0.0.97:80 1 -', 'web/c 10.0.0.99:80 1 -']);
    expect(next.figures.corruptRecords).toBe(1);
    expect(lines[0]).toMatchObject({
      level: 'error',
      message: expect.stringContaining('corrupt part of the log') as string,
    });
    expect(readFileSync(`${logOf(dataDir)}.damaged`)).toEqual(log);
    // With the copy kept, the log is rewritten, so that the next start has nothing to report.
    await expect.poll(() => next.figures.compactions).toBe(1);
    await next.close();
    const { registry: last, lines: quiet } = await openRegistry({ dataDir });
    expect(contents(last)).toHaveLength(2);
    expect(quiet).toEqual([]);
  });

  it('may be anywhere: whatever byte is hit, every other registration is there', async () => {
    const { registry, dataDir } = await openRegistry();
    for (const id of ['a', 'b', 'c', 'd']) await register(registry, { id, host: `10.0.0.${id.charCodeAt(0)}` });
    const log = readFileSync(logOf(dataDir));
    const all = contents(registry);
    const line = (at: number): number => log.subarray(0, at).filter((byte) => byte === 0x0a).length;
    for (let at = 0; at < log.length; at++) {
      const damaged = Buffer.from(log);
      damaged[at] = (damaged[at] ?? 0) ^ 0x10;
      const found = await replayed(damaged);
      // Two lines come before the first registration: the format, and the reserved index.
      const others = all.filter((_, index) => index !== line(at) - 2);
      expect(
        others.every((each) => found.contents.includes(each)),
        `hit at ${at}`,
      ).toBe(true);
      expect(found.corruptRecords + Math.sign(found.tornBytes)).toBe(1);
    }
  });

  it('does not let the index go back, even if it was the record that reserved it', async () => {
    const { registry, dataDir } = await openRegistry();
    for (let port = 1; port < 10; port++) await register(registry, { port });
    const before = registry.index;
    await registry.close();
    const log = readFileSync(logOf(dataDir));
    log[log.indexOf('reserve')] = 0x52;
    writeFileSync(logOf(dataDir), log);
    const { registry: next } = await openRegistry({ dataDir });
    expect(next.index).toBeGreaterThan(before);
  });

  it('that passes its checksum and makes no sense is reported too', async () => {
    const { registry, lines } = await reopened(
      Buffer.from(
        frame('{"format":1}') +
          frame('{"put":{"service":"../x"}}') +
          frame('{"put":{"service":"web","id":"a","host":"h","port":1}}'),
      ),
    );
    expect(contents(registry)).toEqual(['web/a h:1 1 -']);
    expect(lines[0]).toMatchObject({ level: 'error', fields: { why: 'put has no service name' } });
  });
});

describe('a log that cannot be used', () => {
  it('of a later version stops the start and is left as it is', async () => {
    const log = Buffer.from(frame('{"format":2}') + frame('{"put":{"future":true}}'));
    const dataDir = temporaryDirectory();
    writeFileSync(logOf(dataDir), log);
    await expect(openRegistry({ dataDir })).rejects.toThrow(
      /later version of Fairlead \(format 2.*choose another dataDir/,
    );
    expect(readFileSync(logOf(dataDir))).toEqual(log);
    // The directory was given back.
    writeFileSync(logOf(dataDir), '');
    await openRegistry({ dataDir });
  });

  it('because it is something else altogether is put aside before anything is written', async () => {
    const alien = Buffer.from('this is the diary of somebody\n'.repeat(5000));
    const dataDir = temporaryDirectory();
    writeFileSync(logOf(dataDir), alien);
    const { registry } = await openRegistry({ dataDir });
    await register(registry);
    await registry.close();
    expect(readFileSync(`${logOf(dataDir)}.damaged`)).toEqual(alien);
    expect(contents((await openRegistry({ dataDir })).registry)).toHaveLength(1);
  });
});

describe('rewriting the log', () => {
  it('keeps it bounded however often things change, and loses nothing', async () => {
    const { registry, dataDir } = await openRegistry({ compactAboveBytes: 4096 });
    for (let round = 0; round < 40; round++) {
      await Promise.all(
        Array.from({ length: 10 }, (_, port) => register(registry, { port: port + 1, weight: round + 1 })),
      );
    }
    await expect.poll(() => registry.figures.compactions).toBeGreaterThan(2);
    const before = contents(registry);
    expect(registry.figures.bytes).toBeLessThan(10_000);
    await registry.close();
    expect(readdirSync(dataDir).sort()).toEqual(['lock', 'registry.log']);
    expect(contents((await openRegistry({ dataDir })).registry)).toEqual(before);
  });

  it('takes along what is registered while it goes on', async () => {
    const { registry, dataDir } = await openRegistry({ compactAboveBytes: 20_000 });
    await Promise.all(Array.from({ length: 400 }, (_, port) => register(registry, { port: port + 1 })));
    for (let port = 1000; registry.figures.compactions === 0; port++) await register(registry, { port });
    for (let port = 1; port < 50; port++) await registry.deregister(`web-10.0.0.1-${port}`);
    const before = contents(registry);
    copyFileSync(logOf(dataDir), `${dataDir}/copy`);
    const log = readFileSync(`${dataDir}/copy`);
    await registry.close();
    expect(contents((await reopened(log)).registry)).toEqual(before);
  });

  it('left unfinished by a crash is removed at the next start', async () => {
    const { registry, dataDir } = await openRegistry();
    await register(registry);
    await registry.close();
    writeFileSync(`${logOf(dataDir)}.next`, 'half of it');
    const { registry: next } = await openRegistry({ dataDir });
    expect(existsSync(`${logOf(dataDir)}.next`)).toBe(false);
    expect(contents(next)).toHaveLength(1);
  });
});
