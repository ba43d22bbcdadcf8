import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { setTimeout as pause } from 'node:timers/promises';
import { writeFileSync } from 'node:fs';
import { isOnPath } from './commands.ts';
import type { CorePlan, Role } from './cores.ts';

/** After TERM a child has this long before it is killed. */
const STOP_GRACE_MS = 2000;
const POLL_MS = 50;
const OUTPUT_LIMIT_BYTES = 64 * 1024;

export interface Launch {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly role: Role;
  readonly env?: Readonly<Record<string, string>>;
  /** It spins, so on a shared core it must not keep the origin waiting. */
  readonly spins?: boolean;
  /**
   * It sleeps until it has something to do, and what it is late by then would look like latency of the proxy: it runs at
   * once (SCHED_FIFO) where that may be had, as by root.
   */
  readonly prompt?: boolean;
}

/** A process of the run. `stop` may be called at any time and more than once. */
export interface Child {
  readonly name: string;
  readonly pid: number;
  /** Resolves, never rejects, with the exit status (null after a signal) when it and all its output have ended. */
  readonly closed: Promise<number | null>;
  isRunning(): boolean;
  /** The last of what it printed, both streams. */
  output(): string;
  stop(): Promise<void>;
}

/** Every process of a run. Each leads a group, is ended by its pid, and does not outlive the run. */
export class Children {
  readonly #running = new Set<OwnedChild>();
  readonly #cores: CorePlan;
  #closed = false;

  constructor(cores: CorePlan) {
    this.#cores = cores;
    process.once('exit', () => this.#killAll());
  }

  start(launch: Launch): Child {
    return this.#spawn(launch);
  }

  /** Runs to the end and returns stdout; rejects on another status than 0 and after `timeoutMs`. */
  async run(launch: Launch, timeoutMs: number): Promise<string> {
    const child = this.#spawn(launch);
    const timeout = new AbortController();
    const late = pause(timeoutMs, 'late' as const, { signal: timeout.signal }).catch(() => 'ended' as const);
    const status = await Promise.race([child.closed, late]);
    timeout.abort();
    await child.stop();
    if (status === 'late') {
      throw new Error(`${launch.name} did not end within ${timeoutMs} ms\n${child.output()}`);
    }
    if (status !== 0) throw new Error(`${launch.name} ended with status ${String(status)}\n${child.output()}`);
    return child.stdout();
  }

  /** Ends all; nothing can be started afterwards. */
  async stopAll(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#running].map((child) => child.stop()));
  }

  #spawn(launch: Launch): OwnedChild {
    if (this.#closed) throw new Error(`${launch.name} is not started: the run is being stopped`);
    const [command, ...args] = this.#commandLine(launch);
    // A group of its own: what a killed master leaves behind is ended with it.
    const child = spawn(command, args, {
      env: { ...process.env, ...launch.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    if (child.pid !== undefined) setGroupNiceness(child.pid, niceness(launch, this.#cores));
    const owned = new OwnedChild(launch.name, child);
    this.#running.add(owned);
    void owned.closed.then(() => this.#running.delete(owned));
    return owned;
  }

  #commandLine(launch: Launch): [string, ...string[]] {
    const core = this.#cores[launch.role];
    const nice = niceness(launch, this.#cores);
    const prefix = nice === 0 ? [] : ['nice', '-n', String(nice)];
    if (launch.prompt === true && mayBePrompt()) prefix.push('chrt', '-f', '1');
    if (core !== undefined) prefix.push('taskset', '-c', String(core));
    const [first, ...rest] = [...prefix, launch.command, ...launch.args];
    return [first ?? launch.command, ...rest];
  }

  /** The last resort when the run itself ends without having stopped them. */
  #killAll(): void {
    for (const child of this.#running) child.kill();
  }
}

const isRoot = (): boolean => process.getuid?.() === 0;

let promptAllowed: boolean | undefined;
/** Tried, since root in a container often may not. */
function mayBePrompt(): boolean {
  promptAllowed ??= isOnPath('chrt') && spawnSync('chrt', ['-f', '1', 'true']).status === 0;
  return promptAllowed;
}

/**
 * On a core shared with load that spins, the origin must still run at once. Raising a priority is for root alone. With
 * `raised`, everything of the run goes before all other work of the machine.
 */
function niceness({ role, spins }: Launch, { shared, raised }: CorePlan): number {
  const base = raised ? -15 : 0;
  if (!shared) return base;
  if (isRoot()) return role === 'origin' ? base - 5 : base;
  return spins === true ? 19 : 0;
}

/** Every group is a session here, and among sessions the kernel goes by this and not by `nice` (sched(7), autogroup). */
function setGroupNiceness(pid: number, nice: number): void {
  if (nice === 0) return;
  try {
    writeFileSync(`/proc/${pid}/autogroup`, String(nice));
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    // No such feature, no such process any more, or not now, not you: the figures then show more of the scheduler.
    if (!['ENOENT', 'ESRCH', 'EAGAIN', 'EPERM', 'EACCES'].includes(code)) throw error;
  }
}

class OwnedChild implements Child {
  readonly name: string;
  readonly pid: number;
  readonly closed: Promise<number | null>;
  readonly #process: ChildProcess;
  /** Its id may belong to another process from then on. */
  #isClosed = false;
  #stdout = '';
  #stderr = '';

  constructor(name: string, child: ChildProcess) {
    this.name = name;
    this.#process = child;
    this.pid = child.pid ?? -1;
    child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.#stdout = lastOf(this.#stdout + text)));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.#stderr = lastOf(this.#stderr + text)));
    this.closed = new Promise((resolve) => {
      child.once('error', (error) => {
        this.#stderr = lastOf(`${this.#stderr}${error.message}\n`);
        if (child.pid === undefined) resolve(-1);
      });
      child.once('close', (status) => {
        this.#isClosed = true;
        resolve(status);
      });
    });
  }

  stdout(): string {
    return this.#stdout;
  }

  output(): string {
    return `${this.#stdout}${this.#stderr}`.trimEnd();
  }

  async stop(): Promise<void> {
    if (this.isRunning()) {
      this.#process.kill('SIGTERM');
      const timer = setTimeout(() => this.kill(), STOP_GRACE_MS);
      await new Promise((resolve) => this.#process.once('exit', resolve));
      clearTimeout(timer);
    }
    this.kill();
    await this.closed;
  }

  /** At once, with what it started itself. */
  kill(): void {
    if (this.pid === -1 || this.#isClosed) return;
    try {
      process.kill(-this.pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }

  isRunning(): boolean {
    return this.pid !== -1 && this.#process.exitCode === null && this.#process.signalCode === null;
  }
}

function lastOf(text: string): string {
  return text.length > OUTPUT_LIMIT_BYTES ? text.slice(-OUTPUT_LIMIT_BYTES) : text;
}

/** Polls until `ready` holds; rejects when the child ends first or `timeoutMs` have passed. */
export async function untilReady(child: Child, ready: () => Promise<boolean>, timeoutMs: number): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    if (await ready()) return;
    if (!child.isRunning()) throw new Error(`${child.name} ended before it was ready\n${child.output()}`);
    if (performance.now() > deadline)
      throw new Error(`${child.name} was not ready in ${timeoutMs} ms\n${child.output()}`);
    await pause(POLL_MS);
  }
}
