import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { mkdtemp, rm } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

/** Where `.ci/install-*.sh` put what the system's packages lack. */
const TOOLS = process.env['FAIRLEAD_TEST_TOOLS'] ?? join(homedir(), '.cache', 'fairlead-test');

/** The first of these that runs: names are looked up on PATH, relative paths under the tools folder. */
export function findBinary(candidates: readonly string[], versionArgument: string): string | undefined {
  return candidates
    .map((candidate) => (candidate.includes('/') ? join(TOOLS, candidate) : candidate))
    .find((command) => spawnSync(command, [versionArgument], { stdio: 'ignore', timeout: 10_000 }).status === 0);
}

/** Ports that nobody listens on just now. All are held until the last is found, so that they differ. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => {
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('not a TCP address');
    return address.port;
  });
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return ports;
}

/** Polls until `probe` answers true. Throws with `what` and the last error when `withinMs` is over. */
export async function until(what: string, probe: () => Promise<boolean> | boolean, withinMs = 20_000): Promise<void> {
  const endMs = performance.now() + withinMs;
  let last: unknown;
  while (performance.now() < endMs) {
    try {
      if (await probe()) return;
    } catch (error) {
      last = error;
    }
    await pause(20);
  }
  throw new Error(`${what}: not within ${withinMs} ms`, { cause: last });
}

/** Runs many writes with up to 32 under way at once; those with the same key one after another, in their order. */
export async function inLanes<T>(
  items: readonly T[],
  keyOf: (item: T) => string,
  run: (item: T) => Promise<void>,
): Promise<void> {
  const lanes: T[][] = Array.from({ length: Math.min(32, items.length) }, () => []);
  const laneOf = new Map<string, T[]>();
  items.forEach((item, at) => {
    const lane = laneOf.get(keyOf(item)) ?? lanes[at % lanes.length]!;
    laneOf.set(keyOf(item), lane);
    lane.push(item);
  });
  await Promise.all(
    lanes.map(async (lane) => {
      for (const item of lane) await run(item);
    }),
  );
}

export interface ServerPlan {
  readonly name: string;
  readonly binary: string;
  /** Called before every start: puts into the data folder what the process wants to find there. */
  prepare?(dataDir: string): Promise<void>;
  /** Called at every start, with the data folder of that start. */
  arguments(dataDir: string): readonly string[];
  /** Answers true as soon as the server serves. */
  ready(): Promise<boolean>;
  /** For servers that are slow to start. Default 20000. */
  readonly readyMs?: number;
}

/** A test run that is broken off must not leave servers behind. */
const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** A server process of our own on loopback, with the accidents that happen to servers. */
export class RealServer {
  readonly #plan: ServerPlan;
  #child: ChildProcess | undefined;
  #dataDir: string | undefined;
  #log = '';

  constructor(plan: ServerPlan) {
    this.#plan = plan;
  }

  /** The end of what the process printed. */
  get log(): string {
    return this.#log;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Starts on the data of the last run, if there was one, and waits until it serves. */
  async start(): Promise<void> {
    this.#dataDir ??= await mkdtemp(join(tmpdir(), `fairlead-${this.#plan.name}-`));
    await this.#plan.prepare?.(this.#dataDir);
    const child = spawn(this.#plan.binary, this.#plan.arguments(this.#dataDir), { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    running.add(child);
    child.once('exit', () => running.delete(child));
    const keep = (text: Buffer): void => {
      this.#log = (this.#log + text.toString('utf8')).slice(-20_000);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    child.once('error', (error) => keep(Buffer.from(String(error))));
    try {
      await until(
        `${this.#plan.name} serves`,
        () => {
          if (child.exitCode !== null) throw new Error(`${this.#plan.name} ended: ${this.#log.slice(-2000)}`);
          return this.#plan.ready();
        },
        this.#plan.readyMs,
      );
    } catch (error) {
      await this.kill();
      throw new Error(`${this.#plan.name} did not start: ${this.#log.slice(-2000)}`, { cause: error });
    }
  }

  /** SIGKILL: no goodbye to anyone. The data stay. */
  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }

  /** SIGSTOP: the kernel still accepts and acknowledges, the server says nothing. */
  freeze(): void {
    this.#child?.kill('SIGSTOP');
  }

  thaw(): void {
    this.#child?.kill('SIGCONT');
  }

  /** Killed, and started with nothing of what it knew, at the same address. */
  async restartEmpty(): Promise<void> {
    await this.kill();
    await this.#wipe();
    await this.start();
  }

  /** The end: process and data are gone. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await this.#wipe();
  }

  async #wipe(): Promise<void> {
    if (this.#dataDir !== undefined) await rm(this.#dataDir, { recursive: true, force: true });
    this.#dataDir = undefined;
  }
}
