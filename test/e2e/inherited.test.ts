import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readlinkSync, fstatSync } from 'node:fs';
import { afterEach, expect, it, vi } from 'vitest';
import { SocketKeeper } from '../../src/http1/kept-socket.ts';
import { EchoInstance } from './steady.ts';
import { eventually, GatewayProcess, pause, request } from './world.ts';

vi.setConfig({ testTimeout: 120_000 });

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

/** Holds the socket of clients, as systemd does, and starts gateways with it. */
class Launcher {
  readonly gateway: GatewayProcess;
  readonly fd: number;

  private constructor(gateway: GatewayProcess, fd: number) {
    this.gateway = gateway;
    this.fd = fd;
  }

  static async prepare(extra: string): Promise<Launcher> {
    const keeper = await SocketKeeper.open();
    if (!keeper) throw new Error('needs Linux');
    const gateway = await GatewayProcess.prepare();
    const kept = await keeper.bind('127.0.0.1', gateway.port, false);
    stops.push(() => kept.close());
    const instance = await EchoInstance.start();
    stops.push(() => instance.stop());
    const web = `{ web: ['127.0.0.1:${instance.port}'] }`;
    await gateway.configure({ extra, registries: `[{ name: s, type: static, services: ${web} }]` });
    return new Launcher(gateway, kept.fd);
  }

  /** A shell says its own id, and then becomes the gateway. The result ends it gracefully. */
  async start(): Promise<{ pid: number; stop: () => Promise<void> }> {
    const script = 'LISTEN_PID=$$ exec "$0" "$@"';
    const args = ['-c', script, process.execPath, 'bin/fairlead.js', 'run', '-c', this.gateway.configFile];
    const child = spawn('/bin/sh', args, {
      env: { ...process.env, LISTEN_FDS: '1' },
      stdio: ['ignore', 'ignore', 'ignore', this.fd],
    });
    stops.push(() => child.kill('SIGKILL'));
    await eventually('it is ready', async () => (await fetch(`${this.gateway.admin}/readyz`)).ok, 30_000);
    return {
      pid: child.pid as number,
      stop: async () => {
        const exited = once(child, 'exit');
        child.kill('SIGTERM');
        expect(await exited).toEqual([0, null]);
      },
    };
  }
}

it('a restart under a launcher that holds the socket resets no client, whichever thread had it', async () => {
  const launcher = await Launcher.prepare('workers: 3\nshutdown: { acceptFor: 0s, drain: 5s }');
  const { gateway } = launcher;
  let running = await launcher.start();
  let stopping = false;
  let answered = 0;
  const failures: string[] = [];
  const client = async (): Promise<void> => {
    while (!stopping) {
      await request(gateway, { fresh: true }).then(
        ({ status }) => (status === 200 ? answered++ : failures.push(String(status))),
        (error: unknown) => failures.push(String(error)),
      );
    }
  };
  const clients = Array.from({ length: 20 }, client);
  for (let round = 0; round < 2; round++) {
    await pause(300);
    await running.stop();
    running = await launcher.start();
  }
  stopping = true;
  await Promise.all(clients);
  expect(failures).toEqual([]);
  expect(answered).toBeGreaterThan(100);
  const listening = `socket:[${fstatSync(launcher.fd).ino}]`;
  const folder = `/proc/${running.pid}/fd`;
  const held = readdirSync(folder).filter((fd) => readlinkSync(`${folder}/${fd}`) === listening);
  // One that is kept and one that is listened on, for each thread.
  expect(held).toHaveLength(6);
  await running.stop();
});
