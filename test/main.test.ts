import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const binary = fileURLToPath(new URL('../bin/fairlead.js', import.meta.url));
const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string };

/** Runs `fairlead` as a process of its own; `closeStdout`: nobody reads what it prints. */
async function fairlead(
  args: readonly string[],
  { closeStdout = false } = {},
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [binary, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const printed = { stdout: '', stderr: '' };
  if (closeStdout) child.stdout.destroy();
  child.stdout.setEncoding('utf8').on('data', (text: string) => (printed.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (printed.stderr += text));
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, ...printed };
}

/** The file of a configuration, and the directory for it. */
async function configFile(text: string): Promise<{ file: string; directory: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'fairlead-main-'));
  const file = join(directory, 'fairlead.yaml');
  await writeFile(file, text);
  return { file, directory };
}

/** Listeners on free ports; the embedded registry with this dataDir. */
const withRegistry = (dataDir: string): string => `gateway: { listen: '127.0.0.1:0', stateDir: off }
admin: { listen: '127.0.0.1:0' }
registries: [{ type: embedded, listen: '127.0.0.1:0', dataDir: ${dataDir} }]
shutdown: { acceptFor: 0s, drain: 1s }
`;

describe('the process', () => {
  it('exits with the code of the verb', async () => {
    expect(await fairlead(['version'])).toEqual({ code: 0, stdout: `fairlead ${manifest.version}\n`, stderr: '' });
    expect(await fairlead(['nonsense'])).toMatchObject({ code: 1, stdout: '' });
  });

  it('says which Node it needs where it is started by an older one', () => {
    const older = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '20.20.2' } })`;
    const env = { ...process.env, NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(older)}` };
    const { status, stderr } = spawnSync(process.execPath, [binary, 'run'], { env, encoding: 'utf8' });
    expect(stderr).toMatch(/^fairlead: needs Node 22\.18 or later, and this is 20\.20\.2; .*`npm start`.*\n$/);
    expect(status).toBe(1);
  });

  it('does not mind that nobody reads what it prints', async () => {
    expect(await fairlead(['help'], { closeStdout: true })).toEqual({ code: 0, stdout: '', stderr: '' });
  });

  it('prints all of it before it exits', async () => {
    const { code, stdout } = await fairlead([
      'check',
      '-c',
      fileURLToPath(new URL('../config/fairlead.yaml', import.meta.url)),
    ]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/\ndefaults +17s .*\n$/);
  });

  it('reopens logs on USR1 instead of opening the debugger, and stops gracefully on TERM', async () => {
    const { file, directory } = await configFile(withRegistry('off'));
    const child = spawn(process.execPath, [binary, 'run', '-c', file], { stdio: ['ignore', 'ignore', 'pipe'] });
    let log = '';
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    await new Promise<void>((resolve) => {
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        log += text;
        if (log.includes('ready to serve')) resolve();
      });
      child.once('close', () => resolve());
    });
    if (process.platform === 'linux')
      expect(readFileSync(`/proc/${child.pid}/cmdline`, 'utf8')).toContain('--max-semi-space-size=16');
    child.kill('SIGUSR1');
    child.kill('SIGTERM');
    expect({ code: await ended, log }).toEqual({ code: 0, log: expect.not.stringContaining('Debugger') as string });
    await rm(directory, { recursive: true });
  });

  it.each([
    ['accessLog: DIR/none/a.log', '', [], /^fairlead: gateway\.accessLog: ENOENT/m],
    ['', 'log: { destination: DIR/none/a.log }', [], /^fairlead: log\.destination: ENOENT/m],
    ['', '', ['--pid-file', 'DIR/none/pid'], /^fairlead: --pid-file .*none\/pid cannot be written: ENOENT/m],
    ['', `admin: { listen: '127.0.0.1:TAKEN' }`, [], /^fairlead: admin\.listen: cannot listen on .*: another process/m],
    ['listen: "127.0.0.1:TAKEN"', '', [], /^fairlead: gateway\.listen: cannot listen on .*: another process/m],
  ])('names the setting that the start fails by: %s %s %s', async (gateway, rest, flags, message) => {
    const directory = await mkdtemp(join(tmpdir(), 'fairlead-main-'));
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', () => resolve()));
    const { port } = taken.address() as AddressInfo;
    const filled = (text: string): string => text.replace('DIR', directory).replace('TAKEN', String(port));
    const file = join(directory, 'fairlead.yaml');
    const listen = gateway.includes('listen') ? '' : `listen: '127.0.0.1:0', `;
    const admin = rest.includes('admin') ? '' : `admin: { listen: '127.0.0.1:0' }\n`;
    const text = `gateway: { ${listen}stateDir: off, ${filled(gateway)} }\n${admin}registries: [{ type: static, services: {} }]\n`;
    await writeFile(file, `${text}${filled(rest)}\n`);
    const { code, stderr } = await fairlead(['run', '-c', file, ...flags.map(filled)]);
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(message) as string });
    await new Promise((resolve) => taken.close(resolve));
    await rm(directory, { recursive: true });
  });

  it.runIf(process.platform === 'linux')('ends at the second TERM of a start that hangs', async () => {
    // Node 24 never ends to make a directory there (nodejs/node, fs.mkdir with `recursive`).
    const { file, directory } = await configFile(withRegistry('/proc/none'));
    const child = spawn(process.execPath, [binary, 'run', '-c', file], { stdio: 'ignore' });
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    const again = setInterval(() => child.kill('SIGTERM'), 500);
    expect([1, 143]).toContain(await ended);
    clearInterval(again);
    await rm(directory, { recursive: true });
  });
});
