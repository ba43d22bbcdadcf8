import { expect, test } from 'vitest';
import { healthcheck } from '../../src/cli/healthcheck.ts';
import { UsageError } from '../../src/cli/verb.ts';
import { CliFixture } from './admin-fixture.ts';

const NOT_READY = [{ component: 'consul', reason: 'has not answered yet' }];

test('alive is enough, whether ready or not', async () => {
  const it = new CliFixture({ notReady: () => NOT_READY });
  expect([await healthcheck.run(it.ctx, []), it.out]).toEqual([0, 'alive\n']);
});

test('with --ready it has to be ready, else the reasons are told', async () => {
  const it = new CliFixture({ notReady: () => NOT_READY });
  expect(await healthcheck.run(it.ctx, ['--ready'])).toBe(1);
  expect(it.err).toBe('fairlead: not ready: consul: has not answered yet\n');
  const ready = new CliFixture();
  expect([await healthcheck.run(ready.ctx, ['--ready']), ready.out]).toEqual([0, 'ready\n']);
});

test('needs no token', async () => {
  const it = new CliFixture({ token: 'secret' });
  expect(await healthcheck.run(it.ctx, ['--json'])).toBe(0);
  expect(JSON.parse(it.out)).toEqual({ status: 'alive' });
});

test('a gateway that hangs is not alive', async () => {
  const it = new CliFixture();
  it.answer = (request) =>
    new Promise((_resolve, reject) => {
      request.signal.addEventListener('abort', () => {
        reject(new Error('aborted'));
      });
    });
  expect(await it.end(healthcheck.run(it.ctx, ['--timeout', '500ms']))).toBe(1);
  expect(it.err).toContain('no answer within 500ms');
});

test('something else on the port is not alive', async () => {
  const it = new CliFixture();
  it.answer = () => new Response('{"status":"alive"}');
  expect(await healthcheck.run(it.ctx, [])).toBe(1);
});

test.each([['--timeout', '0s'], ['--timeout', 'x'], ['extra']])('refuses the arguments %j', async (...args) => {
  await expect(healthcheck.run(new CliFixture().ctx, args.flat())).rejects.toThrow(UsageError);
});
