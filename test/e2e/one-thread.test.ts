import { afterEach, describe, expect, it, vi } from 'vitest';
import { metric } from './gauges.ts';
import { eventually, GatewayProcess, Instance, pause, Process, request, Traffic } from './world.ts';

vi.setConfig({ testTimeout: 120_000 });

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

const PLATFORM = { NODE_OPTIONS: '--import ./test/servers/no-shared-port.mjs' };
const WARNING = 'sockets cannot share a port at 127.0.0.1 on this platform (ENOTSUP)';

describe('a platform on which sockets cannot share a port', () => {
  it('has one data-plane thread whatever the configuration says, and says so; upgrades drop nothing', async () => {
    const gateway = await GatewayProcess.start({ extra: 'workers: 3\n', env: PLATFORM });
    stops.push(() => gateway.stop());
    const instance = await Instance.start({ name: 'one' });
    stops.push(() => instance.kill());
    await gateway.register({ serviceName: 'web', host: '127.0.0.1', port: instance.port });
    await gateway.serving('web', 1);

    expect((await request(gateway)).status).toBe(200);
    expect(await metric(gateway, 'fairlead_data_threads ')).toBe(1);
    expect(await metric(gateway, 'fairlead_data_threads_wanted ')).toBe(3);
    expect(gateway.process.output).toContain(WARNING);
    const ready = await fetch(`${gateway.admin}/readyz`);
    expect(await ready.json()).toEqual({ status: 'ready', warnings: [expect.stringContaining(WARNING)] });
    expect((await gateway.cli('healthcheck', '--ready')).output).toContain(`ready; warning: ${WARNING}`);

    const traffic = new Traffic(gateway, { perSecond: 100 });
    await pause(500);
    const upgrade = await fetch(`${gateway.admin}/api/upgrade`, { method: 'POST' });
    const { pid } = (await upgrade.json()) as { pid: number };
    expect(upgrade.status).toBe(200);
    stops.push(() => process.kill(pid, 'SIGKILL'));
    await eventually('the old process ends', () => gateway.process.child.exitCode === 0, 60_000);
    await pause(500);
    const { sent, failures } = await traffic.stop();
    expect(sent).toBeGreaterThan(50);
    expect(failures).toEqual([]);
    expect(await metric(gateway, 'fairlead_data_threads ')).toBe(1);
  });

  it('is found out by fairlead check', async () => {
    const gateway = await GatewayProcess.prepare();
    await gateway.configure({ extra: 'workers: 3\n' });
    const check = new Process(['bin/fairlead.js', 'check', '-c', gateway.configFile], PLATFORM);
    expect(await check.exited).toBe(0);
    expect(check.output).toContain(
      `warning: ${WARNING}: one data-plane thread serves, not the 3 that workers asks for`,
    );
  });
});
