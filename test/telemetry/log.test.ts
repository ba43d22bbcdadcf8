import { expect, test } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import { openEventLog, silentLogger, type EventLog } from '../../src/telemetry/log.ts';
import { FakeFiles } from './fake-files.ts';

function open(): {
  log: EventLog;
  files: FakeFiles;
  clock: ManualClock;
  lines: () => Promise<Record<string, unknown>[]>;
} {
  const files = new FakeFiles();
  const clock = new ManualClock(Date.UTC(2026, 10, 21));
  const log = openEventLog({ clock, files, level: 'info' });
  const lines = async (): Promise<Record<string, unknown>[]> => {
    await clock.advanceAsync(10, 1);
    return files.text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  };
  return { log, files, clock, lines };
}

test('an event is one line of JSON: time, level, event and its fields', async () => {
  const { log, lines } = open();
  log.warn('registry lost', { registry: 'consul', attempt: 3 });
  expect(await lines()).toEqual([
    { level: 'warn', time: '2026-11-21T00:00:00.000Z', registry: 'consul', attempt: 3, event: 'registry lost' },
  ]);
});

test('an error tells its message and causes', async () => {
  const { log, lines } = open();
  log.error('reload failed', { error: new Error('no such key', { cause: new Error('line 3') }) });
  const [line] = await lines();
  expect(line!.error).toMatchObject({ type: 'Error', message: 'no such key: line 3' });
});

test('children carry their fields, and follow a change of level', async () => {
  const { log, lines } = open();
  const child = log.child({ registry: 'etcd' });
  child.debug('too quiet');
  log.setLevel('debug');
  child.debug('heard');
  log.setLevel('error');
  child.warn('too quiet again');
  const found = await lines();
  expect(found.map(({ event, registry }) => [event, registry])).toEqual([['heard', 'etcd']]);
});

test('a destination that is gone stops nothing, and lines are counted', async () => {
  const { log, files, lines } = open();
  files.last.failure = 'EPIPE';
  log.info('one');
  await lines();
  log.info('two');
  expect(log.dropped).toBe(2);
  files.last.failure = undefined;
  log.reopen();
  log.info('three');
  await log.close(100);
  expect((await lines()).map(({ event }) => event)).toEqual(['three']);
});

test('the silent logger says nothing, and neither do its children', () => {
  silentLogger.child({ a: 1 }).error('unheard');
  expect(silentLogger.child({})).toBe(silentLogger);
});
