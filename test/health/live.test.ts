import { execFile } from 'node:child_process';
import http from 'node:http';
import http2 from 'node:http2';
import type { Socket } from 'node:net';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { worstCaseDetectionMs, type Check } from '../../src/core/check.ts';
import { systemClock } from '../../src/core/clock.ts';
import type { ProbeState } from '../../src/core/health.ts';
import { systemRandom } from '../../src/core/random.ts';
import { createProbeFactory } from '../../src/health/probes/create.ts';
import { Prober } from '../../src/health/prober.ts';
import type { FreezeEvent } from '../../src/health/self-watch.ts';
import { httpCheck, target, tcpCheck } from './fixtures.ts';
import { TestServers, until } from './probes/run.ts';

const servers = new TestServers();
const probers: Prober[] = [];
afterEach(async () => {
  for (const prober of probers.splice(0)) prober.stop();
  await servers.stop();
});

const QUICK = { intervalMs: 500, timeoutMs: 400, fastIntervalMs: 200, unhealthyThreshold: 3, jitter: 0.2 };
/** A busy machine runs a little late, and the promise is about the prober. */
const SLACK_MS = 2000;

function start(maxLagMs = 1000) {
  const states = new Map<number, { state: ProbeState; text: string; atMs: number }>();
  const freezes: FreezeEvent[] = [];
  const prober = new Prober({
    clock: systemClock,
    random: systemRandom,
    createProbe: createProbeFactory({ clock: systemClock }),
    limits: { maxLagMs },
    onVerdict: (key, state, { text }) => states.set(key, { state, text, atMs: performance.now() }),
    onFreeze: (event) => freezes.push(event),
  });
  probers.push(prober);
  return { prober, states, freezes };
}

/** A server that is fine until told otherwise. */
async function spoilable() {
  let spoil: ((response: http.ServerResponse) => void) | undefined;
  const server = http.createServer((_request, response) =>
    spoil === undefined ? response.end('fine') : spoil(response),
  );
  const sockets = new Set<Socket>();
  const port = await servers.listen((socket) => sockets.add(socket), server);
  return { port, server, sockets, spoil: (how: (response: http.ServerResponse) => void) => (spoil = how) };
}

async function grpcHealth() {
  let status = 1;
  const server = http2.createServer();
  server.on('session', (session) => session.on('error', () => session.destroy()));
  server.on('stream', (stream) => {
    stream.on('error', () => stream.destroy());
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.end(Buffer.from([0, 0, 0, 0, 2, 8, status]));
  });
  return { port: await servers.listen(() => undefined, server), say: (next: number) => (status = next) };
}

describe('a prober of real servers', () => {
  it('finds out within the documented time that an instance refuses, hangs, answers wrongly or says that it does not serve', async () => {
    const { prober, states } = start();
    const refusing = await spoilable();
    const hanging = await spoilable();
    const wrong = await spoilable();
    const grpc = await grpcHealth();
    const checks: Check[] = [
      tcpCheck(QUICK),
      httpCheck(QUICK),
      httpCheck(QUICK),
      { type: 'grpc', name: 'grpc', port: undefined, grpcService: '', tls: false, healthyThreshold: 2, ...QUICK },
    ];
    for (const [key, { port }] of [refusing, hanging, wrong, grpc].entries()) {
      prober.track(target(key, { host: '127.0.0.1', port, checks: [checks[key]!] }));
    }
    await until(() => states.size === 4 && [...states.values()].every(({ state }) => state === 'passing'));
    const spoiledAtMs = performance.now();
    refusing.server.close();
    for (const socket of refusing.sockets) socket.destroy();
    hanging.spoil(() => undefined);
    wrong.spoil((response) => response.writeHead(503).end());
    grpc.say(2);
    await until(() => [...states.values()].every(({ state }) => state === 'failing'));
    const texts = [0, 1, 2, 3].map((key) => states.get(key)!.text.replace(/ \(\d in a row\)$/, ''));
    expect(texts).toEqual([
      'tcp: connection refused',
      'http: no answer within 400ms',
      'http: status 503, expected 200-399',
      'grpc: NOT_SERVING',
    ]);
    for (const [key, { atMs }] of states)
      expect(atMs - spoiledAtMs).toBeLessThan(worstCaseDetectionMs(checks[key]!) + SLACK_MS);
  });

  it('ejects nobody while its own event loop is blocked', async () => {
    const { prober, states, freezes } = start(100);
    // In another process: a server in this one would be blocked as well, and then it is slow indeed.
    const child = execFile(process.execPath, [
      '-e',
      `require('http').createServer((q,r)=>r.end()).listen(0,'127.0.0.1',function(){console.log(this.address().port)})`,
    ]);
    try {
      const port = await new Promise<number>((resolve) =>
        child.stdout?.once('data', (data: string) => resolve(Number(data))),
      );
      const check = httpCheck({
        ...QUICK,
        intervalMs: 100,
        timeoutMs: 300,
        unhealthyThreshold: 1,
        healthyThreshold: 1,
      });
      for (let key = 0; key < 50; key++) prober.track(target(key, { host: '127.0.0.1', port, checks: [check] }));
      await until(() => states.size === 50);
      for (let round = 0; round < 4; round++) {
        await new Promise((resolve) => setTimeout(resolve, 60));
        const endMs = performance.now() + 500;
        while (performance.now() < endMs);
      }
      await new Promise((resolve) => setTimeout(resolve, 300));
      expect([...states.values()].filter(({ state }) => state !== 'passing')).toEqual([]);
      expect(freezes[0]).toMatchObject({ frozen: true, reason: 'event-loop-lag' });
    } finally {
      child.kill('SIGKILL');
    }
  });

  it('ejects nobody when it runs out of file descriptors, and says so', async () => {
    const { port } = await spoilable();
    const from = (path: string): string => JSON.stringify(new URL(`../../src/${path}`, import.meta.url).href);
    const program = `
      import { Prober } from ${from('health/prober.ts')};
      import { createProbeFactory } from ${from('health/probes/create.ts')};
      import { systemClock } from ${from('core/clock.ts')};
      import { systemRandom } from ${from('core/random.ts')};
      const failing = new Set(), passing = new Set(), reasons = new Set();
      const prober = new Prober({
        clock: systemClock, random: systemRandom, createProbe: createProbeFactory({ clock: systemClock }),
        onVerdict: (key, state) => (state === 'failing' ? failing : passing).add(key),
        onFreeze: (event) => event.frozen && reasons.add(event.reason),
      });
      const check = { type: 'http', name: 'http', path: '/', method: 'GET', statuses: [[200, 299]], headers: [], verifyTls: true,
        intervalMs: 500, timeoutMs: 2000, fastIntervalMs: 100, healthyThreshold: 1, unhealthyThreshold: 1, jitter: 0.2 };
      for (let key = 0; key < 200; key++) {
        prober.track({ key, instance: { service: 'web', id: 'web-' + key, host: '127.0.0.1', port: ${port} }, checks: [check] });
      }
      const endMs = performance.now() + 12_000;
      const timer = setInterval(() => {
        const complete = passing.size === 200 && reasons.has('out-of-resources');
        if (!complete && performance.now() < endMs) return;
        clearInterval(timer);
        console.log(JSON.stringify({ failing: failing.size, passing: passing.size, reasons: [...reasons] }));
        prober.stop();
      }, 50);
    `;
    const { stdout } = await promisify(execFile)('sh', [
      '-c',
      'ulimit -n 80; exec "$0" --input-type=module -e "$1"',
      process.execPath,
      program,
    ]);
    const seen = JSON.parse(stdout) as { failing: number; passing: number; reasons: string[] };
    expect(seen.failing).toBe(0);
    expect(seen.passing).toBe(200);
    expect(seen.reasons).toContain('out-of-resources');
  });
});
