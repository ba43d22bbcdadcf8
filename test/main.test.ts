import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
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

describe('the process', () => {
  it('exits with the code of the verb', async () => {
    expect(await fairlead(['version'])).toEqual({ code: 0, stdout: `fairlead ${manifest.version}\n`, stderr: '' });
    expect(await fairlead(['nonsense'])).toMatchObject({ code: 1, stdout: '' });
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
});
