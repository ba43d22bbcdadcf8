import { describe, expect, it } from 'vitest';
import type { Config } from '../../src/config/config.ts';
import { load } from './load-text.ts';

/** What operators are promised. A change here is a change of the contract. */
const PROMISED: Config = {
  gateway: {
    listen: [{ host: '0.0.0.0', port: 8080 }],
    domain: 'localhost',
    trustedProxies: [],
    accessLog: { to: 'stdout', path: undefined },
    allowUnderscoreHeaders: false,
    limits: {
      headBytes: 32_768,
      headFields: 100,
      targetBytes: 8192,
      connections: 16_384,
      requests: 16_384,
      instances: 131_072,
      services: 16_384,
      bodyMinBytesPerSecond: 240,
      threadMemoryBytes: 2 ** 30,
    },
    timeouts: { requestHeadMs: 10_000, keepAliveMs: 65_000, bodyIdleMs: 60_000, bodyGraceMs: 10_000 },
    upstreamAddresses: { allow: [], deny: [], allowLoopback: false, ports: [] },
    watchConfig: false,
    stateDir: './data/state',
  },
  workers: 'auto',
  admin: { listen: { host: '127.0.0.1', port: 9901 }, token: undefined },
  registries: [
    {
      type: 'embedded',
      name: 'local',
      guard: { enabled: true, maxLoss: 0.5, confirmAfterMs: 1000, deadlineMs: 30_000, windowMs: 5000, minBurst: 5 },
      relistIntervalMs: 300_000,
      services: { kind: 'all', prefix: '' },
      listen: [{ host: '127.0.0.1', port: 8761 }],
      dataDir: './data',
      token: undefined,
    },
  ],
  defaultPolicy: {
    hosts: [],
    balancer: 'p2c',
    checks: [
      {
        type: 'tcp',
        name: 'tcp',
        port: undefined,
        trafficAsEvidence: true,
        intervalMs: 5000,
        timeoutMs: 2000,
        healthyThreshold: 2,
        unhealthyThreshold: 3,
        fastIntervalMs: 1000,
        jitter: 0.2,
      },
    ],
    breaker: {
      enabled: true,
      consecutiveFailures: 5,
      failureRate: 0.5,
      minimumAttempts: 20,
      windowMs: 10_000,
      openMs: 5000,
      maxOpenMs: 60_000,
      failureStatuses: new Set([502, 503, 504]),
    },
    retry: { attempts: 2, budget: 0.2, budgetMinPerSecond: 3, maxBodyBytes: 65_536 },
    availability: {
      mode: 'strict',
      panicThreshold: 0.5,
      minHealthy: 0,
      panicMode: 'route',
      maxEjectedShare: 0.5,
      degradedWeight: 0.5,
    },
    fallback: [],
    outliers: {
      successRate: 'observe',
      latency: 'observe',
      intervalMs: 10_000,
      minInstances: 5,
      minRequests: 100,
      stdevFactor: 1.9,
      minRateGap: 0.05,
      latencyFactor: 3,
      minLatencyGapMs: 100,
      ejectionMs: 30_000,
      maxEjectionMs: 300_000,
    },
    slowStart: { durationMs: 0, curve: 'linear', minShare: 0.1 },
    hang: { enabled: true, minWaitMs: 1000, p99Factor: 10, crowd: 5, crowdFactor: 1.5, crowdMinWaitMs: 250 },
    timeouts: { connectMs: 1000, responseHeadMs: 30_000, bodyIdleMs: 60_000, tunnelIdleMs: 600_000 },
    maxInflightPerInstance: 0,
    adaptiveLimit: false,
    queue: { size: 1000, timeoutMs: 1000 },
    maxIdleConnections: 64,
    websocket: true,
  },
  services: new Map(),
  shutdown: { acceptForMs: 5000, drainMs: 30_000 },
  log: { level: 'info', destination: { to: 'stderr', path: undefined } },
  metrics: { perInstance: true },
};

describe('an empty file', () => {
  it('is a gateway with the defaults that are promised', () => {
    expect(load('')).toStrictEqual(PROMISED);
  });

  it.each(['{}', '# nothing but a comment', 'gateway:\ndefaults:\nservices:\nregistries:\n', '---\n...\n'])(
    'is the same as %j',
    (text) => {
      expect(load(text)).toStrictEqual(PROMISED);
    },
  );
});

describe('the configuration', () => {
  it('can be handed to a thread', () => {
    const config = load('services: { a: { hosts: [x.example] } }');
    expect(structuredClone(config)).toEqual(config);
  });

  it('holds http checks to 200 to 399 unless told otherwise', () => {
    expect(load('defaults: { health: { type: http } }').defaultPolicy.checks).toMatchObject([
      {
        type: 'http',
        path: '/',
        method: 'GET',
        statuses: [[200, 399]],
        headers: [],
        bodyContains: undefined,
        host: undefined,
        verifyTls: true,
      },
    ]);
  });

  it('never lets the fast interval be slower than the interval', () => {
    expect(load('defaults: { health: { interval: 300ms } }').defaultPolicy.checks[0]?.fastIntervalMs).toBe(300);
  });

  it('keeps what cannot exceed something else within it', () => {
    const config = load('gateway: { limits: { headBytes: 2KiB } }\ndefaults: { breaker: { open: 2m } }');
    expect(config.gateway.limits.targetBytes).toBe(2048);
    expect(config.defaultPolicy.breaker.maxOpenMs).toBe(120_000);
  });

  it('knows where logs go', () => {
    const config = load('gateway: { accessLog: off }\nlog: { destination: /var/log/fairlead.log }');
    expect(config.gateway.accessLog).toBe('off');
    expect(config.log.destination).toEqual({ to: 'file', path: '/var/log/fairlead.log' });
  });

  it('reads address rules as ranges and networks', () => {
    const text = 'gateway: { upstreamAddresses: { allow: [10.0.0.0/8, 10.1.2.3], ports: [80, "8000-8999"] } }';
    expect(load(text).gateway.upstreamAddresses).toEqual({
      allow: ['10.0.0.0/8', '10.1.2.3/32'],
      deny: [],
      allowLoopback: false,
      ports: [
        [80, 80],
        [8000, 8999],
      ],
    });
  });
});
