import { readFile, writeFile } from 'node:fs/promises';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { isAlive, Line, successorOf } from './line.ts';
import { BlockingQuery, Registrants } from './registrants.ts';
import { EchoInstance, OpenSockets, SteadyTraffic } from './steady.ts';
import { type Answer, eventually, freePort, pause, request } from './world.ts';

vi.setConfig({ testTimeout: 120_000 });

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

async function start(extra?: string): Promise<{ line: Line; id: string }> {
  const [line, instance] = await Promise.all([Line.start(stops, extra), EchoInstance.start()]);
  stops.push(() => instance.stop());
  return { line, id: await line.register(instance.port) };
}

/** The pid of a successor that has begun just now. */
async function begun(line: Line, before?: number): Promise<number> {
  return eventually('a successor starts', () => {
    const pid = successorOf(line.gateway.process.output);
    return pid > 0 && pid !== before && pid;
  });
}

const containing = (text: string): unknown => expect.stringContaining(text);

const edit = async (line: Line, change: (text: string) => string): Promise<void> => {
  const { configFile } = line.gateway;
  await writeFile(configFile, change(await readFile(configFile, 'utf8')));
};

describe('while a gateway is replaced', () => {
  it('every registration is answered, on new and kept connections, and none is lost', async () => {
    const { line } = await start();
    const registrants = new Registrants(line.gateway, 50);
    const query = new BlockingQuery(line.gateway, 'service-1');
    for (let round = 0; round < 3; round++) {
      await pause(400);
      expect((await line.upgrade()).status).toBe(200);
    }
    await pause(400);
    expect(await registrants.stop()).toEqual([]);
    await query.stop();
    expect(registrants.failures).toEqual([]);
    expect(registrants.count).toBeGreaterThan(100);
    expect(query.failures).toEqual([]);
    expect(query.indexes).toEqual([...query.indexes].sort((one, other) => one - other));
  });

  it('what operators drain and take back at the old process is so at the new one', async () => {
    const { line, id } = await start();
    const { gateway } = line;
    const other = await gateway.register({ serviceName: 'web', host: '127.0.0.1', port: await freePort() });
    const order = (what: 'drain' | 'undrain', which: string): Promise<Response> =>
      fetch(`${gateway.admin}/api/services/web/instances/${which}/${what}`, { method: 'POST' });
    expect((await order('drain', other)).ok).toBe(true);
    const upgrade = line.upgrade();
    const successor = await begun(line);
    process.kill(successor, 'SIGSTOP');
    expect((await order('drain', id)).ok).toBe(true);
    expect((await order('undrain', other)).ok).toBe(true);
    process.kill(successor, 'SIGCONT');
    expect((await upgrade).status).toBe(200);
    await eventually('the new one knows', async () => {
      const { instances } = await gateway.explain('web');
      const drained = instances.filter(({ state }) => state === 'drained');
      return instances.length === 2 && drained.length === 1 && drained[0]?.id === id;
    });
  });

  it('a second upgrade is refused, and does not let reloads begin', async () => {
    const { line } = await start();
    const first = line.upgrade();
    process.kill(await begun(line), 'SIGSTOP');
    expect(await line.upgrade()).toMatchObject({ status: 409, detail: containing('under way already') });
    const reload = await fetch(`${line.gateway.admin}/api/reload`, { method: 'POST' });
    expect(reload.status).toBe(422);
    expect(await reload.text()).toContain('an upgrade is under way');
    process.kill(successorOf(line.gateway.process.output), 'SIGCONT');
    expect((await first).status).toBe(200);
  });
});

describe('a gateway that is killed while it is replaced', () => {
  it('has said enough for its successor to serve', async () => {
    const { line, id } = await start();
    const { gateway } = line;
    const upgrade = line.upgrade().catch(() => undefined);
    const successor = await begun(line);
    process.kill(successor, 'SIGSTOP');
    await gateway.process.kill();
    await upgrade;
    process.kill(successor, 'SIGCONT');
    await eventually('its successor serves', async () => (await line.pid()) === successor, 30_000);
    expect((await request(gateway, { fresh: true })).status).toBe(200);
    expect((await gateway.api('PUT', `/heartbeat/${id}`)).status).toBe(200);
  });
});

describe('a hang-up', () => {
  it('while a gateway is replaced, and at the one that was, is heard by the one that serves', async () => {
    const { line } = await start();
    const { gateway } = line;
    const sockets = await OpenSockets.open(gateway.port, 1);
    stops.push(() => sockets.close());
    const upgrade = line.upgrade();
    const successor = await begun(line);
    // It has read the file by the time that it asks for the registries.
    process.kill(gateway.process.pid, 'SIGHUP');
    process.kill(gateway.process.pid, 'SIGHUP');
    expect((await upgrade).status).toBe(200);
    await eventually('the new one has read it again', () => /configuration reloaded/.test(gateway.process.output));
    await edit(line, (text) => `${text}\nservices: { web: { hosts: [shop.example] } }\n`);
    expect(isAlive(gateway.process.pid)).toBe(true);
    process.kill(gateway.process.pid, 'SIGHUP');
    await eventually('so has it now', async () => (await request(gateway, { host: 'shop.example' })).status === 200);
    expect(await line.pid()).toBe(successor);
    expect(gateway.process.output).not.toContain('configuration not reloaded');
  });

  it('does not end a process that is starting', async () => {
    const { line } = await start();
    // It waits half a minute for this registry.
    const nowhere = await freePort();
    const besides = `, { name: gone, type: consul, address: 'http://127.0.0.1:${nowhere}' }]`;
    await edit(line, (text) => text.replace(/(registries: .*)\]/, `$1${besides}`));
    const upgrade = line.upgrade();
    const successor = await begun(line);
    await eventually('it looks for the registry', () => line.gateway.process.output.includes('"registry":"gone"'));
    process.kill(successor, 'SIGHUP');
    await pause(300);
    expect(isAlive(successor)).toBe(true);
    process.kill(successor, 'SIGKILL');
    expect(await upgrade).toMatchObject({ status: 409, detail: containing('SIGKILL') });
  });
});

describe('a gateway that was replaced', () => {
  it('believes what instances said last, as they say more to the new one only', async () => {
    const ttl = 'services: { web: { health: { type: ttl, timeout: 1s, unhealthyThreshold: 1, healthyThreshold: 1 } } }';
    const { line, id } = await start(`shutdown: { acceptFor: 0s, drain: 4m }\n${ttl}`);
    const { gateway } = line;
    const broken = http.createServer((_, response) => void response.writeHead(500).end());
    await new Promise<void>((resolve) => broken.listen(0, '127.0.0.1', resolve));
    stops.push(() => broken.close());
    const { port } = broken.address() as AddressInfo;
    const failing = await gateway.register({ serviceName: 'web', host: '127.0.0.1', port });
    const beat = async (which: string): Promise<unknown> => gateway.api('PUT', `/heartbeat/${which}`);
    const beats = setInterval(() => {
      for (const which of [id, `${failing}?status=failing`]) beat(which).catch(() => undefined);
    }, 200);
    stops.push(() => clearInterval(beats));
    await gateway.serving('web', 1);
    const agents = Array.from({ length: 8 }, () => new http.Agent({ keepAlive: true, maxSockets: 1 }));
    stops.push(() => {
      for (const agent of agents) agent.destroy();
    });
    const ask = (): Promise<Answer[]> => Promise.all(agents.map((agent) => request(gateway, { agent })));
    expect((await ask()).map(({ status }) => status)).toEqual(agents.map(() => 200));
    expect((await line.upgrade()).status).toBe(200);
    await pause(2500);
    expect(isAlive(gateway.process.pid)).toBe(true);
    const answers = await ask();
    expect(answers.map(({ status, headers }) => [status, headers.connection])).toEqual(
      agents.map(() => [200, 'close']),
    );
  });

  it('gives up on a successor that hangs, instead of holding what was asked on connections from before', async () => {
    const { line } = await start();
    const { gateway } = line;
    const sockets = await OpenSockets.open(gateway.port, 1);
    stops.push(() => sockets.close());
    const agent = new http.Agent({ keepAlive: true, maxSockets: 2 });
    stops.push(() => agent.destroy());
    const ask = (port: number, path: string): Promise<Answer> => request({ port }, { agent, path, host: 'localhost' });
    const both = (): Promise<Answer[]> =>
      Promise.all([ask(gateway.adminPort, '/readyz'), ask(gateway.registryPort, '/services')]);
    expect((await both()).map(({ status }) => status)).toEqual([200, 200]);
    expect((await line.upgrade()).status).toBe(200);
    const successor = await line.pid();
    process.kill(successor, 'SIGSTOP');
    stops.push(() => process.kill(successor, 'SIGCONT'));
    const answers = await both();
    expect(answers.map(({ status, headers }) => [status, headers.connection])).toEqual([
      [504, 'close'],
      [504, 'close'],
    ]);
    expect(answers.map(({ body }) => (JSON.parse(body) as { status: number }).status)).toEqual([504, 504]);
  });

  it('answers operators on connections from before as the new one would', async () => {
    const { line } = await start();
    const { gateway } = line;
    const sockets = await OpenSockets.open(gateway.port, 1);
    stops.push(() => sockets.close());
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    stops.push(() => agent.destroy());
    const ready = (): Promise<number> =>
      request({ port: gateway.adminPort }, { agent, path: '/readyz', host: 'localhost' }).then(({ status }) => status);
    expect(await ready()).toBe(200);
    expect((await line.upgrade()).status).toBe(200);
    expect(isAlive(gateway.process.pid)).toBe(true);
    expect(await ready()).toBe(200);
    const traffic = new SteadyTraffic(gateway.port, 20);
    await pause(200);
    await traffic.stop();
    expect(traffic.failures).toEqual([]);
  });
});
