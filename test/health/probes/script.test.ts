import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Check } from '../../../src/core/check.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { TIMING } from '../fixtures.ts';
import { probing, until } from './run.ts';

const script = {
  path: process.env.PATH ?? '',
  kill: process.kill.bind(process) as (pid: number, signal: 'SIGKILL') => void,
};

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fairlead-script-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const check = (...command: string[]): Check => ({
  type: 'script',
  name: 'script',
  port: undefined,
  command,
  ...TIMING,
});
const shell = (text: string, ...args: string[]): Check => check('sh', '-c', text, 'sh', ...args);
const run = (asked: Check, deadlineMs?: number) => probing(asked, { port: 8080 }, { script }).run(deadlineMs);
const alive = (pid: number): boolean =>
  existsSync(`/proc/${pid}`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));

describe('ScriptProbe', () => {
  it.each([
    ['0', 'pass'],
    ['1', 'degraded'],
    ['2', 'fail'],
    ['255', 'fail'],
  ])('takes exit code %s for %s', async (code, result) => {
    expect(await run(shell(`exit ${code}`))).toEqual({ result, text: `exit code ${code}` });
  });

  it('keeps what the script says, printable and short', async () => {
    expect((await run(shell('echo disk full; echo "  and\\033[31m more" >&2; exit 2'))).text).toMatch(
      /^exit code 2: disk full +and \[31m more$/,
    );
    expect((await run(shell('head -c 1000000 /dev/zero | tr "\\0" x'))).text).toBe(`exit code 0: ${'x'.repeat(200)}`);
  });

  it('passes arguments as they are, without a shell', async () => {
    expect((await run(check('printf', '%s', '$HOME; echo `id` && *'))).text).toBe('exit code 0: $HOME; echo `id` && *');
  });

  it('gives the script five variables and nothing of the gateway', async () => {
    process.env.FAIRLEAD_TEST_SECRET = 'secret';
    try {
      const text = (
        await run(
          check(
            process.execPath,
            '-e',
            'console.log(Object.keys(process.env).sort().join(), process.env.FAIRLEAD_HOST, process.env.FAIRLEAD_PORT)',
          ),
        )
      ).text;
      expect(text).toContain('FAIRLEAD_HOST,FAIRLEAD_INSTANCE,FAIRLEAD_PORT,FAIRLEAD_SERVICE,PATH');
      expect(text).toContain('127.0.0.1 8080');
      expect(text).not.toMatch(/SECRET|HOME/);
    } finally {
      delete process.env.FAIRLEAD_TEST_SECRET;
    }
  });

  it('kills the whole process group at the deadline', async () => {
    const pids = join(folder, 'pids');
    const hanging = shell(`sleep 1000 & echo $! > ${pids}; echo $$ >> ${pids}; trap "" TERM; sleep 1000`);
    expect(await run(hanging, 300)).toEqual({ result: 'fail', text: 'the script did not end within 300ms' });
    const [sleeper, shellPid] = readFileSync(pids, 'utf8').trim().split('\n').map(Number);
    await until(() => !alive(sleeper!) && !alive(shellPid!));
  });

  it('kills a stopped script as well', async () => {
    const pids = join(folder, 'pids');
    expect((await run(shell(`echo $$ > ${pids}; kill -STOP $$`), 300)).text).toBe(
      'the script did not end within 300ms',
    );
    const pid = Number(readFileSync(pids, 'utf8'));
    await until(() => !alive(pid));
  });

  it('does not wait for a child of the script that holds its output open', async () => {
    const pids = join(folder, 'pids');
    const startMs = performance.now();
    expect(await run(shell(`sleep 30 & echo $! > ${pids}; echo ready; exit 0`))).toEqual({
      result: 'pass',
      text: 'exit code 0: ready',
    });
    expect(performance.now() - startMs).toBeLessThan(2500);
    process.kill(Number(readFileSync(pids, 'utf8')), 'SIGKILL');
  });

  it('says so where the command is missing, not executable or killed', async () => {
    expect((await run(check(join(folder, 'nothing')))).text).toBe('the command does not exist');
    expect((await run(check(folder))).text).toBe('the command is not executable');
    expect((await run(check())).text).toBe('the check names no command');
    expect((await run(shell('kill -9 $$'))).text).toBe('killed by SIGKILL');
  });

  it('runs nothing where scripts are not enabled', async () => {
    const mark = join(folder, 'mark');
    expect(await probing(check('touch', mark), { port: 1 }).run()).toEqual({
      result: 'fail',
      text: 'script checks are not enabled here',
    });
    expect(existsSync(mark)).toBe(false);
  });

  it('ends a run when it is closed, and reports nothing afterwards', async () => {
    const pids = join(folder, 'pids');
    const { probe, strays } = probing(
      shell(`echo $$ > ${pids}; sleep 1000`),
      { port: 1 },
      { script, clock: systemClock },
    );
    probe.start();
    await until(() => existsSync(pids) && readFileSync(pids, 'utf8') !== '');
    probe.close();
    await until(() => !alive(Number(readFileSync(pids, 'utf8'))));
    expect(strays).toEqual([]);
  });

  it('may run again and again', async () => {
    const { run: again } = probing(shell('exit 0'), { port: 1 }, { script });
    for (let count = 0; count < 3; count++) expect((await again()).result).toBe('pass');
  });
});
