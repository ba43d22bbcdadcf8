import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { check, promisedMs } from '../../src/cli/check.ts';
import type { Check } from '../../src/core/check.ts';
import { ran, type Ran } from './command-line.ts';

let cwd = '';
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'fairlead-check-'));
  await mkdir(join(cwd, 'config'));
});
afterAll(() => rm(cwd, { recursive: true }));

async function checked(
  text: string,
  args: readonly string[] = ['-c', 'f.yaml'],
  file = 'f.yaml',
  env = {},
): Promise<Ran> {
  await writeFile(join(cwd, file), text);
  return ran((ctx) => check.run(ctx, args), { cwd, env });
}

describe('fairlead check', () => {
  it('prints every mistake as file:line:col path: message, and fails', async () => {
    expect(await checked('gatway: {}\nadmin:\n  listen: "0.0.0.0:9901"\nworkers: 0\n')).toEqual({
      code: 1,
      stdout: `f.yaml:1:1 gatway: unknown key; did you mean gateway?
f.yaml:3:11 admin.listen: can be reached from other machines, and whoever reaches it could drain your instances: set admin.token, or listen on 127.0.0.1
f.yaml:4:10 workers: must be a whole number from 1 to 256
`,
      stderr: '',
    });
  });

  it('says how soon a dead instance is out, for the defaults and for each service', async () => {
    const text = `
defaults: { health: { type: http, path: /health, interval: 5s, timeout: 2s } }
services:
  pay: { health: { interval: 10s, timeout: 5s } }
  both: { health: [{ type: tcp, interval: 1s, timeout: 500ms }, { type: ttl, timeout: 30s, unhealthyThreshold: 1 }] }
  alone: { health: [] }
`;
    expect(await checked(text)).toEqual({
      code: 0,
      stdout: `f.yaml is valid

Worst-case detection: an instance that stops answering gets no more traffic after
defaults  17s    http GET /health: every 5s, 3 failures, timeout 2s
pay       35s    http GET /health: every 10s, 3 failures, timeout 5s
both      30s    tcp: every 1s, 3 failures, timeout 500ms (3500ms); ttl: 1 silence of 30s (30s)
alone     never  nothing is checked: the registry and the breaker alone decide
`,
      stderr: '',
    });
  });

  it('reads ./config/fairlead.yaml, unless FAIRLEAD_CONFIG or -c says otherwise', async () => {
    expect((await checked('workers: 1', [], 'config/fairlead.yaml')).stdout).toContain(
      './config/fairlead.yaml is valid',
    );
    expect((await checked('workers: 1', [], 'env.yaml', { FAIRLEAD_CONFIG: 'env.yaml' })).stdout).toContain(
      'env.yaml is valid',
    );
    const both = await checked('workers: 1', ['--config', 'flag.yaml'], 'flag.yaml', { FAIRLEAD_CONFIG: 'env.yaml' });
    expect(both.stdout).toContain('flag.yaml is valid');
  });

  it('takes values from the environment it was started in', async () => {
    expect((await checked('workers: ${N}', ['-c', 'f.yaml'], 'f.yaml', { N: '4' })).code).toBe(0);
    expect((await checked('workers: ${N}')).stdout).toContain(
      'f.yaml:1:10 workers: the environment variable N is not set',
    );
  });

  it('says that a file is missing', async () => {
    const { code, stdout } = await ran((ctx) => check.run(ctx, ['-c', 'no.yaml']), { cwd });
    expect(code).toBe(1);
    expect(stdout).toContain('no.yaml:1:1 cannot be read: there is no such file; -c FILE or FAIRLEAD_CONFIG names');
  });
});

describe('the promised time of detection', () => {
  const usual: Check = {
    type: 'tcp',
    name: 'tcp',
    port: undefined,
    intervalMs: 5000,
    timeoutMs: 2000,
    healthyThreshold: 2,
    unhealthyThreshold: 3,
    fastIntervalMs: 1000,
    jitter: 0.2,
  };

  it.each<[string, Partial<Check>, number]>([
    ['is interval × unhealthyThreshold + timeout', {}, 17_000],
    ['counts the jitter where one failure is enough', { unhealthyThreshold: 1 }, 8000],
    ['counts slow answers where they take longer than the interval', { intervalMs: 1000, timeoutMs: 4000 }, 13_200],
    ['counts the jitter once where nothing is asked faster', { fastIntervalMs: 5000, timeoutMs: 4500 }, 19_500],
  ])('%s', (_, part, expected) => {
    expect(promisedMs({ ...usual, ...part } as Check)).toBe(expected);
  });
});
