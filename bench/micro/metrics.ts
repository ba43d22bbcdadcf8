/**
 * What metrics and the access log cost: nanoseconds per request on the recording side; CPU, size and longest turn of
 * the event loop (CPU time of the thread) of a scrape on the other.
 *
 *   node bench/micro/metrics.ts
 */
import { OUTCOMES } from '../../src/core/outcome.ts';
import { systemClock } from '../../src/core/clock.ts';
import type { HealthState } from '../../src/core/health.ts';
import { AccessLog, emptyAccessRecord } from '../../src/telemetry/access-log.ts';
import type { MethodIndex } from '../../src/telemetry/closed-sets.ts';
import type { InstanceSource, ServiceSource } from '../../src/telemetry/fleet-source.ts';
import { LineSink } from '../../src/telemetry/line-sink.ts';
import { Metrics } from '../../src/telemetry/metrics.ts';

const ROUNDS = 7;

function median(figures: readonly number[]): number {
  return [...figures].sort((a, b) => a - b)[figures.length >> 1]!;
}

/** CPU time of the process: other work on the machine does not count. */
function cpuMs(since: NodeJS.CpuUsage): number {
  const used = process.cpuUsage(since);
  return (used.user + used.system) / 1000;
}

function nanosecondsPer(name: string, calls: number, run: (calls: number) => void): void {
  run(calls / 10);
  const rounds = Array.from({ length: ROUNDS }, () => {
    const before = process.cpuUsage();
    run(calls);
    return (cpuMs(before) * 1e6) / calls;
  });
  const spread = `${Math.min(...rounds).toFixed(1)}–${Math.max(...rounds).toFixed(1)}`;
  console.log(`${name.padEnd(58)} ${median(rounds).toFixed(1).padStart(8)} ns   (${spread})`);
}

function metricsFor(instanceLimit: number): Metrics {
  return new Metrics({
    clock: systemClock,
    version: 'bench',
    nodeVersion: process.version,
    instanceSeries: { enabled: true, limit: instanceLimit },
  });
}

function recording(): void {
  const metrics = metricsFor(0);
  const statuses = [200, 200, 200, 204, 301, 404, 503];
  const figures = Float64Array.from({ length: 1024 }, (_, at) => 0.05 * 1.012 ** at);
  const one = metrics.service('web');
  nanosecondsPer('request() + attempt(), one service', 5_000_000, (calls) => {
    for (let call = 0; call < calls; call++) {
      const durationMs = figures[call & 1023]!;
      one.request((call & 3) as MethodIndex, statuses[call % 7]!, durationMs, durationMs / 100);
      one.attempt(OUTCOMES[0]!);
    }
  });
  const many = Array.from({ length: 1000 }, (_, at) => metrics.service(`service-${at}`));
  nanosecondsPer('request() + attempt(), a thousand services in turn', 5_000_000, (calls) => {
    for (let call = 0; call < calls; call++) {
      const durationMs = figures[call & 1023]!;
      const service = many[call % 1000]!;
      service.request((call & 3) as MethodIndex, statuses[call % 7]!, durationMs, durationMs / 100);
      service.attempt(OUTCOMES[0]!);
    }
  });
}

function logging(): void {
  const files = {
    open: () => ({
      write: (_bytes: Buffer, _at: number, length: number, done: (error: null, written: number) => void) => {
        done(null, length);
      },
      close: () => undefined,
    }),
  };
  const log = new AccessLog(new LineSink({ clock: systemClock, files }));
  const record = emptyAccessRecord();
  Object.assign(record, {
    service: 'payment',
    method: 'GET',
    target: '/v1/accounts/4711/statements?from=2026-01-01&to=2026-02-01',
    host: 'payment.localhost:8080',
    status: 200,
    instance: 'payment-7f9c4d-1',
    client: '203.0.113.9',
    requestId: '0f8fad5b-d9cb-469f-a165-70867728950e',
    userAgent: 'curl/8.5.0',
  });
  nanosecondsPer('access log line', 500_000, (calls) => {
    for (let call = 0; call < calls; call++) {
      record.wallMs = 1_795_000_000_000 + call / 20;
      record.durationMs = 1.234 + call / 1000;
      record.upstreamMs = 1.1;
      record.overheadMs = 0.021;
      record.bytesOut = 1024 + (call & 255);
      log.write(record);
    }
  });
}

async function scraping(services: number, perService: number, traffic: boolean): Promise<void> {
  const health: HealthState = { registered: 'up', probe: 'passing', breaker: 'closed', ejected: false, drained: false };
  const count = services * perService;
  const members = Array.from({ length: count }, (_, slot): InstanceSource => ({
    id: `instance-${slot}`,
    slot,
    health,
  }));
  const sources = Array.from({ length: services }, (_, at): ServiceSource => ({
    name: `service-${at}`,
    panic: false,
    fallback: false,
    instances: () => members.slice(at * perService, (at + 1) * perService),
  }));
  const metrics = metricsFor(count);
  metrics.connect({
    fleet: {
      figures: {
        inflight: new Int32Array(count),
        attempts: new Float64Array(count).fill(123_456),
        breaker: new Uint8Array(count),
      },
      services: () => sources,
    },
  });
  if (traffic) for (const { name } of sources) metrics.service(name).request(0, 200, 1, 0.1);
  const pauses: number[] = [];
  const cpus: number[] = [];
  let bytes = 0;
  for (let round = 0; round < ROUNDS; round++) {
    let longestMs = 0;
    let turn = process.threadCpuUsage();
    let done = false;
    const endTurn = (): void => {
      const used = process.threadCpuUsage(turn);
      longestMs = Math.max(longestMs, (used.user + used.system) / 1000);
      turn = process.threadCpuUsage();
    };
    const watch = (): void => {
      endTurn();
      if (!done) setImmediate(watch);
    };
    setImmediate(watch);
    const before = process.cpuUsage();
    const chunks = await metrics.scrape();
    cpus.push(cpuMs(before));
    done = true;
    endTurn();
    pauses.push(longestMs);
    bytes = chunks.reduce((all, chunk) => all + chunk.length, 0);
  }
  const name = `scrape, ${services} services${traffic ? ' with traffic' : ''}, ${count} instances`;
  console.log(
    `${name.padEnd(58)} ${median(cpus).toFixed(0).padStart(6)} ms CPU, longest turn ${median(pauses).toFixed(1)} ms ` +
      `(worst ${Math.max(...pauses).toFixed(1)}), ${(bytes / 1e6).toFixed(1)} MB`,
  );
}

recording();
logging();
await scraping(1000, 10, true);
await scraping(1, 10_000, true);
await scraping(10_000, 10, true);
