import { once } from 'node:events';
import { type GatewayProcess, Process } from './world.ts';

export interface CrowdOptions {
  readonly count: number;
  /** Instances name themselves this and their number; `c` where it is missing. */
  readonly name?: string;
  readonly host?: string;
  /** Instead of free ones. */
  readonly ports?: readonly number[];
  /** Of the service time. */
  readonly medianMs?: number;
  /** Of the logarithm of the service time: 0 = all the same; at 0.4 one in a hundred takes 2.5 medians. */
  readonly sigma?: number;
  readonly seed?: number;
}

/** How an instance answers from now on; an empty one as the options of the crowd say. */
export interface Order {
  readonly at: number;
  readonly how: { readonly delayMs?: number; readonly status?: number };
}

/** Times are `performance.timeOrigin + performance.now()`, comparable between processes of one machine. */
export interface Report {
  readonly instances: readonly {
    readonly servedAtMs: readonly number[];
    /** Connections that carried requests. */
    readonly connectedAtMs: readonly number[];
    /** Connections on which no request has come: what a TCP probe makes. */
    readonly probedAtMs: readonly number[];
  }[];
}

export const sharedNowMs = (): number => performance.timeOrigin + performance.now();

/** Many instances of a service in one process, which remember what arrived. */
export class Crowd extends Process {
  ports: readonly number[] = [];
  readonly #host: string;

  private constructor(options: CrowdOptions, through: readonly string[]) {
    super(['test/servers/crowd-process.ts', JSON.stringify(options)], {}, { through, ipc: true });
    this.#host = options.host ?? '127.0.0.1';
  }

  /** `through`: see `Process`. */
  static async start(options: CrowdOptions, through: readonly string[] = []): Promise<Crowd> {
    const crowd = new Crowd(options, through);
    const { ports } = await crowd.#told<{ ports: number[] }>();
    crowd.ports = ports;
    return crowd;
  }

  /** As `web`, with the embedded registry; no TTL, so that only the gateway's own evidence decides. */
  async register(gateway: GatewayProcess, { first = this.ports.length } = {}): Promise<void> {
    for (const port of this.ports.slice(0, first)) {
      await gateway.register({ serviceName: 'web', host: this.#host, port });
    }
  }

  behave(at: number, how: Order['how']): void {
    this.child.send({ at, how } satisfies Order);
  }

  async report(): Promise<Report> {
    const told = this.#told<Report>();
    this.child.send('report');
    return told;
  }

  async #told<T>(): Promise<T> {
    const gone = this.exited.then((code) => {
      throw new Error(`the instances ended with ${code}: ${this.output}`);
    });
    const [message] = (await Promise.race([once(this.child, 'message'), gone])) as [T];
    return message;
  }
}
