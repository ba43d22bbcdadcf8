import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { cpuSeconds, metric, openFiles } from './gauges.ts';
import { RawClient, type RawOutcome } from './raw-client.ts';
import { eventually, GatewayProcess, Instance, pause, request } from './world.ts';

vi.setConfig({ testTimeout: 60_000 });

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

const GET = 'GET / HTTP/1.1\r\nHost: web.localhost\r\n\r\n';
const statusOf = (outcome: RawOutcome): number | 'broken' => (outcome === 'broken' ? outcome : outcome.status);

async function scene(through: readonly string[], delay = '0ms'): Promise<GatewayProcess> {
  const gateway = await GatewayProcess.start({ through });
  stops.push(() => gateway.stop());
  const instance = await Instance.start({ name: 'one', delay });
  stops.push(() => instance.kill());
  await gateway.register({ serviceName: 'web', host: '127.0.0.1', port: instance.port });
  await gateway.serving('web', 1);
  return gateway;
}

const underLimit = (files: number): string[] => ['sh', '-c', `ulimit -n ${files}; exec "$@"`, 'sh'];

/** So many connections, each with one request; the answers come in the same order. */
async function crowd(
  gateway: GatewayProcess,
  count: number,
): Promise<{ clients: RawClient[]; outcomes: RawOutcome[] }> {
  const clients = Array.from({ length: count }, () => new RawClient(gateway.port));
  stops.push(() => {
    for (const client of clients) client.close();
  });
  return { clients, outcomes: await Promise.all(clients.map((client) => client.ask(GET))) };
}

/** With this as the limit, there is no descriptor left. */
function lowestFree(pid: number): number {
  const used = new Set(readdirSync(`/proc/${pid}/fd`).map(Number));
  let lowest = 0;
  while (used.has(lowest)) lowest++;
  return lowest;
}

/** Share of a core that the gateway uses while nothing is asked of it. */
async function idleCpu(gateway: GatewayProcess): Promise<number> {
  const before = cpuSeconds(gateway.process.pid);
  const began = performance.now();
  await pause(1000);
  return ((cpuSeconds(gateway.process.pid) - before) * 1000) / (performance.now() - began);
}

async function serves(gateway: GatewayProcess, withinMs: number): Promise<void> {
  await eventually(
    'a new client is served',
    async () => (await request(gateway, { fresh: true })).status === 200,
    withinMs,
  );
}

describe('2,000 clients of a gateway that may have 1,024 open files', () => {
  it('are served as far as descriptors permit, and the others are turned away; operators get through', async () => {
    const gateway = await scene(underLimit(1024));
    const permitted = await metric(gateway, 'fairlead_limit{of="connections"}');
    expect(permitted).toBe(640);
    const { clients, outcomes } = await crowd(gateway, 2000);
    const statuses = outcomes.map(statusOf);
    // All at once they want more connections to the instance than there may be: some get 503, and keep theirs.
    const served = clients.filter((_, at) => statuses[at] === 200 || statuses[at] === 503);
    const refused = statuses.filter((status) => status === 'broken').length;
    expect(statuses.filter((status) => status === 200).length).toBeGreaterThan(100);
    expect(served.length).toBeGreaterThan(permitted * 0.6);
    // Threads that accept at the same moment may pass the bound by one each.
    expect(refused).toBeGreaterThanOrEqual(2000 - permitted - 16);
    expect(served.length + refused).toBe(2000);
    expect(openFiles(gateway.process.pid)).toBeLessThan(1024 - 128);

    expect(await idleCpu(gateway)).toBeLessThan(0.5);
    const began = performance.now();
    expect((await gateway.explain('web')).instances[0]).toMatchObject({ state: 'available', failures: 0 });
    expect(performance.now() - began).toBeLessThan(1000);
    expect(await metric(gateway, 'fairlead_connections_refused_total{side="downstream",reason="descriptors"}')).toBe(
      refused,
    );
    expect(gateway.process.output).toContain('connections are refused: a limit is reached');
    // Who has a connection goes on being served on it.
    expect(statusOf(await served[0]!.ask(GET))).toBe(200);

    for (const client of clients) client.close();
    await serves(gateway, 1000);
    expect(gateway.process.child.exitCode).toBeNull();
  });

  it('that all ask at once: those without a connection to an instance get 503 UO, and no instance is blamed', async () => {
    const gateway = await scene(underLimit(1024), '500ms');
    const { outcomes } = await crowd(gateway, 600);
    const statuses = new Map<number | string, number>();
    for (const outcome of outcomes) statuses.set(statusOf(outcome), (statuses.get(statusOf(outcome)) ?? 0) + 1);
    expect(statuses.get(200)).toBeGreaterThan(150);
    const refused = 'fairlead_connections_refused_total';
    expect(statuses.get(503)).toBe(await metric(gateway, `${refused}{side="upstream"`));
    expect(statuses.get('broken') ?? 0).toBe(await metric(gateway, `${refused}{side="downstream"`));
    expect([...statuses.values()].reduce((sum, count) => sum + count, 0)).toBe(600);
    const { instances } = await gateway.explain('web');
    expect(instances[0]).toMatchObject({ state: 'available', failures: 0, inflight: 0 });
    await serves(gateway, 1000);
  });
});

/** With these under `gateway.limits`, from now on. */
async function limitTo(gateway: GatewayProcess, limits: string): Promise<string[]> {
  const text = await readFile(gateway.configFile, 'utf8');
  await writeFile(gateway.configFile, text.replace('gateway: {', `gateway: { limits: { ${limits} },`));
  const answer = await fetch(`${gateway.admin}/api/reload`, { method: 'POST' });
  return ((await answer.json()) as { changes: string[] }).changes;
}

describe('each limit of the configuration', () => {
  it('connections: who comes beyond it is closed at once and counted, and gets in when another one leaves', async () => {
    const gateway = await scene([]);
    expect(await limitTo(gateway, 'connections: 10')).toEqual(['gateway.limits.connections changed']);
    const { clients, outcomes } = await crowd(gateway, 30);
    const refused = outcomes.filter((outcome) => outcome === 'broken').length;
    // Threads that accept at the same moment may pass the bound by one each.
    expect(refused).toBeGreaterThanOrEqual(18);
    expect(refused).toBeLessThanOrEqual(20);
    expect(await metric(gateway, 'fairlead_connections_refused_total{side="downstream",reason="limit"}')).toBe(refused);
    expect(await metric(gateway, 'fairlead_limit{of="connections"}')).toBe(10);
    for (const client of clients) client.close();
    await serves(gateway, 1000);
  });

  it('requests: those beyond it get 503 UO and are counted, over all threads together; their connections stay', async () => {
    const gateway = await scene([], '1s');
    await limitTo(gateway, 'requests: 10');
    const { clients, outcomes } = await crowd(gateway, 30);
    const refused = outcomes.filter((outcome) => outcome !== 'broken' && outcome.status === 503);
    const served = outcomes.filter((outcome) => statusOf(outcome) === 200).length;
    // One that is refused counts until it has been answered, and may stand in the way of another one.
    expect(served).toBeLessThanOrEqual(10);
    expect(served).toBeGreaterThanOrEqual(6);
    expect(refused).toHaveLength(30 - served);
    expect((refused[0] as Exclude<RawOutcome, 'broken'>).head).toMatch(/Retry-After: \d+/);
    expect(await metric(gateway, 'fairlead_requests_refused_total')).toBe(30 - served);
    expect(await metric(gateway, 'fairlead_limit{of="requests"}')).toBe(10);
    await eventually('it is said', () => gateway.process.output.includes('gateway.limits.requests is reached'));
    for (const client of clients.slice(0, 3)) expect(statusOf(await client.ask(GET))).toBe(200);
  });

  it('instances and services: who registers beyond them is refused, and nobody else notices', async () => {
    const gateway = await GatewayProcess.prepare();
    stops.push(() => gateway.stop());
    await gateway.configure({});
    const text = await readFile(gateway.configFile, 'utf8');
    await writeFile(
      gateway.configFile,
      text.replace('gateway: {', 'gateway: { limits: { instances: 3, services: 2 },'),
    );
    await gateway.launch();
    const register = async (serviceName: string, port: number): Promise<number> =>
      (await gateway.api('POST', '/register', { serviceName, host: '127.0.0.1', port })).status;
    expect([await register('a', 81), await register('b', 82), await register('c', 83)]).toEqual([201, 201, 503]);
    expect([await register('a', 84), await register('a', 85), await register('a', 81)]).toEqual([201, 503, 201]);
    expect(await metric(gateway, 'fairlead_limit{of="instances"}')).toBe(3);
    expect(await metric(gateway, 'fairlead_instances{')).toBe(3);
  });

  it('memory of a thread: at the least that may be set, no thread ends for what clients do', async () => {
    const gateway = await scene([]);
    await limitTo(gateway, 'threadMemory: 128MiB');
    expect(await metric(gateway, 'fairlead_limit{of="thread_memory_bytes"}')).toBe(128 * 2 ** 20);
    const { clients } = await crowd(gateway, 200);
    for (let round = 0; round < 20; round++) {
      const outcomes = await Promise.all(clients.map((client) => client.ask(GET)));
      expect(outcomes.filter((outcome) => statusOf(outcome) !== 200)).toEqual([]);
    }
    expect(await metric(gateway, 'fairlead_data_thread_deaths_total')).toBe(0);
    const threads = await metric(gateway, 'fairlead_data_threads ');
    expect(await metric(gateway, 'fairlead_data_thread_memory_bytes')).toBeLessThan(threads * 100 * 2 ** 20);
  });
});

describe('a system that refuses descriptors before the gateway expects it', () => {
  it('does not make it crash or blame an instance, and is over as soon as there are some again', async () => {
    const gateway = await scene([]);
    const { pid } = gateway.process;
    const soft = (files: number): unknown => execFileSync('prlimit', ['--pid', String(pid), `--nofile=${files}:`]);
    const idle = await crowd(gateway, 50);
    expect(idle.outcomes.every((outcome) => statusOf(outcome) === 200)).toBe(true);
    await eventually('connections to the instance are closed', async () => {
      return (await metric(gateway, 'fairlead_connections{side="upstream"')) === 0;
    });
    soft(lowestFree(pid));
    // libuv turns away who comes, as far as it can; those that are in get no connection to the instance.
    const others = crowd(gateway, 50);
    for (const client of idle.clients.slice(0, 10)) expect([503, 200]).toContain(statusOf(await client.ask(GET)));
    await pause(500);
    soft(10_000);
    await others;
    await serves(gateway, 2000);
    expect((await gateway.explain('web')).instances[0]).toMatchObject({ state: 'available', failures: 0 });
  });
});
