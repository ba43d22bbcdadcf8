import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { mergePolicy } from '../../src/config/merge-policy.ts';
import { load } from './load-text.ts';

describe('a service', () => {
  it('overrides any part of the defaults, and keeps the rest', () => {
    const config = load(`
defaults:
  balancer: round-robin
  breaker: { consecutiveFailures: 7, open: 2s }
  timeouts: { connect: 500ms, responseHead: 10s }
  retry: { maxBody: 1KiB }
services:
  reports:
    timeouts: { responseHead: 5m }
    breaker: { failureStatuses: [500] }
`);
    const policy = config.services.get('reports');
    expect(policy?.balancer).toBe('round-robin');
    expect(policy?.timeouts).toEqual({
      connectMs: 500,
      responseHeadMs: 300_000,
      bodyIdleMs: 60_000,
      tunnelIdleMs: 600_000,
    });
    expect(policy?.breaker).toMatchObject({ consecutiveFailures: 7, openMs: 2000, failureStatuses: new Set([500]) });
    expect(policy?.retry).toEqual(config.defaultPolicy.retry);
    expect(config.defaultPolicy.timeouts.responseHeadMs).toBe(10_000);
  });

  it('may name addresses that stand in for its instances, each once', () => {
    const config = load(
      'services: { a: { fallback: ["10.0.0.7:80", "[2001:DB8::7]:80", "10.0.0.7:80"] }, b: { fallback: x.y:1 } }',
    );
    expect(config.services.get('a')?.fallback).toEqual([
      { host: '10.0.0.7', port: 80 },
      { host: '2001:db8::7', port: 80 },
    ]);
    expect(config.services.get('b')?.fallback).toEqual([{ host: 'x.y', port: 1 }]);
    expect(config.defaultPolicy.fallback).toEqual([]);
  });

  it('has an availability mode and a minimum of its own', () => {
    const config = load('services: { a: { availability: { mode: trust-probes, minHealthy: 2 } } }');
    expect(config.services.get('a')?.availability).toEqual({
      ...config.defaultPolicy.availability,
      mode: 'trust-probes',
      minHealthy: 2,
    });
  });

  it('that is only named is as the defaults say', () => {
    const config = load('defaults: { balancer: random }\nservices:\n  a:\n  b: {}\n  c: ~');
    expect([...config.services.keys()]).toEqual(['a', 'b', 'c']);
    for (const policy of config.services.values()) expect(policy).toEqual(config.defaultPolicy);
  });

  it('may take its parts from anchors', () => {
    const config = load(
      'defaults: { health: &h { type: http, path: /h } }\nservices: { a: { health: [*h, { type: tcp }] } }',
    );
    expect(config.services.get('a')?.checks).toMatchObject([{ type: 'http', path: '/h' }, { type: 'tcp' }]);
  });
});

describe('a check of a service', () => {
  const defaults =
    'defaults: { health: { type: http, path: /live, interval: 2s, headers: { x-a: "1" }, unhealthyThreshold: 5 } }\n';
  const checksOf = (health: string): unknown =>
    load(`${defaults}services: { a: { health: ${health} } }`).services.get('a')?.checks;

  it('takes all that it leaves out from a check of the same type', () => {
    expect(checksOf('{ path: /ready }')).toMatchObject([
      { type: 'http', path: '/ready', intervalMs: 2000, unhealthyThreshold: 5, headers: [['x-a', '1']] },
    ]);
  });

  it('keeps path and expectations when http becomes https', () => {
    expect(checksOf('{ type: https }')).toMatchObject([{ type: 'https', path: '/live', intervalMs: 2000 }]);
  });

  it('says by whom a gRPC server is vouched for, and whether traffic counts', () => {
    const check =
      '{ type: grpc, tls: true, host: pay.example, verifyTls: false, ca: /ca.pem, trafficAsEvidence: true }';
    expect(checksOf(check)).toMatchObject([
      { tls: true, host: 'pay.example', verifyTls: false, caFile: '/ca.pem', trafficAsEvidence: true },
    ]);
    expect(checksOf('[{ type: tcp }, { type: https, ca: /ca.pem }, { type: ttl }]')).toMatchObject([
      { trafficAsEvidence: true },
      { trafficAsEvidence: false, caFile: '/ca.pem' },
      { trafficAsEvidence: false },
    ]);
  });

  it('takes the timing alone from a check of another type', () => {
    expect(checksOf('{ type: grpc, interval: 1s }')).toMatchObject([
      { type: 'grpc', grpcService: '', tls: false, intervalMs: 1000, unhealthyThreshold: 5 },
    ]);
  });

  it('does so in a list as well', () => {
    expect(
      checksOf('[{ path: /a }, { type: tcp, port: 81 }, { type: script, command: [true-ish, "-x"] }]'),
    ).toMatchObject([
      { name: 'http', type: 'http', path: '/a', intervalMs: 2000 },
      { name: 'tcp', type: 'tcp', port: 81, intervalMs: 2000 },
      { name: 'script', type: 'script', command: ['true-ish', '-x'], intervalMs: 2000 },
    ]);
  });

  it('gets a name of its own where another has its type', () => {
    expect(checksOf('[{ type: tcp, name: tcp-2 }, { type: tcp }, { type: tcp, port: 1 }]')).toMatchObject([
      { name: 'tcp-2' },
      { name: 'tcp' },
      { name: 'tcp-3' },
    ]);
  });

  it('takes nothing where the defaults are a list', () => {
    const text =
      'defaults: { health: [{ type: http, interval: 1s }] }\nservices: { a: { health: { timeout: 1s } }, b: {} }';
    const { services } = load(text);
    expect(services.get('a')?.checks).toMatchObject([{ type: 'tcp', intervalMs: 5000, timeoutMs: 1000 }]);
    expect(services.get('b')?.checks).toMatchObject([{ type: 'http', intervalMs: 1000 }]);
  });

  it('may be none at all', () => {
    expect(checksOf('[]')).toEqual([]);
  });
});

describe('merging', () => {
  const leaf = fc.oneof(fc.integer(), fc.boolean(), fc.array(fc.integer(), { maxLength: 2 }));
  const key = fc.constantFrom('a', 'b', 'c', 'd');
  const part = fc.dictionary(key, fc.oneof(leaf, fc.dictionary(key, leaf)));

  it('of nothing changes nothing, and merging twice is merging once', () => {
    fc.assert(
      fc.property(part, part, (defaults, service) => {
        expect(mergePolicy(defaults, {})).toEqual(defaults);
        expect(mergePolicy({}, service)).toEqual(service);
        const merged = mergePolicy(defaults, service);
        expect(mergePolicy(merged, service)).toEqual(merged);
      }),
    );
  });
});
