import { readFileSync } from 'node:fs';
import net, { type AddressInfo, type Server, type Socket } from 'node:net';
import type { Check } from '../../../src/core/check.ts';
import { systemClock } from '../../../src/core/clock.ts';
import type { Probe, ProbeAnswer } from '../../../src/health/probe.ts';
import { createProbeFactory, type ProbeFactoryOptions } from '../../../src/health/probes/create.ts';

export const certificate = (name: string): string =>
  readFileSync(new URL(`certificates/${name}`, import.meta.url), 'utf8');

export interface Running {
  readonly probe: Probe;
  /** One run, ended by `abort` after `deadlineMs`, as the prober does it. */
  readonly run: (deadlineMs?: number) => Promise<ProbeAnswer>;
  /** Reports that came although no run was under way. */
  readonly strays: ProbeAnswer[];
}

export function probing(
  check: Check,
  to: { port: number; host?: string },
  options: Partial<ProbeFactoryOptions> = {},
): Running {
  const strays: ProbeAnswer[] = [];
  let settle: ((answer: ProbeAnswer) => void) | undefined;
  const create = createProbeFactory({ clock: systemClock, readFile: certificate, ...options });
  const target = { service: 'web', id: 'web-1', host: to.host ?? '127.0.0.1', port: to.port };
  const probe = create(target, check, (answer) => {
    if (settle === undefined) strays.push(answer);
    settle?.(answer);
  });
  return {
    probe,
    strays,
    run: (deadlineMs = 3000) =>
      new Promise((resolve) => {
        const timer = setTimeout(
          () => settle?.({ result: 'fail', text: `${probe.abort()} within ${deadlineMs}ms` }),
          deadlineMs,
        );
        settle = (answer) => {
          clearTimeout(timer);
          settle = undefined;
          resolve(answer);
        };
        probe.start();
      }),
  };
}

/** Servers of one test; `stop` ends them with every connection. */
export class TestServers {
  readonly #servers: Server[] = [];
  readonly #sockets = new Set<Socket>();

  /** A server that does to each connection what `serve` says; resolves to its port. */
  async listen(serve: (socket: Socket) => void, server: Server = net.createServer()): Promise<number> {
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      // Probes close by RST.
      socket.on('error', () => socket.destroy());
      serve(socket);
    });
    this.#servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return (server.address() as AddressInfo).port;
  }

  get connections(): number {
    return this.#sockets.size;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(this.#servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve))));
  }
}

/** A port on which nobody listens. */
export async function closedPort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Waits for something that another process or the kernel does; fails loudly after ten seconds. */
export async function until(holds: () => boolean): Promise<void> {
  const endMs = performance.now() + 10_000;
  while (!holds()) {
    if (performance.now() > endMs) throw new Error('what was waited for has not come');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
