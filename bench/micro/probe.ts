/**
 * CPU of the prober per probe, against a server in another process: `node bench/micro/probe.ts [targets] [per second]`.
 * Kept-alive HTTP is the goal (S7: 10,000 a second in 0.3 core, 30 µs each); the others are for comparison.
 * Every phase is the whole prober: wheel, dispatcher, thresholds, evidence, and one sample per probe.
 */
import { spawn } from 'node:child_process';
import type { Check } from '../../src/core/check.ts';
import { systemClock } from '../../src/core/clock.ts';
import { systemRandom } from '../../src/core/random.ts';
import type { CreateProbe } from '../../src/health/probe.ts';
import { createProbeFactory } from '../../src/health/probes/create.ts';
import { Prober } from '../../src/health/prober.ts';

const TARGETS = Number(process.argv[2] ?? 4000);
const PER_SECOND = Number(process.argv[3] ?? 10_000);
const ROUNDS = 5;
const ROUND_MS = 1000;

/** Answers without parsing: its process is not measured, and must not be the bottleneck. */
const SERVER = `
  const reply = Buffer.from('HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nDate: Sat, 01 Jan 2022 00:00:00 GMT\\r\\nServer: bench\\r\\nContent-Length: 15\\r\\n\\r\\n{"status":"UP"}');
  require('net').createServer((s) => { s.on('data', () => s.write(reply)); s.on('error', () => {}); })
    .listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, function () { console.log(this.address().port); });
`;

const timing = {
  intervalMs: (1000 * TARGETS) / PER_SECOND,
  timeoutMs: 2000,
  healthyThreshold: 2,
  unhealthyThreshold: 3,
  fastIntervalMs: 1000,
  jitter: 0.2,
  port: undefined,
};
const http: Check = {
  ...timing,
  type: 'http',
  name: 'http',
  path: '/health',
  method: 'GET',
  statuses: [[200, 399]],
  headers: [],
  bodyContains: undefined,
  host: undefined,
  verifyTls: true,
};
const instant: CreateProbe = (_to, _check, report) => ({
  start: () => report({ result: 'pass', text: 'fine' }),
  abort: () => '',
  close: () => undefined,
});

async function measure(name: string, port: number, check: Check, createProbe: CreateProbe): Promise<void> {
  let probes = 0;
  let lagsMs: number[] = [];
  const bad = new Map<string, number>();
  const prober = new Prober({
    clock: systemClock,
    random: systemRandom,
    createProbe,
    limits: { perHost: 10_000, firstProbesPerSecond: 4000 },
    onVerdict: () => undefined,
    onResult: ({ outcome, lagMs }) => {
      probes++;
      lagsMs.push(lagMs);
      if (outcome !== 'pass') bad.set(outcome, (bad.get(outcome) ?? 0) + 1);
    },
  });
  for (let key = 0; key < TARGETS; key++) {
    prober.track({ key, instance: { service: 'bench', id: `bench-${key}`, host: '127.0.0.1', port }, checks: [check] });
  }
  await pause(TARGETS / 4 + 2000);
  bad.clear();
  const costs: number[] = [];
  const rates: number[] = [];
  const lags: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    probes = 0;
    lagsMs = [];
    const before = process.cpuUsage();
    const fromMs = performance.now();
    await pause(ROUND_MS);
    const { user, system } = process.cpuUsage(before);
    costs.push((user + system) / probes);
    rates.push((1000 * probes) / (performance.now() - fromMs));
    lags.push(lagsMs.sort((one, other) => one - other)[Math.ceil(lagsMs.length * 0.99) - 1] ?? Number.NaN);
  }
  prober.stop();
  await pause(200);
  const outcomes = [...bad].map(([outcome, count]) => `, ${outcome} ${count}`).join('');
  console.log(
    `${name}: ${spread(costs)} µs of CPU per probe at ${median(rates).toFixed(0)} probes/s; lag p99 ${spread(lags)} ms${outcomes}`,
  );
}

const pause = (durationMs: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, durationMs));

function median(values: readonly number[]): number {
  return [...values].sort((one, other) => one - other)[values.length >> 1] ?? Number.NaN;
}

function spread(values: readonly number[]): string {
  return `${median(values).toFixed(1)} (${Math.min(...values).toFixed(1)} to ${Math.max(...values).toFixed(1)})`;
}

const server = spawn(process.execPath, ['-e', SERVER], { stdio: ['ignore', 'pipe', 'inherit'] });
try {
  const port = await new Promise<number>((resolve) =>
    server.stdout.once('data', (data: Buffer) => resolve(Number(data.toString()))),
  );
  console.log(
    `${TARGETS} instances, Node ${process.version}; medians of ${ROUNDS} rounds of ${ROUND_MS} ms (best to worst)`,
  );
  await measure('prober alone  ', port, http, instant);
  await measure('http, kept    ', port, http, createProbeFactory({ clock: systemClock }));
  await measure('http, new each', port, http, createProbeFactory({ clock: systemClock, maxKept: 0 }));
  await measure(
    'tcp           ',
    port,
    { ...timing, type: 'tcp', name: 'tcp' },
    createProbeFactory({ clock: systemClock }),
  );
} finally {
  server.kill('SIGKILL');
}
