/**
 * `npm run demo`: a gateway with its embedded registry, four instances of a service as processes of their own, steady
 * traffic to one stable URL, and every few seconds an instance that is killed and started again. What to look at: the
 * failures stay at none. Ends by itself after a minute, or with Ctrl-C. `--seconds N` for another length.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '60' } } });
const ROOT = new URL('..', import.meta.url).pathname;
const INSTANCES = 4;
const REQUESTS_PER_SECOND = 100;
const KILL_EVERY_MS = 5000;
const DOWN_FOR_MS = 2000;

interface Service {
  readonly name: string;
  child: ChildProcess | undefined;
  kills: number;
}

const directory = await mkdtemp(join(tmpdir(), 'fairlead-demo-'));
const children = new Set<ChildProcess>();
const figures = { sent: 0, ok: 0, failed: 0, lastFailure: '', slowestMs: 0, latencies: [] as number[] };
const served = new Map<string, number>();
const events: string[] = [];
let ending = false;

async function freePort(wanted: number): Promise<number> {
  const tryPort = (port: number): Promise<number | undefined> =>
    new Promise((resolve) => {
      const server = net.createServer();
      server.once('error', () => resolve(undefined));
      server.listen(port, '127.0.0.1', () => {
        const { port: got } = server.address() as net.AddressInfo;
        server.close(() => resolve(got));
      });
    });
  return (await tryPort(wanted)) ?? (await tryPort(0)) ?? 0;
}

function start(args: readonly string[]): ChildProcess {
  const child = spawn(process.execPath, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] });
  children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
}

function say(text: string): void {
  events.push(`${((performance.now() - began) / 1000).toFixed(1).padStart(5)} s  ${text}`);
  if (events.length > 6) events.shift();
}

function startInstance(service: Service): void {
  service.child = start([
    'demo/instance.ts',
    '--service',
    'web',
    '--name',
    service.name,
    '--registry',
    registryUrl,
    '--ttl',
    '5s',
    '--delay',
    '3ms',
  ]);
  service.child.stderr?.resume();
  service.child.stdout?.resume();
}

function send(): void {
  figures.sent++;
  const at = performance.now();
  const fail = (why: string): void => {
    if (ending) return;
    figures.failed++;
    figures.lastFailure = why;
  };
  const request = http.get(
    { host: '127.0.0.1', port: ports.gateway, path: '/', headers: { host: 'web.localhost' }, agent },
    (response) => {
      response.resume();
      response.once('error', (error) => fail(error.message));
      response.once('end', () => {
        const tookMs = performance.now() - at;
        figures.slowestMs = Math.max(figures.slowestMs, tookMs);
        figures.latencies.push(tookMs);
        if (figures.latencies.length > 500) figures.latencies.shift();
        if (response.statusCode === 200) {
          figures.ok++;
          const by = String(response.headers['x-instance']);
          served.set(by, (served.get(by) ?? 0) + 1);
        } else fail(`status ${response.statusCode ?? 0}`);
      });
    },
  );
  request.once('error', (error) => fail(error.message));
}

function countsText(): string {
  const last = figures.lastFailure === '' ? '' : ` (last: ${figures.lastFailure})`;
  return `${figures.sent} sent, ${figures.ok} answered, ${figures.failed} failed${last}`;
}

function draw(services: readonly Service[]): string {
  const sorted = [...figures.latencies].sort((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)] ?? 0;
  const most = Math.max(1, ...served.values());
  const bars = services.map(({ name, child, kills }) => {
    const count = served.get(name) ?? 0;
    const state = child && child.exitCode === null && child.signalCode === null ? 'running' : 'killed ';
    return `  ${name}  ${state}  ${'█'.repeat(Math.round((count / most) * 30)).padEnd(30)}  ${count} answers, killed ${kills} times`;
  });
  return [
    `Fairlead demo: ${REQUESTS_PER_SECOND} requests/s to http://web.localhost:${ports.gateway}/  (${Math.max(0, Math.round((endAt - performance.now()) / 1000))} s left, Ctrl-C ends)`,
    '',
    ...bars,
    '',
    `  ${countsText()}; median ${median.toFixed(1)} ms, slowest ${figures.slowestMs.toFixed(0)} ms`,
    '',
    ...events.map((event) => `  ${event}`),
    '',
    `  why:      npx fairlead explain web --admin http://127.0.0.1:${ports.admin}`,
    `  metrics:  curl http://127.0.0.1:${ports.admin}/metrics`,
    `  registry: curl ${registryUrl}/services/web/instances`,
    '',
  ].join('\n');
}

async function waitUntilReady(): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (performance.now() < deadline && !ending) {
    // The admin API answers before clients are accepted.
    const [ready, response] = await Promise.all(
      ['/readyz', '/api/services'].map((path) =>
        fetch(`http://127.0.0.1:${ports.admin}${path}`).catch(() => undefined),
      ),
    );
    if (ready?.ok && response?.ok) {
      const { services } = (await response.json()) as { services: { takingTraffic: number }[] };
      if (services[0]?.takingTraffic === INSTANCES) return;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  if (!ending) throw new Error('the gateway or its instances did not start within 30 s');
}

async function end(code: number): Promise<never> {
  if (!ending) {
    ending = true;
    for (const timer of timers) clearInterval(timer);
    for (const child of children) child.kill('SIGKILL');
    await rm(directory, { recursive: true, force: true });
  }
  process.exit(code);
}

const agent = new http.Agent({ keepAlive: true, maxSockets: 64 });
const ports = { gateway: await freePort(8080), admin: await freePort(9901), registry: await freePort(8761) };
const registryUrl = `http://127.0.0.1:${ports.registry}`;
const timers: NodeJS.Timeout[] = [];
const began = performance.now();
let endAt = began + Number(values.seconds) * 1000;

process.on('SIGINT', () => void end(0));
process.on('SIGTERM', () => void end(0));

await writeFile(
  join(directory, 'fairlead.yaml'),
  `gateway: { listen: ['127.0.0.1:${ports.gateway}'], domain: localhost, accessLog: off, upstreamAddresses: { allowLoopback: true } }
admin: { listen: '127.0.0.1:${ports.admin}' }
registries: [{ name: local, type: embedded, listen: ['127.0.0.1:${ports.registry}'], dataDir: '${directory}/data' }]
`,
);
const gateway = start(['bin/fairlead.js', 'run', '-c', join(directory, 'fairlead.yaml')]);
let gatewayLog = '';
for (const stream of [gateway.stdout, gateway.stderr]) {
  stream?.on('data', (chunk: Buffer) => (gatewayLog = (gatewayLog + chunk.toString()).slice(-4000)));
}
gateway.once('exit', (code) => {
  if (ending) return;
  console.error(`the gateway ended with ${code ?? 'a signal'}:\n${gatewayLog}`);
  void end(1);
});
console.log(`starting a gateway and ${INSTANCES} instances …`);
const services: Service[] = Array.from({ length: INSTANCES }, (_, at) => ({
  name: `web-${at + 1}`,
  child: undefined,
  kills: 0,
}));
for (const service of services) startInstance(service);
await waitUntilReady().catch((error: unknown) => {
  console.error(`${String(error)}\n${gatewayLog}`);
  return end(1);
});
endAt = performance.now() + Number(values.seconds) * 1000;
say('all instances take traffic');

let due = performance.now();
timers.push(
  setInterval(() => {
    for (; due < performance.now(); due += 1000 / REQUESTS_PER_SECOND) send();
  }, 10),
);
let turn = 0;
timers.push(
  setInterval(() => {
    const victim = services[turn++ % services.length];
    if (!victim?.child) return;
    victim.child.kill('SIGKILL');
    victim.kills++;
    say(`${victim.name} killed (kill -9)`);
    setTimeout(() => {
      if (ending) return;
      startInstance(victim);
      say(`${victim.name} started again, on another port`);
    }, DOWN_FOR_MS);
  }, KILL_EVERY_MS),
);
let drawn = 0;
timers.push(
  setInterval(
    () => {
      const picture = draw(services);
      // On a terminal the picture stays in its place; in a pipe a line now and then is enough.
      if (process.stdout.isTTY)
        process.stdout.write(
          `${drawn++ > 0 ? '\u001b[H' : '\u001b[2J\u001b[H'}${picture.replaceAll('\n', '\u001b[K\n')}\u001b[J`,
        );
      else console.log(countsText());
    },
    process.stdout.isTTY ? 250 : 2000,
  ),
);
await new Promise((resolve) => setTimeout(resolve, endAt - performance.now()));
timers.forEach((timer) => clearInterval(timer));
await new Promise((resolve) => setTimeout(resolve, 500));
const kills = services.reduce((sum, { kills: each }) => sum + each, 0);
console.log(`\n${figures.sent} requests, ${figures.failed} failed, while instances were killed ${kills} times.`);
await end(figures.failed === 0 ? 0 : 1);
