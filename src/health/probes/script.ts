import { spawn, type ChildProcess } from 'node:child_process';
import type { Readable } from 'node:stream';
import type { Check } from '../../core/check.ts';
import type { Clock } from '../../core/clock.ts';
import type { Probe, ProbeAnswer, ProbeTarget, Report } from '../probe.ts';
import { codeOf, failureOf } from './failure-text.ts';

export interface ScriptOptions {
  readonly clock: Clock;
  /** Where programs are found: the script's `PATH`. */
  readonly path: string;
  /** `process.kill`: a negative id is a process group. */
  readonly kill: (pid: number, signal: 'SIGKILL') => void;
}

type ScriptCheck = Extract<Check, { readonly type: 'script' }>;

const MAX_OUTPUT_BYTES = 4096;
const MAX_TEXT_CHARACTERS = 200;
/** For the last output of a script that has exited: a child of it may hold the pipe open for ever. */
const OUTPUT_GRACE_MS = 100;

/**
 * Runs a program of the operator's: exit code 0 passes, 1 is degraded, anything else fails, as with Nagios and Consul.
 * No shell; a process group of its own, which is killed as a whole at the deadline; an environment of five variables.
 */
export class ScriptProbe implements Probe {
  readonly keepsNothing = true;
  readonly #options: ScriptOptions;
  readonly #to: ProbeTarget;
  readonly #check: ScriptCheck;
  readonly #report: Report;
  #child: ChildProcess | undefined;
  #output: Buffer[] = [];
  #outputBytes = 0;
  #cancelGrace: (() => void) | undefined;

  constructor(options: ScriptOptions, to: ProbeTarget, check: ScriptCheck, report: Report) {
    this.#options = options;
    this.#to = to;
    this.#check = check;
    this.#report = report;
  }

  start(): void {
    const [program, ...args] = this.#check.command;
    if (program === undefined) {
      this.#report({ result: 'fail', text: 'the check names no command' });
      return;
    }
    const child = this.#spawn(program, args);
    this.#child = child;
    this.#output = [];
    this.#outputBytes = 0;
    const mine = (): boolean => this.#child === child;
    for (const pipe of [child.stdout, child.stderr]) {
      pipe?.on('data', (piece: Buffer) => mine() && this.#keep(piece));
      pipe?.on('error', () => mine() && pipe.destroy());
    }
    child.on('error', (error) => mine() && child.pid === undefined && this.#finish(startFailure(error)));
    child.on('exit', () => mine() && this.#exited(child));
    child.on('close', () => mine() && this.#finish(this.#verdict(child)));
  }

  abort(): string {
    this.close();
    return 'the script did not end';
  }

  close(): void {
    const child = this.#child;
    this.#forget();
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    try {
      this.#options.kill(-child.pid, 'SIGKILL');
    } catch (error) {
      // ESRCH: it has ended in this very moment.
      if (codeOf(error) !== 'ESRCH') child.kill('SIGKILL');
    }
  }

  #spawn(program: string, args: readonly string[]): ChildProcess {
    const { service, id, host, port } = this.#to;
    return spawn(program, args, {
      shell: false,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: this.#options.path,
        FAIRLEAD_SERVICE: service,
        FAIRLEAD_INSTANCE: id,
        FAIRLEAD_HOST: host,
        FAIRLEAD_PORT: String(port),
      },
    });
  }

  /** Reads on past the bound, so that the script does not block, and forgets the rest. */
  #keep(piece: Buffer): void {
    const room = MAX_OUTPUT_BYTES - this.#outputBytes;
    if (room <= 0) return;
    const kept = piece.subarray(0, room);
    this.#outputBytes += kept.length;
    this.#output.push(kept);
  }

  #exited(child: ChildProcess): void {
    this.#cancelGrace = this.#options.clock.after(
      OUTPUT_GRACE_MS,
      () => this.#child === child && this.#finish(this.#verdict(child)),
    );
  }

  #finish(answer: ProbeAnswer): void {
    this.#forget();
    this.#report(answer);
  }

  /** Lets go of the process and its pipes; whether it still runs is for the caller to know. */
  #forget(): void {
    const pipes: (Readable | null | undefined)[] = [this.#child?.stdout, this.#child?.stderr];
    this.#child = undefined;
    this.#cancelGrace?.();
    this.#cancelGrace = undefined;
    for (const pipe of pipes) pipe?.destroy();
  }

  #verdict({ exitCode, signalCode }: ChildProcess): ProbeAnswer {
    const said = Buffer.concat(this.#output)
      .toString('utf8')
      .replace(/[^\x20-\x7e]+/g, ' ')
      .trim()
      .slice(0, MAX_TEXT_CHARACTERS);
    const how = exitCode === null ? `killed by ${signalCode ?? 'a signal'}` : `exit code ${exitCode}`;
    const result = exitCode === 0 ? 'pass' : exitCode === 1 ? 'degraded' : 'fail';
    return { result, text: said === '' ? how : `${how}: ${said}` };
  }
}

function startFailure(error: Error): ProbeAnswer {
  const code = codeOf(error);
  if (code === 'ENOENT') return { result: 'fail', text: 'the command does not exist' };
  if (code === 'EACCES') return { result: 'fail', text: 'the command is not executable' };
  return failureOf(error);
}
