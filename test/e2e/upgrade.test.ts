import { readFile, writeFile } from 'node:fs/promises';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { isAlive, Line, successorOf } from './line.ts';
import { EchoInstance, OpenSockets, SteadyTraffic } from './steady.ts';
import { eventually, GatewayProcess, pause, Process, request } from './world.ts';

vi.setConfig({ testTimeout: 240_000 });

const UPGRADES = Number(process.env['FAIRLEAD_UPGRADES'] ?? 5);

const ENDED = 'no upgrade: the new process ended before it served (exit code 1); it says why in its log';

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

async function withInstance(extra?: string): Promise<{ line: Line; instance: EchoInstance; id: string }> {
  const [line, instance] = await Promise.all([Line.start(stops, extra), EchoInstance.start()]);
  stops.push(() => instance.stop());
  return { line, instance, id: await line.register(instance.port) };
}

describe(`${UPGRADES} upgrades`, () => {
  it('under 300 requests a second on new and kept connections, with 50 WebSockets open, fail nothing', async () => {
    const { line, id } = await withInstance();
    const { port } = line.gateway;
    const traffic = new SteadyTraffic(port, 300);
    const sockets = await OpenSockets.open(port, 50);
    stops.push(() => sockets.close());
    let pid = await line.pid();
    const first = pid;
    for (let round = 0; round < UPGRADES; round++) {
      const { status, pid: next } = await line.upgrade();
      expect(status).toBe(200);
      expect(next).not.toBe(pid);
      expect(await line.pid()).toBe(next);
      pid = next as number;
      expect((await line.gateway.api('PUT', `/heartbeat/${id}`)).status).toBe(200);
      await sockets.check();
    }
    await pause(300);
    await traffic.stop();
    expect(traffic.failures).toEqual([]);
    expect(sockets.failures).toEqual([]);
    expect(traffic.sent).toBeGreaterThan(300);
    console.log(`${traffic.sent} requests, slowest ${Math.round(traffic.slowestMs)} ms, ${sockets.echoes} echoes`);
    // The first one still has the WebSockets; those in between have nothing left to do.
    await eventually('those in between have ended', () => line.alive().length === 2);
    expect(line.alive()).toEqual([first, pid]);
    sockets.close();
    expect(await line.gateway.process.exited).toBe(0);
  });
});

describe('a successor', () => {
  it('keeps drains, registrations and addresses, and can be stopped and upgraded like the first', async () => {
    const { line, instance, id } = await withInstance();
    const { gateway } = line;
    const other = await EchoInstance.start();
    stops.push(() => other.stop());
    const drained = await gateway.register({ serviceName: 'web', host: '127.0.0.1', port: other.port });
    await gateway.serving('web', 2);
    expect((await gateway.cli('drain', `web/${drained}`)).code).toBe(0);
    const { code, output } = await gateway.cli('upgrade');
    expect(output).toMatch(/process \d+ serves; the one before it drains and ends/);
    expect(code).toBe(0);
    const pid = await line.pid();
    expect(await gateway.process.exited).toBe(0);
    const { instances } = await gateway.explain('web');
    expect(instances.map((each) => [each.id, each.state]).sort()).toEqual(
      [
        [id, 'available'],
        [drained, 'drained'],
      ].sort(),
    );
    expect(instance.port).toBeGreaterThan(0);
    expect((await request(gateway, { fresh: true })).status).toBe(200);
    process.kill(pid, 'SIGTERM');
    await eventually('it has ended', () => !isAlive(pid));
    await expect(readFile(line.pidFile)).rejects.toThrow('ENOENT');
    expect(gateway.process.output).not.toMatch(/defect|unhandled/i);
  });

  it('that cannot start leaves the first in charge, with all it had', async () => {
    const { line, id } = await withInstance();
    const { gateway } = line;
    const traffic = new SteadyTraffic(gateway.port, 100);
    const text = await readFile(gateway.configFile, 'utf8');
    await writeFile(gateway.configFile, `${text}\nnonsense: true\n`);
    expect(await line.upgrade()).toMatchObject({ status: 409, detail: ENDED });
    // Mistaken only once it has the registries: a socket that it does not inherit is in use.
    const taken = await EchoInstance.start();
    stops.push(() => taken.stop());
    const own = `'127.0.0.1:${gateway.port}'`;
    await writeFile(gateway.configFile, text.replace(own, `${own}, '127.0.0.1:${taken.port}'`));
    expect(await line.upgrade()).toMatchObject({ status: 409, detail: ENDED });
    expect((await gateway.api('PUT', `/heartbeat/${id}`)).status).toBe(200);
    await writeFile(gateway.configFile, text);
    expect((await fetch(`${gateway.admin}/api/reload`, { method: 'POST' })).status).toBe(200);
    expect(isAlive(gateway.process.pid)).toBe(true);
    expect((await line.upgrade()).status).toBe(200);
    await traffic.stop();
    expect(traffic.failures).toEqual([]);
  });

  it('that is killed while it starts, or whose predecessor is told to stop, leaves nothing behind', async () => {
    const { line, id } = await withInstance();
    const { gateway } = line;
    const outcome = line.upgrade();
    const successor = await eventually(
      'a successor starts',
      () =>
        Number(/a successor is starting/.test(gateway.process.output) && successorOf(gateway.process.output)) ||
        undefined,
    );
    process.kill(successor, 'SIGKILL');
    const { status, detail } = await outcome;
    expect(status).toBe(409);
    expect(detail).toContain('SIGKILL');
    expect((await gateway.api('PUT', `/heartbeat/${id}`)).status).toBe(200);
    const again = line.upgrade().catch(() => undefined);
    const second = await eventually('another one starts', () => {
      const pid = successorOf(gateway.process.output);
      return pid !== successor && pid;
    });
    gateway.process.signal('SIGTERM');
    expect(await gateway.process.exited).toBe(0);
    await again;
    expect(isAlive(second)).toBe(false);
  });
});

describe('sockets of systemd', () => {
  it('are taken as LISTEN_FDS says, by name and in order', async () => {
    const gateway = await GatewayProcess.prepare();
    await gateway.configure({});
    stops.push(() => gateway.stop());
    const addresses = [gateway.port, gateway.adminPort, gateway.registryPort].join(' ');
    gateway.process = new Process(['test/servers/activate.ts', addresses, gateway.configFile]);
    await eventually('it is ready', async () => (await fetch(`${gateway.admin}/readyz`)).ok);
    const instance = await EchoInstance.start();
    stops.push(() => instance.stop());
    await gateway.register({ serviceName: 'web', host: '127.0.0.1', port: instance.port });
    await gateway.serving('web', 1);
    expect((await request(gateway, { fresh: true })).status).toBe(200);
    gateway.process.signal('SIGTERM');
    expect(await gateway.process.exited).toBe(0);
  });
});
