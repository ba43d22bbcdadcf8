import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dispatch } from './cli/dispatch.ts';
import type { CliContext, SignalName } from './cli/verb.ts';
import { systemClock } from './core/clock.ts';
import { systemRandom } from './core/random.ts';
import type { Channel, Successor } from './gateway/channel.ts';

/** What a verb has, after a signal that it does not handle, to come to an end. */
const GRACE_MS = 250;

const listeners = new Map<SignalName, Set<() => void>>();
const interruption = new AbortController();

function onSignal(name: SignalName, listener: () => void): () => void {
  const known = listeners.get(name) ?? new Set();
  if (!listeners.has(name)) {
    listeners.set(name, known);
    process.on(name, () => {
      if (known.size > 0) for (const each of [...known]) each();
      else if (name === 'SIGINT' || name === 'SIGTERM') interrupt(name);
    });
  }
  known.add(listener);
  return () => {
    known.delete(listener);
  };
}

function interrupt(name: 'SIGINT' | 'SIGTERM'): void {
  process.exitCode = name === 'SIGINT' ? 130 : 143;
  // The second time, or when the verb goes on all the same.
  if (interruption.signal.aborted) process.exit();
  setTimeout(() => process.exit(), GRACE_MS).unref();
  interruption.abort();
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it is there, and somebody else's.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function kill(pid: number, signal: 'SIGKILL'): void {
  process.kill(pid, signal);
}

/** Tells a successor that its channel leads to a predecessor, and not to some program that likes to talk. */
const HANDOVER = 'FAIRLEAD_HANDOVER';

function predecessor(): Channel | undefined {
  if (process.env[HANDOVER] === undefined || !process.connected) return undefined;
  // Node keeps messages until somebody listens, but forgets them when the other end is gone.
  const unheard: unknown[] = [];
  let hear = (message: unknown): void => {
    unheard.push(message);
  };
  process.on('message', (message) => {
    hear(message);
  });
  return {
    send: (message) => {
      if (process.connected) process.send?.(message);
    },
    onMessage: (listener) => {
      hear = listener;
      for (const message of unheard.splice(0)) listener(message);
    },
    onClosed: (listener) => {
      if (process.connected) process.once('disconnect', listener);
      else listener();
    },
    close: () => {
      process.removeAllListeners('disconnect');
      if (process.connected) process.disconnect();
    },
  };
}

/** The same command line, of whatever is on disk now. The new process outlives this one. */
function spawnSuccessor(fds: readonly number[]): Successor {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith('LISTEN_'));
  const env: NodeJS.ProcessEnv = { ...Object.fromEntries(own), [HANDOVER]: '1' };
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    env,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc', ...fds],
  });
  let unsent = 0;
  let closing = false;
  const hangUpWhenSent = (): void => {
    if (closing && unsent === 0 && child.connected) child.disconnect();
  };
  const exited = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code ?? '?'}`));
  });
  return {
    pid: child.pid ?? 0,
    exited,
    send: (message) => {
      // One that is gone is heard of through `exited`.
      if (!child.connected) return;
      unsent++;
      child.send(message, () => {
        unsent--;
        hangUpWhenSent();
      });
    },
    onMessage: (listener) => {
      child.removeAllListeners('message');
      child.on('message', listener);
    },
    onClosed: (listener) => {
      child.once('disconnect', listener);
    },
    close: () => {
      closing = true;
      hangUpWhenSent();
      child.unref();
    },
    kill: () => {
      child.kill('SIGKILL');
    },
    hangUp: () => {
      child.kill('SIGHUP');
    },
  };
}

function readVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  const version: unknown =
    typeof manifest === 'object' && manifest !== null && 'version' in manifest ? manifest.version : undefined;
  return typeof version === 'string' ? version : 'unknown';
}

const ctx: CliContext = {
  env: process.env,
  stdout: process.stdout,
  stderr: process.stderr,
  cwd: process.cwd(),
  version: readVersion(),
  process: {
    pid: process.pid,
    nodeVersion: process.version,
    isAlive,
    kill,
    predecessor: predecessor(),
    spawnSuccessor,
  },
  fetch: globalThis.fetch,
  clock: systemClock,
  random: systemRandom,
  signal: interruption.signal,
  onSignal,
};

// From the start, and whatever the verb: a USR1 that nobody listens to makes Node open its debugger.
for (const name of ['SIGINT', 'SIGTERM', 'SIGUSR1'] as const) onSignal(name, () => undefined)();

for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    // `fairlead help | head -1`: whoever read has enough.
    if (error.code !== 'EPIPE') throw error;
  });
}

// Timers of the clock do not keep the process alive, and a verb may wait for nothing else.
const alive = setInterval(() => undefined, 2_147_483_647);
const code = await dispatch(ctx, process.argv.slice(2));
clearInterval(alive);
// An empty write ends when all before it have: nothing is cut off where streams are pipes.
for (const stream of [process.stdout, process.stderr]) await new Promise((resolve) => stream.write('', resolve));
process.exit(interruption.signal.aborted ? process.exitCode : code);
