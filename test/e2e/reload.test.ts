import { mkdir, readFile, rename, symlink, unlink, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { EchoInstance, OpenSockets, SteadyTraffic } from './steady.ts';
import { eventually, freePort, GatewayProcess, pause, request } from './world.ts';

vi.setConfig({ testTimeout: 120_000 });

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

interface Parts {
  readonly gateway?: string;
  readonly listen?: readonly number[];
  readonly admin?: string;
  readonly registry?: string;
  readonly extra?: string;
}

/** A gateway whose whole configuration the test writes. */
class Reloadable {
  readonly gateway: GatewayProcess;

  private constructor(gateway: GatewayProcess) {
    this.gateway = gateway;
  }

  static async start(parts: Parts = {}): Promise<Reloadable> {
    const gateway = await GatewayProcess.prepare();
    const made = new Reloadable(gateway);
    stops.push(() => gateway.stop());
    await made.write(parts);
    await gateway.launch();
    return made;
  }

  text({ gateway = '', listen = [], admin = '', registry = '', extra = '' }: Parts): string {
    const { port, adminPort, registryPort, directory } = this.gateway;
    const addresses = [port, ...listen].map((each) => `'127.0.0.1:${each}'`).join(', ');
    return `gateway:
  listen: [${addresses}]
  stateDir: '${directory}/state'
  accessLog: off
  upstreamAddresses: { allowLoopback: true }
${gateway}
admin: { listen: '127.0.0.1:${adminPort}'${admin} }
registries: [{ name: local, type: embedded, listen: ['127.0.0.1:${registryPort}'], dataDir: '${directory}/data'${registry} }]
shutdown: { acceptFor: 0s, drain: 5s }
${extra}
`;
  }

  async write(parts: Parts): Promise<void> {
    await writeFile(this.gateway.configFile, this.text(parts));
  }

  async reload(parts?: Parts, token?: string): Promise<{ status: number; body: ReloadBody }> {
    if (parts) await this.write(parts);
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const response = await fetch(`${this.gateway.admin}/api/reload`, { method: 'POST', headers });
    return { status: response.status, body: (await response.json()) as ReloadBody };
  }

  async register(port: number): Promise<void> {
    await this.gateway.register({ serviceName: 'web', host: '127.0.0.1', port });
    await this.gateway.serving('web', 1);
  }
}

interface ReloadBody {
  readonly changes?: readonly string[];
  readonly issues?: readonly { message: string }[];
}

async function withInstance(parts: Parts = {}): Promise<Reloadable> {
  const [made, instance] = await Promise.all([Reloadable.start(parts), EchoInstance.start()]);
  stops.push(() => instance.stop());
  await made.register(instance.port);
  return made;
}

const accepts = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    }).on('error', () => resolve(false));
  });

describe('20 reloads', () => {
  it('under 300 requests a second on new and kept connections, with 50 WebSockets open, fail nothing', async () => {
    const made = await withInstance();
    const { port } = made.gateway;
    const second = await freePort();
    const traffic = new SteadyTraffic(port, 300);
    const sockets = await OpenSockets.open(port, 50);
    stops.push(() => sockets.close());
    const rounds: Parts[] = [
      { listen: [second], gateway: '  timeouts: { keepAlive: 30s }' },
      { gateway: '  limits: { requests: 5000, headBytes: 16KiB }', extra: 'services: { web: { balancer: random } }' },
      { admin: ', token: secret', extra: 'defaults: { health: { type: tcp, interval: 2s } }' },
      { registry: ', token: other', gateway: `  accessLog: '${made.gateway.directory}/access.log'` },
      { extra: 'log: { level: warn }\nservices: { web: { hosts: [shop.example] }, other: {} }' },
    ];
    for (let round = 0; round < 20; round++) {
      const parts = rounds[round % rounds.length] as Parts;
      const text = made.text(parts).replace(/ {2}accessLog: off\n(?=[^]*accessLog)/, '');
      await writeFile(made.gateway.configFile, text);
      const { status, body } = await made.reload(undefined, 'secret');
      expect(body, `round ${round}`).toHaveProperty('changes');
      expect(status).toBe(200);
      expect(body.changes?.length, `round ${round}: ${String(body.changes)}`).toBeGreaterThan(0);
      expect(await accepts(second)).toBe(round % rounds.length === 0);
      await pause(150);
    }
    await sockets.check();
    await traffic.stop();
    expect(traffic.failures).toEqual([]);
    expect(sockets.failures).toEqual([]);
    expect(traffic.sent).toBeGreaterThan(500);
    const log = await readFile(`${made.gateway.directory}/access.log`, 'utf8');
    expect(log.split('\n').length).toBeGreaterThan(10);
  });
});

describe('a reload that cannot be had', () => {
  it('for an address in use changes nothing at all, says so, and is counted', async () => {
    const made = await withInstance();
    const taken = await EchoInstance.start();
    stops.push(() => taken.stop());
    const second = await freePort();
    const { status, body } = await made.reload({ listen: [second, taken.port], extra: 'services: { other: {} }' });
    expect(status).toBe(422);
    expect(body.issues).toMatchObject([
      {
        message: `gateway.listen: cannot listen on 127.0.0.1:${taken.port}: another process listens there already (EADDRINUSE)`,
      },
    ]);
    expect(await accepts(second)).toBe(false);
    expect((await request(made.gateway)).status).toBe(200);
    const metrics = await (await fetch(`${made.gateway.admin}/metrics`)).text();
    expect(metrics).toContain('fairlead_config_reloads_total{result="failure"} 1');
    expect((await made.reload({})).body).toEqual({ changes: [] });
  });

  it('for a log file, a data directory or a listener of the registry or the admin API changes nothing either', async () => {
    const made = await withInstance();
    const { gateway } = made;
    for (const [broken, message] of [
      [{ extra: 'log: { destination: /nowhere/at/all.log }' }, /log\.destination: ENOENT/],
      [{ registry: ', dataDir: /dev/null/x' }, /dataDir \/dev\/null\/x cannot be used/],
    ] as const) {
      const text = made.text(broken).replace(`dataDir: '${gateway.directory}/data', dataDir`, 'dataDir');
      await writeFile(gateway.configFile, text);
      const { status, body } = await made.reload();
      expect(status).toBe(422);
      expect(body.issues?.[0]?.message).toMatch(message);
    }
    for (const port of [gateway.adminPort, gateway.registryPort]) {
      const text = made.text({}).replace(`127.0.0.1:${port}`, `127.0.0.1:${gateway.port}`);
      await writeFile(gateway.configFile, text.replace(`listen: ['127.0.0.1:${gateway.port}']`, `listen: ['[::1]:1']`));
      expect((await made.reload()).status).toBe(422);
    }
    expect((await request(gateway)).status).toBe(200);
    expect((await gateway.api('GET', '/services/web/instances')).status).toBe(200);
  });
});

describe('changed limits and tokens', () => {
  it('hold for connections that are open, and for the next question to the admin API', async () => {
    const made = await withInstance();
    const { gateway } = made;
    const socket = connect(gateway.port, '127.0.0.1');
    stops.push(() => socket.destroy());
    const ask = async (padding: number): Promise<string> => {
      const answer = new Promise<string>((resolve, reject) => {
        socket.once('data', (bytes: Buffer) => resolve(bytes.toString('latin1').slice(9, 12)));
        socket.once('error', reject);
      });
      socket.write(`GET / HTTP/1.1\r\nhost: web.localhost\r\nx-padding: ${'x'.repeat(padding)}\r\n\r\n`);
      return answer;
    };
    expect(await ask(2000)).toBe('200');
    const { body } = await made.reload({
      gateway: '  limits: { headBytes: 1KiB, services: 99 }',
      admin: ', token: secret',
    });
    expect([...(body.changes ?? [])].sort()).toEqual([
      'admin.token changed',
      'gateway.limits.headBytes changed',
      'gateway.limits.services is taken over at the next start',
      'gateway.limits.targetBytes changed',
    ]);
    await eventually('every thread has heard of it', async () => (await ask(100)) === '200');
    await pause(100);
    expect(await ask(2000)).toBe('431');
    expect((await fetch(`${gateway.admin}/api/services`)).status).toBe(401);
    expect((await fetch(`${gateway.admin}/readyz`)).status).toBe(200);
  });
});

describe('addresses that move', () => {
  it('are open before those they replace are closed, for clients, registrants and operators', async () => {
    const made = await withInstance();
    const { gateway } = made;
    const [port, admin, registry] = [await freePort(), await freePort(), await freePort()];
    const text = made
      .text({})
      .replace(String(gateway.port), String(port))
      .replace(String(gateway.adminPort), String(admin))
      .replace(String(gateway.registryPort), String(registry));
    await writeFile(gateway.configFile, text);
    const { body } = await made.reload();
    expect(body.changes).toEqual([
      `gateway.listen: 127.0.0.1:${port} opened`,
      `gateway.listen: 127.0.0.1:${gateway.port} closed`,
      `admin.listen is 127.0.0.1:${admin}`,
      'registry local changed',
    ]);
    expect((await request({ port })).status).toBe(200);
    expect((await fetch(`http://127.0.0.1:${admin}/readyz`)).status).toBe(200);
    expect(await (await fetch(`http://127.0.0.1:${registry}/services/web/instances`)).json()).toHaveLength(1);
    await eventually('the old ones are closed', async () => {
      const open = await Promise.all([gateway.port, gateway.adminPort, gateway.registryPort].map(accepts));
      return open.every((each) => !each);
    });
  });
});

describe('the watch on the file', () => {
  it('takes a swapped ConfigMap over, and tells of a bad one once', async () => {
    const made = await withInstance({ gateway: '  watchConfig: true' });
    const { directory, configFile, admin } = made.gateway;
    const counted = async (result: string): Promise<number> => {
      const text = await (await fetch(`${admin}/metrics`)).text();
      return Number(new RegExp(`config_reloads_total{result="${result}"} (\\d+)`).exec(text)?.[1] ?? 0);
    };
    const swap = async (version: string, text: string): Promise<void> => {
      await mkdir(join(directory, version));
      await writeFile(join(directory, version, 'fairlead.yaml'), text);
      await symlink(version, join(directory, '..data_tmp'));
      await rename(join(directory, '..data_tmp'), join(directory, '..data'));
    };
    const good = (domain: string): string => made.text({ gateway: `  watchConfig: true\n  domain: ${domain}` });
    await swap('v1', good('one.example'));
    await unlink(configFile);
    await symlink('..data/fairlead.yaml', configFile);
    const served = (host: string) => async () => (await request(made.gateway, { host })).status === 200;
    await eventually('the link is followed', served('web.one.example'));
    await swap('v2', good('two.example'));
    await eventually('the swap is seen', served('web.two.example'));
    await swap('v3', 'gateway: { listen: nonsense }');
    await eventually('the mistake is counted', async () => (await counted('failure')) === 1);
    await pause(1500);
    expect(await counted('failure')).toBe(1);
    expect(made.gateway.process.output.match(/configuration not reloaded/g)).toHaveLength(1);
    expect(await served('web.two.example')()).toBe(true);
    await swap('v4', good('three.example'));
    await eventually('the mended one is seen', served('web.three.example'));
    expect(await counted('success')).toBe(3);
  });
});
