import { describe, expect, it } from 'vitest';
import type { RegistryConfig } from '../../src/config/config.ts';
import { load, mistakes } from './load-text.ts';

function registry(text: string): RegistryConfig {
  const [first] = load(`registries:\n  - ${text}`).registries;
  if (!first) throw new Error('no registry');
  return first;
}

const COMMON = {
  guard: { enabled: true, maxLoss: 0.5, confirmAfterMs: 1000, deadlineMs: 30_000, windowMs: 5000, minBurst: 5 },
  relistIntervalMs: 300_000,
};
const ALL = { kind: 'all', prefix: '' };
const NO_TLS = { caFile: undefined, certFile: undefined, keyFile: undefined, verify: true, serverName: undefined };

describe('a registry of each type has defaults for all that can have one', () => {
  it.each<[string, unknown]>([
    ['embedded', { services: ALL, listen: [{ host: '127.0.0.1', port: 8761 }], dataDir: './data', token: undefined }],
    [
      'consul',
      {
        services: ALL,
        address: 'http://127.0.0.1:8500',
        token: undefined,
        datacenter: undefined,
        namespace: undefined,
        partition: undefined,
        tags: [],
        filter: undefined,
        consistency: 'default',
        waitMs: 55_000,
        tls: NO_TLS,
      },
    ],
    [
      'etcd',
      {
        services: ALL,
        endpoints: ['http://127.0.0.1:2379'],
        prefix: '/services/',
        layout: 'auto',
        credentials: undefined,
        tls: NO_TLS,
      },
    ],
    [
      'zookeeper',
      {
        services: ALL,
        servers: [{ host: '127.0.0.1', port: 2181 }],
        chroot: '',
        path: '/services',
        layout: 'auto',
        auth: undefined,
        sessionTimeoutMs: 10_000,
      },
    ],
    [
      'eureka',
      {
        services: ALL,
        urls: ['http://127.0.0.1:8761/eureka'],
        zone: undefined,
        useSecurePort: false,
        pollIntervalMs: 5000,
        tls: NO_TLS,
      },
    ],
    [
      'kubernetes',
      {
        services: ALL,
        namespaces: ['default'],
        kubeconfig: undefined,
        context: undefined,
        port: undefined,
        labelSelector: undefined,
      },
    ],
    ['file', { services: ALL, path: './instances.d' }],
  ])('%s', (type, expected) => {
    expect(registry(`type: ${type}`)).toStrictEqual({ type, name: type, ...COMMON, ...(expected as object) });
  });

  it('dns', () => {
    const text = '{ type: dns, servers: [10.0.0.2, "[::1]:5353"], services: { a: _a._tcp.x, b: "B.x:80" } }';
    expect(registry(text)).toStrictEqual({
      type: 'dns',
      name: 'dns',
      ...COMMON,
      servers: [
        { host: '10.0.0.2', port: 53 },
        { host: '::1', port: 5353 },
      ],
      services: new Map([
        ['a', { kind: 'srv', name: '_a._tcp.x' }],
        ['b', { kind: 'address', name: 'b.x', port: 80 }],
      ]),
      tcp: false,
      minTtlMs: 5000,
    });
    expect(registry('{ type: dns, services: {} }')).toMatchObject({ servers: [] });
  });

  it('static', () => {
    const made = registry(
      '{ type: static, services: { a: ["10.0.0.7:80", { host: "::1", port: 81, weight: 2, secure: true, metadata: { k: v } }], b: [] } }',
    );
    expect(made).toMatchObject({ type: 'static', name: 'static' });
    if (made.type !== 'static') throw new Error('not static');
    expect(made.services.get('b')).toEqual([]);
    expect(made.services.get('a')).toMatchObject([
      { id: '10.0.0.7-80', service: 'a', host: '10.0.0.7', port: 80, weight: 1, secure: false, state: 'up' },
      { id: '--1-81', service: 'a', host: '::1', port: 81, weight: 2, secure: true, metadata: new Map([['k', 'v']]) },
    ]);
  });
});

describe('which services of a registry are taken over', () => {
  it.each<[string, unknown]>([
    ['{ type: consul }', { kind: 'all', prefix: '' }],
    ['{ type: consul, servicePrefix: c- }', { kind: 'all', prefix: 'c-' }],
    [
      '{ type: consul, services: [a, b] }',
      {
        kind: 'named',
        theirs: new Map([
          ['a', 'a'],
          ['b', 'b'],
        ]),
      },
    ],
    ['{ type: consul, services: [a], servicePrefix: c- }', { kind: 'named', theirs: new Map([['c-a', 'a']]) }],
    [
      '{ type: consul, services: { pay: payment }, servicePrefix: c- }',
      { kind: 'named', theirs: new Map([['pay', 'payment']]) },
    ],
    ['{ type: consul, services: [] }', { kind: 'named', theirs: new Map() }],
    // etcd's own `prefix` is one of keys, and no part of a name.
    ['{ type: etcd, prefix: /svc }', { kind: 'all', prefix: '' }],
  ])('%s', (text, expected) => {
    expect(registry(text)).toMatchObject({ services: expected });
  });
});

describe('addresses and credentials', () => {
  it('one address may stand alone, and loses a slash at its end', () => {
    expect(
      registry('{ type: etcd, endpoints: "https://e:2379/", prefix: /svc, username: me, password: pw }'),
    ).toMatchObject({
      endpoints: ['https://e:2379'],
      prefix: '/svc/',
      credentials: { user: 'me', password: 'pw' },
    });
    expect(registry('{ type: eureka, urls: "http://e:8761/eureka/" }')).toMatchObject({
      urls: ['http://e:8761/eureka'],
    });
  });

  it('ZooKeeper servers have a default port, and a chroot behind the last', () => {
    expect(
      registry('{ type: zookeeper, connect: "a, b:2182/app/x/", path: /s/, auth: { user: u, password: p } }'),
    ).toMatchObject({
      servers: [
        { host: 'a', port: 2181 },
        { host: 'b', port: 2182 },
      ],
      chroot: '/app/x',
      path: '/s',
      auth: { user: 'u', password: 'p' },
    });
  });

  it('a port of Kubernetes is a name or a number', () => {
    expect(registry('{ type: kubernetes, port: http }')).toMatchObject({ port: 'http' });
    expect(registry('{ type: kubernetes, port: 8080 }')).toMatchObject({ port: 8080 });
  });

  it.each([
    '{ type: consul, address: "127.0.0.1:8500" }',
    '{ type: consul, address: "http://h:8500?dc=x" }',
    '{ type: consul, token: "a b" }',
    '{ type: etcd, username: me }',
    '{ type: etcd, endpoints: [] }',
    '{ type: zookeeper, connect: "" }',
    '{ type: zookeeper, connect: "a:0" }',
    '{ type: zookeeper, connect: "a/x//y" }',
    '{ type: zookeeper, path: services }',
    '{ type: zookeeper, auth: { scheme: sasl, user: a, password: b } }',
    '{ type: kubernetes, namespaces: [a b] }',
    '{ type: dns, services: { a: "10.0.0.1:80" } }',
    '{ type: dns, servers: ns.internal, services: {} }',
    '{ type: static, services: { a: [{ host: x, port: 0 }] } }',
    '{ type: static, services: { a: [{ host: x, port: 1, weight: 0 }] } }',
    '{ type: static, services: { a: ["x:1", { host: y, port: 1, id: x-1 }] } }',
    '{ type: static, services: { a: } }',
  ])('%s is refused', (text) => {
    expect(mistakes(`registries:\n  - ${text}`)).toHaveLength(1);
  });
});
