import { join } from 'node:path';
import { isOnPath, findCommand } from '../lab/commands.ts';
import { untilReady, type Child, type Children, type Launch } from '../lab/children.ts';
import type { ClosedLoopOptions, ClosedLoopResult } from './closed-loop.ts';
import type { IdleOptions } from './idle-connections.ts';
import type { OpenLoopOptions, OpenLoopResult } from './open-loop.ts';
import type { RegistryChurnOptions } from './registry-churn.ts';
import type { LoadRequest } from './request.ts';

/** Beyond its own duration a generator has this long to connect, to linger and to end. */
const SLACK_MS = 15_000;

/** The generators of this folder, each a process of its own, pinned and ended with the rest of the run. */
export class Generators {
  readonly #children: Children;

  constructor(children: Children) {
    this.#children = children;
  }

  /** wrk where it is installed, else the project's own: for figures that do not depend on when replies arrive. */
  async closedLoop(options: ClosedLoopOptions): Promise<ClosedLoopResult> {
    const wrk = findCommand('wrk');
    if (wrk === undefined)
      return (await this.#run(nodeLaunch('closed-loop', options), options.durationMs)) as ClosedLoopResult;
    const seconds = Math.max(1, Math.round(options.durationMs / 1000));
    const args = ['-t1', `-c${options.connections}`, `-d${seconds}s`, ...wrkHeaders(options.request)];
    args.push(
      '-s',
      join(import.meta.dirname, 'wrk.lua'),
      `http://127.0.0.1:${options.request.port}${options.request.path}`,
    );
    args.push('--', options.request.method, String(options.request.bodyBytes));
    const text = await this.#children.run({ name: 'wrk', command: wrk, args, role: 'load' }, seconds * 1000 + SLACK_MS);
    const json = /^RESULT (.*)$/m.exec(text)?.[1];
    if (json === undefined) throw new Error(`wrk printed no result:\n${text}`);
    return JSON.parse(json) as ClosedLoopResult;
  }

  async openLoop(options: OpenLoopOptions): Promise<OpenLoopResult> {
    const { pace = 'spin', warmUpMs, durationMs } = options;
    const launch = { ...nodeLaunch('open-loop', options), spins: pace === 'spin', prompt: pace === 'sleep' };
    return (await this.#run(launch, warmUpMs + durationMs)) as OpenLoopResult;
  }

  /** Resolves when all connections are open and idle; `close` tells how many of them were still open then. */
  async hold(options: IdleOptions, timeoutMs: number): Promise<IdleConnections> {
    const child = this.#startNode('idle-connections', options);
    await untilReady(child, () => Promise.resolve(child.output().includes('"open"')), timeoutMs);
    return {
      close: async () => {
        await child.stop();
        const count = /"stillOpen":(\d+)/.exec(child.output())?.[1];
        if (count === undefined) throw new Error(`idle-connections failed:\n${child.output()}`);
        return Number(count);
      },
    };
  }

  /** Resolves when the first instances are registered and the changes have begun; `close` takes all of them away. */
  async churn(options: RegistryChurnOptions, timeoutMs: number): Promise<RegistryChurn> {
    const child = this.#startNode('registry-churn', options);
    await untilReady(child, () => Promise.resolve(child.output().includes('"steady"')), timeoutMs);
    return {
      close: async () => {
        await child.stop();
        const text = /^\{"calls":.*$/m.exec(child.output())?.[0];
        if (text === undefined) throw new Error(`registry-churn failed:\n${child.output()}`);
        return JSON.parse(text) as ChurnResult;
      },
    };
  }

  async #run(launch: Launch, durationMs: number): Promise<unknown> {
    return JSON.parse(await this.#children.run(launch, durationMs + SLACK_MS));
  }

  #startNode(program: string, options: object): Child {
    return this.#children.start(nodeLaunch(program, options));
  }
}

export interface ChurnResult {
  /** Answered between the first instances and the end. */
  readonly calls: number;
  /** Answered with another status than was expected. */
  readonly failed: number;
  /** Due, and never made: the registry did not keep up. */
  readonly late: number;
}

export interface RegistryChurn {
  close(): Promise<ChurnResult>;
}

export interface IdleConnections {
  close(): Promise<number>;
}

export function closedLoopGenerator(): string {
  return isOnPath('wrk') ? 'wrk' : 'bench/load/closed-loop.ts';
}

function wrkHeaders(request: LoadRequest): string[] {
  const headers = ['-H', `Host: ${request.host}`];
  if (request.close) headers.push('-H', 'Connection: close');
  return headers;
}

function nodeLaunch(program: string, options: object): Launch {
  const file = join(import.meta.dirname, `${program}.ts`);
  // A large young generation: a collection of the generator's own would look like latency of the proxy.
  const args = ['--max-semi-space-size=64', file, JSON.stringify(options)];
  return { name: program, command: process.execPath, args, role: 'load' };
}
