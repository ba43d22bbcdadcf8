import type { CliContext } from '../../src/cli/verb.ts';
import { ManualClock } from '../../src/core/clock.ts';
import { seededRandom } from '../../src/core/random.ts';

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A context without a process; what is written collects in `out` and `err`. */
export function cliContext(part: Partial<CliContext> = {}): { ctx: CliContext; out: string[]; err: string[] } {
  const out: string[] = [];
  const err: string[] = [];
  const ctx: CliContext = {
    env: {},
    stdout: { write: (text) => out.push(text) },
    stderr: { write: (text) => err.push(text) },
    cwd: '/nowhere',
    version: '1.2.3',
    process: {
      pid: 1,
      nodeVersion: 'v24.0.0',
      isAlive: () => false,
      kill: () => undefined,
      predecessor: undefined,
      spawnSuccessor: () => {
        throw new Error('this test has no processes');
      },
    },
    fetch: () => Promise.reject(new Error('this test has no network')),
    clock: new ManualClock(),
    random: seededRandom(1),
    signal: new AbortController().signal,
    onSignal: () => () => undefined,
    ...part,
  };
  return { ctx, out, err };
}

export async function ran(run: (ctx: CliContext) => Promise<number>, part: Partial<CliContext> = {}): Promise<Ran> {
  const { ctx, out, err } = cliContext(part);
  const code = await run(ctx);
  return { code, stdout: out.join(''), stderr: err.join('') };
}
