import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BENCH_HOST, type Peer } from '../peers/peer.ts';
import { Generators } from '../load/generators.ts';
import { Children, untilReady, type Child, type Launch } from './children.ts';
import { planCores, type CorePlan } from './cores.ts';
import { getOnce } from './get-once.ts';
import { payloadBytes, startOrigin, type Origin } from './origin.ts';
import { freePorts } from './ports.ts';
import { processTree } from './proc.ts';

const READY_TIMEOUT_MS = 20_000;

/** A peer that answers. */
export interface RunningPeer {
  readonly name: string;
  readonly port: number;
  /** Where its admin API is, if it has one. */
  readonly adminPort: number;
  /** What its cost is read from; empty for direct. A change during a measurement would falsify it. */
  processes(): readonly number[];
  /** The last of what it printed. */
  output(): string;
  stop(): Promise<void>;
}

/** Everything a run starts, on loopback: the origin, the peers, the generators, and their folder. */
export class Lab {
  readonly cores: CorePlan;
  readonly generators: Generators;
  readonly #children: Children;
  readonly #dir: string;
  readonly #threads: number;
  #origin: Origin | undefined;
  #peersStarted = 0;

  /** `raised` (root only): before all other work of the machine. */
  constructor({ raised, threads = 1 }: { readonly raised: boolean; readonly threads?: number | undefined }) {
    this.#threads = threads;
    this.cores = planCores(raised, threads);
    this.#children = new Children(this.cores);
    this.generators = new Generators(this.#children);
    this.#dir = mkdtempSync(join(tmpdir(), 'fairlead-bench-'));
    // Started by root, nginx's workers are another user.
    chmodSync(this.#dir, 0o755);
  }

  async startPeer(peer: Peer, maxConnections: number): Promise<RunningPeer> {
    this.#origin ??= await startOrigin(this.#children, join(this.#dir, 'origin'));
    const originPorts = this.#origin.ports;
    const [port = 0, secondPort = 0, registryPort = 0] = await freePorts(3);
    this.#peersStarted += 1;
    const dir = join(this.#dir, `${peer.name}-${this.#peersStarted}`);
    mkdirSync(dir);
    const launch = peer.launch({
      port,
      secondPort,
      registryPort,
      originPorts,
      dir,
      maxConnections,
      threads: this.#threads,
    });
    if (!launch) {
      return {
        name: peer.name,
        port: originPorts[0] ?? 0,
        adminPort: secondPort,
        processes: () => [],
        output: () => '',
        stop: () => Promise.resolve(),
      };
    }
    const child = this.#children.start({ ...launch, name: peer.name, role: 'proxy' });
    const answers = async (): Promise<boolean> => (await getOnce(port, '/1k')).status === 200;
    await untilReady(child, answers, READY_TIMEOUT_MS);
    await proveForwarding(child, port);
    return {
      name: peer.name,
      port,
      adminPort: secondPort,
      processes: () => processTree(child.pid),
      output: () => child.output(),
      stop: () => child.stop(),
    };
  }

  /** A process that belongs to one scenario; ended with the rest. */
  start(launch: Launch): Child {
    return this.#children.start(launch);
  }

  /** Ends every process and removes the folder. May be called at any time. */
  async close(): Promise<void> {
    await this.#children.stopAll();
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

/** A peer that answered by itself, cut a body short or left the client's address out would be fast for nothing. */
async function proveForwarding(child: Child, port: number): Promise<void> {
  for (const path of ['/1k', '/64k', '/1m']) {
    const { status, body } = await getOnce(port, path);
    if (status !== 200 || body.length !== payloadBytes[path]) {
      throw new Error(
        `${child.name} answers ${path} with status ${status} and ${body.length} bytes\n${child.output()}`,
      );
    }
  }
  const { body } = await getOnce(port, '/echo');
  const [forwardedFor, host] = body.split(' ');
  if (forwardedFor !== '127.0.0.1' || host?.startsWith(BENCH_HOST) !== true) {
    throw new Error(`${child.name} sends the origin X-Forwarded-For and Host as: ${body}`);
  }
}
