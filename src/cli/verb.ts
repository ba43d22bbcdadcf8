import { parseArgs, type ParseArgsConfig } from 'node:util';
import type { Clock } from '../core/clock.ts';
import type { Random } from '../core/random.ts';
import type { Channel, SpawnSuccessor } from '../gateway/channel.ts';

/** Where text goes. `write` adds no newline. */
export interface TextSink {
  write(text: string): unknown;
  /** A terminal that understands colours. Absent or false: plain text. */
  readonly isTTY?: boolean;
}

export type SignalName = 'SIGTERM' | 'SIGINT' | 'SIGHUP' | 'SIGUSR1';

/** Of this process and of others on the machine. */
export interface ProcessFacts {
  readonly pid: number;
  readonly nodeVersion: string;
  /** Whether a process with this id exists: signal 0, nothing stronger. */
  isAlive(pid: number): boolean;
  /** `process.kill`: a negative id is a process group. For processes that we started. */
  readonly kill: (pid: number, signal: 'SIGKILL') => void;
  /** To the gateway that started this one to take its place; undefined: nobody did. */
  readonly predecessor: Channel | undefined;
  readonly spawnSuccessor: SpawnSuccessor;
}

/** All that a verb may know of the process around it. Made by main.ts; tests make their own. */
export interface CliContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: TextSink;
  readonly stderr: TextSink;
  /** Absolute; file names in arguments are relative to it. */
  readonly cwd: string;
  readonly version: string;
  readonly process: ProcessFacts;
  readonly fetch: typeof globalThis.fetch;
  readonly clock: Clock;
  readonly random: Random;
  /**
   * Aborts at the first TERM or INT that no `onSignal` listener took. The verb then has a quarter of a second to come
   * to an end before the process exits.
   */
  readonly signal: AbortSignal;
  /** Takes over a signal until the returned function is called (idempotent). */
  onSignal(name: SignalName, listener: () => void): () => void;
}

/**
 * One word of the command line.
 *
 * Its module must be cheap to load, since `help` loads all of them: import what is heavy inside `run`.
 */
export interface Verb {
  readonly name: string;
  /** Arguments only, without `fairlead` and the name: `[-c FILE] [--json]`. Empty where there are none. */
  readonly usage: string;
  /** One line, lower case, no full stop. */
  readonly summary: string;
  /** Resolves to the exit code. Throws `UsageError` for a bad command line; anything else thrown is a bug. */
  run(ctx: CliContext, args: readonly string[]): Promise<number>;
}

/** The command line is wrong: reported with the verb's usage, exit 1. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

type Options = NonNullable<ParseArgsConfig['options']>;
type Parsed<T extends Options> = ReturnType<
  typeof parseArgs<{ options: T; strict: true; allowPositionals: true; args: string[] }>
>;

/**
 * Flags and positional arguments of a verb. Unknown flags, flags without their value and positional arguments beyond
 * `positionals` are a `UsageError`.
 */
export function parseFlags<const T extends Options>(
  args: readonly string[],
  options: T,
  { positionals }: { readonly positionals: number },
): Parsed<T> {
  let parsed: Parsed<T>;
  try {
    parsed = parseArgs({ args: [...args], options, strict: true, allowPositionals: true });
  } catch (error) {
    // parseArgs throws nothing but its own complaints about the command line here.
    throw new UsageError(error instanceof Error ? (error.message.split('. ')[0] ?? '') : String(error), {
      cause: error,
    });
  }
  const extra = parsed.positionals[positionals];
  if (extra !== undefined) throw new UsageError(`unexpected argument '${extra}'`);
  return parsed;
}
