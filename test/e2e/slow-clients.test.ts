import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { clientConnections, metric, openFilesLimit } from './gauges.ts';
import { eventually, GatewayProcess, Instance, Traffic } from './world.ts';

vi.setConfig({ testTimeout: 60_000 });

const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

const WANTED = process.env['CI'] === 'true' ? 5000 : 1000;
/** The gateway holds each slow body twice, and each slow head once; it keeps some descriptors back for itself. */
const EACH = Math.min(WANTED, Math.floor((openFilesLimit('self') * 0.8) / 3));

interface Attack {
  /** By second, as slowhttptest saw it. */
  readonly connected: readonly number[];
  readonly output: string;
}

/** Until every connection has been closed by the gateway, or `seconds` are over. */
async function attack(mode: '-H' | '-B', port: number, directory: string, seconds: number): Promise<Attack> {
  const report = join(directory, `report${mode}`);
  const args = [mode, '-c', EACH, '-r', 2000, '-i', 2, '-x', 20, '-l', seconds, '-p', 15, '-g', '-o', report];
  const child = spawn('slowhttptest', [...args.map(String), '-u', `http://127.0.0.1:${port}/`], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  stops.push(() => Promise.resolve(child.kill('SIGKILL')));
  let output = '';
  child.stdout.on('data', (bytes: Buffer) => (output = (output + bytes.toString()).slice(-4000)));
  await once(child, 'exit');
  const rows = (await readFile(`${report}.csv`, 'utf8')).trim().split('\n').slice(1);
  return { connected: rows.map((row) => Number(row.split(',')[3])), output };
}

describe(`${EACH} connections that drip in a head and ${EACH} that drip in a body${EACH < WANTED ? ` (${WANTED} wanted: open files are limited)` : ''}`, () => {
  it('are all closed within 15 s by default settings, and other clients do not notice', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'fairlead-slow-'));
    stops.push(() => rm(directory, { recursive: true, force: true }));
    const gateway = await GatewayProcess.start({ extra: "services: { web: { hosts: ['127.0.0.1'] } }" });
    stops.push(() => gateway.stop());
    const instance = await Instance.start({ name: 'one' });
    stops.push(() => instance.kill());
    await gateway.register({ serviceName: 'web', host: '127.0.0.1', port: instance.port });
    await gateway.serving('web', 1);

    const traffic = new Traffic(gateway, { perSecond: 50 });
    let peak = 0;
    const watch = setInterval(() => {
      clientConnections(gateway).then(
        (count) => (peak = Math.max(peak, count)),
        () => undefined,
      );
    }, 500);
    const attacks = await Promise.all([
      attack('-H', gateway.port, directory, 40),
      attack('-B', gateway.port, directory, 40),
    ]);
    clearInterval(watch);
    const tally = await traffic.stop();

    for (const { connected, output } of attacks) {
      expect(output).toContain('No open connections left');
      expect(Math.max(...connected)).toBeGreaterThan(EACH * 0.9);
      // From the second in which the last was opened: each of them was closed within 15 s.
      const opened = connected.findIndex((count) => count === Math.max(...connected));
      expect(connected.length - opened).toBeLessThanOrEqual(15);
    }
    expect(peak).toBeGreaterThan(EACH * 1.8);
    // Threads tell of them a few times a second.
    await eventually(
      'every one is counted',
      async () => (await metric(gateway, 'fairlead_bad_requests_total{reason="too-slow"}')) === 2 * EACH,
      5000,
    );
    expect(tally.failures).toEqual([]);
    console.log(`${tally.sent} other requests meanwhile, the slowest took ${tally.slowestMs.toFixed(0)} ms`);
    expect(tally.slowestMs).toBeLessThan(2000);
    await eventually('nothing is in flight', async () => {
      return (await metric(gateway, 'fairlead_connections{side="downstream",state="active"}')) === 0;
    });
    expect((await gateway.explain('web')).instances[0]).toMatchObject({ state: 'available', inflight: 0, failures: 0 });
  });
});
