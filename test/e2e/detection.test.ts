import { readFileSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import net, { type AddressInfo, type Server, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { parseDuration } from '../../src/core/units.ts';
import { eventually, GatewayProcess, pause, Traffic } from './world.ts';

vi.setConfig({ testTimeout: 120_000 });

const stops: (() => Promise<unknown>)[] = [];
afterAll(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

interface Event {
  readonly wall: number;
  readonly kind: string;
  readonly service: string;
  readonly instance: string;
  readonly to: string;
  readonly cause: string;
}

async function eventsOf(gateway: GatewayProcess, after = 0): Promise<Event[]> {
  const response = await fetch(`${gateway.admin}/api/events?limit=1000`);
  const { events } = (await response.json()) as { events: Event[] };
  return events.filter(({ wall }) => wall >= after);
}

/** A server on a free port, and what breaks it. */
interface Breakable {
  readonly port: number;
  readonly break: () => void;
}

const CERTIFICATES = new URL('../health/probes/certificates/', import.meta.url);
const pem = (name: string): string => readFileSync(new URL(name, CERTIFICATES), 'utf8');

async function listening(
  server: Server | http2.Http2Server,
  breaks: (sockets: Set<Socket>) => void,
): Promise<Breakable> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  stops.push(async () => {
    for (const socket of sockets) socket.destroy();
    if (server.listening) await new Promise((resolve) => server.close(resolve));
  });
  return { port: (server.address() as AddressInfo).port, break: () => breaks(sockets) };
}

const FAULTS: Readonly<Record<string, { readonly check: string; readonly says: string; start(): Promise<Breakable> }>> =
  {
    refused: {
      check: 'type: tcp',
      says: 'tcp: connection refused',
      async start() {
        const server = net.createServer((socket) => socket.resume());
        return listening(server, (sockets) => {
          server.close();
          for (const socket of sockets) socket.destroy();
        });
      },
    },
    hung: {
      check: 'type: http, path: /health',
      says: 'http: no answer within 400ms',
      async start() {
        let hangs = false;
        return listening(
          http.createServer((_, response) => !hangs && response.end('fine')),
          () => (hangs = true),
        );
      },
    },
    'wrong-status': {
      check: 'type: http, path: /health, expect: [200]',
      says: 'http: status 503, expected 200',
      async start() {
        let status = 200;
        return listening(
          http.createServer((_, response) => response.writeHead(status).end()),
          () => (status = 503),
        );
      },
    },
    tls: {
      check: `type: https, path: /health, ca: '${fileURLToPath(new URL('ca.pem', CERTIFICATES))}'`,
      says: 'https: TLS: the certificate has expired',
      async start() {
        const key = pem('server.key');
        const server = https.createServer({ key, cert: pem('valid.pem') }, (_, response) => response.end('fine'));
        server.on('tlsClientError', () => undefined);
        return listening(server, (sockets) => {
          server.setSecureContext({ key, cert: pem('expired.pem') });
          // As a restart with that certificate would: kept connections know nothing of it.
          for (const socket of sockets) socket.destroy();
        });
      },
    },
    grpc: {
      check: 'type: grpc, grpcService: acme.Payment',
      says: 'grpc: NOT_SERVING',
      async start() {
        let status = 1;
        const server = http2.createServer();
        server.on('session', (session) => session.on('error', () => session.destroy()));
        server.on('stream', (stream) => {
          stream.on('error', () => stream.destroy());
          stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
          stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
          stream.end(Buffer.from([0, 0, 0, 0, 2, 8, status]));
        });
        return listening(server, () => (status = 2));
      },
    },
  };

/** Their places in the interval differ, so that the worst of them comes near the worst there is. */
const INSTANCES_EACH = 8;
const TIMING = 'interval: 1s, timeout: 400ms, fastInterval: 500ms, unhealthyThreshold: 3';
/** The prober's own delay on a busy machine. */
const SLACK_MS = 300;
/** A prober that says that it could not tell (the machine stood still) has promised nothing meanwhile. */
const ATTEMPTS = 3;

interface Detection {
  /** By fault: from the fault to the verdict, of the slowest instance. */
  readonly worstMs: ReadonlyMap<string, number>;
  readonly causes: ReadonlyMap<string, ReadonlySet<string>>;
  readonly frozen: boolean;
}

async function breakAll(
  gateway: GatewayProcess,
  servers: ReadonlyMap<string, readonly Breakable[]>,
): Promise<Detection> {
  const discardedBefore = await discardedProbes(gateway);
  const brokenWall = Date.now();
  for (const each of [...servers.values()].flat()) each.break();
  const failed = await eventually('every verdict is failing', async () => {
    const events = (await eventsOf(gateway, brokenWall)).filter(({ kind, to }) => kind === 'probe' && to === 'failing');
    return events.length === servers.size * INSTANCES_EACH && events;
  });
  const worstMs = new Map<string, number>();
  const causes = new Map<string, Set<string>>();
  for (const { service, wall, cause } of failed) {
    worstMs.set(service, Math.max(worstMs.get(service) ?? 0, wall - brokenWall));
    causes.set(service, (causes.get(service) ?? new Set()).add(cause.replace(/ \(\d+ in a row\)$/, '')));
  }
  return { worstMs, causes, frozen: (await discardedProbes(gateway)) > discardedBefore };
}

async function discardedProbes(gateway: GatewayProcess): Promise<number> {
  const text = await (await fetch(`${gateway.admin}/metrics`)).text();
  return [...text.matchAll(/^fairlead_probes_total\{.*result="discarded".*\} (\d+)/gm)].reduce(
    (sum, [, count]) => sum + Number(count),
    0,
  );
}

async function detectionOf(): Promise<{ promisedMs: ReadonlyMap<string, number | undefined>; detection: Detection }> {
  const names = Object.keys(FAULTS);
  const servers = new Map<string, Breakable[]>();
  for (const name of names) {
    servers.set(name, await Promise.all(Array.from({ length: INSTANCES_EACH }, () => FAULTS[name]!.start())));
  }
  const list = (name: string): string =>
    servers
      .get(name)!
      .map(({ port }) => `'127.0.0.1:${port}'`)
      .join(', ');
  const gateway = await GatewayProcess.start({
    registries: `[{ name: fixed, type: static, services: { ${names.map((name) => `${name}: [${list(name)}]`).join(', ')} } }]`,
    extra: `services:\n${names.map((name) => `  ${name}: { health: { ${FAULTS[name]!.check}, ${TIMING} } }\n`).join('')}`,
  });
  try {
    for (const name of names) await gateway.serving(name, INSTANCES_EACH);
    const checked = await gateway.cli('check', '-c', gateway.configFile);
    const promisedMs = new Map(
      names.map((name) => [name, parseDuration(new RegExp(`^${name} +(\\w+) `, 'm').exec(checked.output)?.[1] ?? '')]),
    );
    return { promisedMs, detection: await breakAll(gateway, servers) };
  } finally {
    // Before another attempt: what it costs would be missing then.
    await gateway.stop();
  }
}

describe('a verdict', () => {
  it.concurrent(
    'comes within the time that `fairlead check` prints for an instance that refuses, hangs, answers wrongly, has a bad certificate or says that it does not serve',
    async () => {
      for (let attempt = 1; ; attempt++) {
        const { promisedMs, detection } = await detectionOf();
        // Others may be among them where the servers, which are in this process, were late themselves.
        for (const [name, { says }] of Object.entries(FAULTS))
          expect([...(detection.causes.get(name) ?? [])], name).toContain(says);
        if (detection.frozen && attempt < ATTEMPTS) continue;
        for (const name of Object.keys(FAULTS)) {
          expect(promisedMs.get(name)).toBe(3400);
          expect(detection.worstMs.get(name), name).toBeLessThanOrEqual(3400 + SLACK_MS);
        }
        return;
      }
    },
  );

  it.concurrent('against nobody follows from ten seconds for which the gateway itself stood still', async () => {
    const gateway = await GatewayProcess.start({
      extra: `services: { web: { health: { type: http, path: /health, interval: 500ms, timeout: 2s, fastInterval: 100ms, unhealthyThreshold: 1 } } }`,
    });
    stops.push(() => gateway.stop());
    const instances = await Promise.all(
      Array.from({ length: 6 }, () =>
        // Slow enough for some of the probes and requests to be under way at any time.
        listening(
          http.createServer({ keepAliveTimeout: 60_000 }, (_, response) => setTimeout(() => response.end('fine'), 200)),
          () => undefined,
        ),
      ),
    );
    const ids: string[] = [];
    for (const { port } of instances)
      ids.push(await gateway.register({ serviceName: 'web', host: '127.0.0.1', port, ttl: '1s' }));
    const beat = (): void => {
      for (const id of ids) void gateway.api('PUT', `/heartbeat/${id}`).catch(() => undefined);
    };
    beat();
    const heart = setInterval(beat, 300);
    stops.push(() => {
      clearInterval(heart);
      return Promise.resolve();
    });
    await gateway.serving('web', instances.length);
    const traffic = new Traffic(gateway, { perSecond: 20 });
    await pause(1000);
    const stoppedWall = Date.now();
    gateway.process.signal('SIGSTOP');
    await pause(10_000);
    gateway.process.signal('SIGCONT');
    await pause(2000);
    const tally = await traffic.stop();
    const against = (await eventsOf(gateway, stoppedWall)).filter(({ kind }) =>
      ['probe', 'ejection', 'breaker', 'registered', 'deregistered'].includes(kind),
    );
    expect(against, gateway.process.output.slice(-3000)).toEqual([]);
    await gateway.serving('web', instances.length);
    expect(gateway.process.output).toContain('probe verdicts are frozen');
    expect(tally.failures).toEqual([]);
  });
});
