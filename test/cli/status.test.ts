import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { status } from '../../src/cli/status.ts';
import { printable, table } from '../../src/cli/table.ts';
import { UsageError } from '../../src/cli/verb.ts';
import { CliFixture } from './admin-fixture.ts';

describe('status', () => {
  test('lists services and registries in aligned columns', async () => {
    const it = new CliFixture();
    it.gateway.add('i-1');
    it.gateway.fail(it.gateway.add('i-2'), 'refused');
    it.gateway.add('p-1', { service: 'payment-service' });
    expect(await status.run(it.ctx, [])).toBe(0);
    expect(it.out).toBe(
      [
        'SERVICE          REGISTERED  AVAILABLE  TAKING TRAFFIC  IN FLIGHT  INSTANCES',
        'payment-service           1          1               1          0  1 available',
        'web                       2          1               1          0  1 available, 1 failing',
        '',
        'REGISTRY  TYPE      STATE   HEARD FROM  INSTANCES  NOTE',
        'local     embedded  synced  12 ms ago           3',
        '',
      ].join('\n'),
    );
  });

  test('of one service lists its instances', async () => {
    const it = new CliFixture();
    const member = it.gateway.add('i-1', { zone: 'eu-1a', version: '2.0' });
    it.gateway.figures.latencyMs[member.slot] = 3.21;
    it.gateway.fail(it.gateway.add('i-2'), 'refused');
    expect(await status.run(it.ctx, ['web'])).toBe(0);
    expect(it.out).toBe(
      [
        'web: 1 available, 1 failing; p2c',
        '',
        'INSTANCE  ADDRESS        STATE      TRAFFIC  SHARE  IN FLIGHT  REQUESTS  FAILED  LATENCY  ZONE   VERSION',
        'i-1       10.0.0.1:8000  available  full     100 %          0         0       0   3.2 ms  eu-1a  2.0',
        'i-2       10.0.0.1:8001  failing    none       0 %          0         0       0        -  -      -',
        '',
      ].join('\n'),
    );
  });

  test('with --json prints what the API says', async () => {
    const it = new CliFixture();
    it.gateway.add('i-1');
    expect(await status.run(it.ctx, ['--json'])).toBe(0);
    expect(JSON.parse(it.out)).toMatchObject({ services: [{ name: 'web' }], registries: [{ name: 'local' }] });
    it.out = '';
    expect(await status.run(it.ctx, ['web', '--json'])).toBe(0);
    expect(JSON.parse(it.out)).toMatchObject({ name: 'web', instances: [{ id: 'i-1' }] });
  });

  test('of an unknown service says which may have been meant', async () => {
    const it = new CliFixture();
    it.gateway.add('p-1', { service: 'payment' });
    expect(await status.run(it.ctx, ['paymnt'])).toBe(1);
    expect([it.out, it.err]).toEqual(['', 'fairlead: there is no service "paymnt"; did you mean payment?\n']);
  });

  test('of nothing at all says so', async () => {
    const it = new CliFixture();
    expect(await status.run(it.ctx, [])).toBe(0);
    expect(it.out).toContain('no service is configured or registered');
  });

  test('takes one service at most', async () => {
    await expect(status.run(new CliFixture().ctx, ['web', 'api'])).rejects.toThrow(UsageError);
  });
});

describe('the admin API', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'fairlead-cli-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  function withFile(text: string): CliFixture {
    writeFileSync(join(folder, 'gateway.yaml'), text);
    const it = new CliFixture();
    it.cwd = folder;
    return it;
  }

  async function askedAt(it: CliFixture, args: readonly string[] = []): Promise<string | undefined> {
    await status.run(it.ctx, ['web', ...args]);
    return it.asked[0]?.replace('GET ', '').replace('/api/services/web', '');
  }

  test('is at its default address where nothing says otherwise', async () => {
    expect(await askedAt(new CliFixture())).toBe('http://127.0.0.1:9901');
  });

  test.each([
    ['http://10.1.2.3:99/', 'http://10.1.2.3:99'],
    ['gateway.internal:9901', 'http://gateway.internal:9901'],
    ['https://ops.example/fairlead/', 'https://ops.example/fairlead'],
  ])('is where --admin %s says', async (url, base) => {
    const it = withFile('admin: { listen: "127.0.0.1:7777" }\n');
    it.env = { FAIRLEAD_ADMIN: 'http://127.0.0.1:1' };
    expect(await askedAt(it, ['--admin', url])).toBe(base);
  });

  test.each([
    ['127.0.0.1:7777', 'http://127.0.0.1:7777'],
    ['0.0.0.0:7777', 'http://127.0.0.1:7777'],
    ['[::]:7777', 'http://[::1]:7777'],
    ['[2001:db8::1]:7777', 'http://[2001:db8::1]:7777'],
  ])('is where the file of -c has it listen, %s', async (listen, base) => {
    const it = withFile(
      `admin: { listen: "${listen}", token: from-the-file }\nregistries: [{ name: local, type: embedded }]\n`,
    );
    it.env = { FAIRLEAD_ADMIN: 'http://127.0.0.1:1' };
    it.answer = (request) => new Response(request.headers.get('authorization'));
    expect(await askedAt(it, ['-c', 'gateway.yaml'])).toBe(base);
  });

  test('is where FAIRLEAD_ADMIN says, before the file that run would take', async () => {
    const it = withFile('admin: { listen: "127.0.0.1:7777" }\n');
    it.env = { FAIRLEAD_ADMIN: '127.0.0.1:6666', FAIRLEAD_CONFIG: 'gateway.yaml' };
    expect(await askedAt(it)).toBe('http://127.0.0.1:6666');
    it.asked.length = 0;
    it.env = { FAIRLEAD_CONFIG: 'gateway.yaml' };
    expect(await askedAt(it)).toBe('http://127.0.0.1:7777');
  });

  test('is found in a file that has errors elsewhere: the gateway goes on with what it had', async () => {
    const it = withFile(
      'admin: { listen: "127.0.0.1:7777" }\ngateway: { lisen: "x" }\nregistries: [{ name: "${NOT_SET}" }]\n',
    );
    expect(await askedAt(it, ['-c', 'gateway.yaml'])).toBe('http://127.0.0.1:7777');
  });

  test.each([
    ['admin: { listen: nonsense }\n', 'gateway.yaml:1:'],
    ['admin: { token: "${NOT_SET}" }\n', 'NOT_SET'],
    ['admin: [\n', 'gateway.yaml:'],
  ])('is not guessed where the file says it wrongly', async (text, message) => {
    const it = withFile(text);
    expect(await status.run(it.ctx, ['-c', 'gateway.yaml'])).toBe(1);
    expect(it.err).toContain(message);
    expect(it.asked).toEqual([]);
  });

  test('is not guessed where the named file is missing', async () => {
    const it = withFile('');
    expect(await status.run(it.ctx, ['-c', 'other.yaml'])).toBe(1);
    expect(it.err).toContain('other.yaml cannot be read');
  });

  test.each(['ftp://127.0.0.1', 'http://', 'http://user:secret@127.0.0.1:9901'])('is not at %s', async (url) => {
    const it = new CliFixture();
    expect(await status.run(it.ctx, ['--admin', url])).toBe(1);
    expect(it.err).toContain('--admin');
    expect(it.err).not.toContain('secret@');
    expect(it.asked).toEqual([]);
  });

  test('gets its token from the environment before the file', async () => {
    const it = withFile(
      'admin: { listen: "127.0.0.1:7777", token: from-the-file }\nregistries: [{ name: local, type: embedded }]\n',
    );
    const tokens: (string | null)[] = [];
    it.answer = (request) => {
      tokens.push(request.headers.get('authorization'));
      return new Response('{}', { status: 500 });
    };
    await askedAt(it, ['-c', 'gateway.yaml']);
    it.env = { FAIRLEAD_ADMIN_TOKEN: 'from-the-environment' };
    await askedAt(it, ['-c', 'gateway.yaml']);
    await askedAt(it, ['--admin', 'http://127.0.0.1:7777']);
    expect(tokens).toEqual(['Bearer from-the-file', 'Bearer from-the-environment', 'Bearer from-the-environment']);
  });

  test('that asks for a token says how to give it', async () => {
    const it = new CliFixture({ token: 'secret' });
    expect(await status.run(it.ctx, [])).toBe(1);
    expect(it.err).toContain('set FAIRLEAD_ADMIN_TOKEN');
    it.err = '';
    it.env = { FAIRLEAD_ADMIN_TOKEN: 'secrte' };
    expect(await status.run(it.ctx, [])).toBe(1);
    expect(it.err).toContain('has another token than FAIRLEAD_ADMIN_TOKEN');
    it.env = { FAIRLEAD_ADMIN_TOKEN: 'secret' };
    expect(await status.run(it.ctx, [])).toBe(0);
  });

  test('that is not there is an error which says where it was looked for', async () => {
    const it = new CliFixture();
    it.answer = () => {
      const cause = Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:9901'), { code: 'ECONNREFUSED' });
      throw new TypeError('fetch failed', { cause });
    };
    expect(await status.run(it.ctx, ['web'])).toBe(1);
    expect(it.err).toBe(
      'fairlead: cannot reach the admin API at http://127.0.0.1:9901 (from the default address): nothing listens there (connect ECONNREFUSED 127.0.0.1:9901); does the gateway run, and is this its admin.listen?\n',
    );
  });

  test('that does not answer is given up after a deadline', async () => {
    const it = new CliFixture();
    it.answer = (request) =>
      new Promise((_resolve, reject) => {
        request.signal.addEventListener('abort', () => {
          reject(new Error('aborted'));
        });
      });
    expect(await it.end(status.run(it.ctx, ['web']))).toBe(1);
    expect(it.err).toContain('no answer within 5s');
    expect(it.clock.pending).toBe(0);
  });

  test.each<[Response, string]>([
    [new Response('<html>', { status: 200 }), 'is no Fairlead admin API (HTTP 200)'],
    [new Response('{"services":{}}', { status: 200 }), 'is no Fairlead admin API'],
    [new Response('{}', { headers: { 'fairlead-api': '7' } }), 'version 7, not 1'],
    [new Response('{"serv', { headers: { 'fairlead-api': '1' } }), 'broke off'],
  ])('that is something else is told apart', async (response, message) => {
    const it = new CliFixture();
    it.answer = () => response.clone();
    expect(await status.run(it.ctx, [])).toBe(1);
    expect(it.err).toContain(message);
  });
});

test('tables align, and cells from outside cannot write on the terminal', () => {
  const text = table(
    [{ title: 'NAME' }, { title: 'N', right: true }],
    [
      ['\u001b[31mred\u0007', '1'],
      ['x', '1000'],
    ],
  );
  expect(text).toBe('NAME          N\n?[31mred?     1\nx          1000\n');
  expect(printable('a\nb\u202ec\u2028')).toBe('a?b?c?');
});
