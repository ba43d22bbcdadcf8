/**
 * Many instances of one service in one process, timers only: `node test/servers/crowd-process.ts OPTIONS-AS-JSON` with an
 * IPC channel. It tells its ports once all listen, obeys orders, and reports what arrived and when.
 */
import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { seededRandom } from '../../src/core/random.ts';
import type { CrowdOptions, Order, Report } from '../e2e/crowd.ts';

const options = JSON.parse(process.argv[2] ?? '{}') as CrowdOptions;
const random = seededRandom(options.seed ?? 1);

/** Log-normal: most near the median, a tail above. */
function serviceTimeMs(medianMs: number, sigma: number): number {
  const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return medianMs * Math.exp(sigma * normal);
}

class CrowdInstance {
  readonly #name: string;
  readonly #connections: { readonly atMs: number; asked: boolean }[] = [];
  readonly #servedAtMs: number[] = [];
  readonly #bySocket = new WeakMap<Socket, { asked: boolean }>();
  #how: Order['how'] = {};

  constructor(at: number) {
    this.#name = `${options.name ?? 'c'}${at}`;
  }

  listen(port: number): Promise<number> {
    const server = createServer((request, response) => {
      this.#servedAtMs.push(now());
      const connection = this.#bySocket.get(request.socket);
      if (connection) connection.asked = true;
      request.resume();
      const { status = 200, delayMs } = this.#how;
      const takesMs = delayMs ?? serviceTimeMs(options.medianMs ?? 5, options.sigma ?? 0);
      const answer = (): void => {
        response.writeHead(status, { 'content-type': 'text/plain', 'x-instance': this.#name }).end(`${this.#name}\n`);
      };
      if (takesMs < 1) answer();
      else setTimeout(answer, takesMs);
    });
    server.on('connection', (socket: Socket) => {
      const connection = { atMs: now(), asked: false };
      this.#connections.push(connection);
      this.#bySocket.set(socket, connection);
    });
    return new Promise((resolve) => {
      server.listen(port, options.host ?? '127.0.0.1', 4096, () => resolve((server.address() as AddressInfo).port));
    });
  }

  behave(how: Order['how']): void {
    this.#how = how;
  }

  report(): Report['instances'][number] {
    const times = (asked: boolean): number[] =>
      this.#connections.filter((connection) => connection.asked === asked).map(({ atMs }) => atMs);
    return { connectedAtMs: times(true), probedAtMs: times(false), servedAtMs: this.#servedAtMs };
  }
}

/** Comparable between processes of this machine. */
function now(): number {
  return performance.timeOrigin + performance.now();
}

const instances = Array.from({ length: options.count }, (_, at) => new CrowdInstance(at));
const ports = await Promise.all(instances.map((instance, at) => instance.listen(options.ports?.[at] ?? 0)));

process.on('message', (order: Order | 'report') => {
  if (order === 'report')
    process.send?.({ instances: instances.map((instance) => instance.report()) } satisfies Report);
  else instances[order.at]?.behave(order.how);
});
process.on('disconnect', () => process.exit(0));
process.send?.({ ports });
