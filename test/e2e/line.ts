import { readFile } from 'node:fs/promises';
import { eventually, GatewayProcess } from './world.ts';

/** A gateway that is followed from process to process by its pid file. */
export class Line {
  readonly gateway: GatewayProcess;
  readonly #seen = new Set<number>();

  private constructor(gateway: GatewayProcess) {
    this.gateway = gateway;
  }

  /** `stops`: what is called after the test. */
  static async start(stops: (() => unknown)[], extra = 'shutdown: { acceptFor: 0s, drain: 4m }'): Promise<Line> {
    const gateway = await GatewayProcess.prepare();
    await gateway.configure({ extra });
    const line = new Line(gateway);
    stops.push(() => line.#stop());
    await gateway.launch(true, ['--pid-file', line.pidFile]);
    await eventually('it has written its pid', () => line.pid());
    return line;
  }

  get pidFile(): string {
    return `${this.gateway.directory}/pid`;
  }

  async pid(): Promise<number> {
    const pid = Number(await readFile(this.pidFile, 'utf8'));
    this.#seen.add(pid);
    return pid;
  }

  /** Those of our processes that are still there. */
  alive(): number[] {
    return [...this.#seen].filter((pid) => isAlive(pid));
  }

  async upgrade(): Promise<{ status: number; pid?: number; detail?: string }> {
    const response = await fetch(`${this.gateway.admin}/api/upgrade`, { method: 'POST' });
    const body = (await response.json()) as { pid?: number; detail?: string };
    await this.pid();
    return { status: response.status, ...body };
  }

  async register(port: number, service = 'web'): Promise<string> {
    const id = await this.gateway.register({ serviceName: service, host: '127.0.0.1', port });
    await this.gateway.serving(service, 1);
    return id;
  }

  async #stop(): Promise<void> {
    await this.pid().catch(() => 0);
    for (const pid of this.alive()) process.kill(pid, 'SIGKILL');
    await this.gateway.stop();
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    // Of no process.
    return false;
  }
}

/** The pid in the last line about one. */
export function successorOf(output: string): number {
  const lines = output.split('\n').filter((each) => each.includes('a successor is starting'));
  return Number(/"pid":(\d+)/.exec(lines.at(-1) ?? '')?.[1]);
}
