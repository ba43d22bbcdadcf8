import { describe, expect, it } from 'vitest';
import { mistakes } from './load-text.ts';

const TYPES = 'embedded, consul, etcd, zookeeper, eureka, kubernetes, dns, file, static';

/** What, the text, and every mistake that must be reported: no more, no fewer. */
const CASES: readonly (readonly [string, string, readonly string[]])[] = [
  ['an unknown key at the top', 'gatway: {}', ['1:1 gatway: unknown key; did you mean gateway?']],
  ['a key in the wrong place', 'health: { type: tcp }', ['1:1 health: belongs under `defaults`, or under a service']],
  [
    'an unknown key that resembles none',
    'admin:\n  listen: "127.0.0.1:1"\n  colour: red',
    ['3:3 admin.colour: unknown key; known here: listen, token'],
  ],
  [
    'an unknown key deep inside',
    'services:\n  pay:\n    health:\n      tipe: http',
    ['4:7 services.pay.health.tipe: unknown key; did you mean type?'],
  ],
  [
    'a key of another type of check',
    'services: { pay: { health: { type: tcp, path: /x } } }',
    ['1:41 services.pay.health.path: belongs to checks of `type: http`'],
  ],
  [
    'fallback under defaults, and without a port',
    'defaults:\n  fallback: a.example:80\nservices: { a: { fallback: [a.example] } }',
    [
      '2:3 defaults.fallback: belongs to a service under `services`: its addresses must be able to stand in for that one',
      '3:29 services.a.fallback[0]: wants an address such as 10.0.0.7:8080, app.internal:80 or [2001:db8::7]:8080',
    ],
  ],
  [
    'hosts under defaults',
    'defaults:\n  hosts: [a.example]',
    ['2:3 defaults.hosts: belongs to a service under `services`: a host name leads to one service'],
  ],
  [
    'a duration without a unit',
    'defaults:\n  health:\n    interval: 5',
    ['3:15 defaults.health.interval: wants a duration such as 250ms, 5s, 1m or 2h'],
  ],
  [
    'a size where a duration belongs',
    'defaults: { timeouts: { connect: 16KiB } }',
    ['1:34 defaults.timeouts.connect: wants a duration such as 250ms, 5s, 1m or 2h'],
  ],
  [
    'a duration where a size belongs',
    'gateway: { limits: { headBytes: 5s } }',
    ['1:33 gateway.limits.headBytes: wants a size such as 512B, 16KiB or 1MiB'],
  ],
  [
    'a duration out of range',
    'defaults: { health: { interval: 2h } }',
    ['1:33 defaults.health.interval: must be from 10ms to 1h'],
  ],
  [
    'a count out of range',
    'defaults: { retry: { attempts: 11 } }',
    ['1:32 defaults.retry.attempts: must be a whole number from 0 to 10'],
  ],
  [
    'a fraction of a count',
    'defaults: { retry: { attempts: 1.5 } }',
    ['1:32 defaults.retry.attempts: wants a whole number'],
  ],
  ['a share above one', 'defaults: { retry: { budget: 120% } }', ['1:30 defaults.retry.budget: must be from 0 to 1']],
  [
    'a word that is none of the choices',
    'defaults: { balancer: p2 }',
    ['1:23 defaults.balancer: wants one of p2c, round-robin, random; did you mean p2c?'],
  ],
  ['a list where keys belong', 'gateway: [1]', ['1:10 gateway: wants keys and values, indented below it']],
  [
    'a word where a breaker or checks are to be switched off',
    'defaults: { breaker: off, health: none }',
    [
      '1:22 defaults.breaker: wants keys and values, indented below it, such as `enabled: false`',
      '1:35 defaults.health: wants a check, or a list of checks; [] for none',
    ],
  ],
  [
    'text where a list of services belongs',
    'services: pay',
    ['1:11 services: wants a map from service names to their policies'],
  ],
  ['no keys at all', '- 1', ['1:1 : wants keys such as `gateway:` and `registries:` at the top']],
  [
    'authorities where no TLS is spoken',
    'defaults: { health: [{ type: grpc, ca: a.pem }, { type: http, ca: a.pem }] }',
    [
      '1:40 defaults.health[0].ca: has no meaning without `tls: true`',
      '1:67 defaults.health[1].ca: has no meaning without `type: https`',
    ],
  ],
  [
    'traffic as evidence of a check that asks nothing',
    'defaults: { health: { type: ttl, trafficAsEvidence: true } }',
    [
      '1:34 defaults.health.trafficAsEvidence: unknown key; known here: type, name, port, interval, timeout, healthyThreshold, unhealthyThreshold, fastInterval, jitter',
    ],
  ],
  [
    'a type of check that there is not',
    'defaults: { health: { type: htp } }',
    ['1:29 defaults.health.type: wants one of tcp, http, https, grpc, script, ttl; did you mean http?'],
  ],
  [
    'a registry without a type',
    'registries:\n  - name: a',
    [`2:5 registries[0].type: is missing; wants one of ${TYPES}`],
  ],
  ['no registry', 'registries: []', ['1:13 registries: needs at least one registry']],
  [
    'a missing key that has no default',
    'registries:\n  - { type: static }',
    ['2:5 registries[0].services: is missing'],
  ],
  [
    'a listener without a host',
    'gateway:\n  listen: [":8080"]',
    ['2:12 gateway.listen[0]: wants a host before the port: 0.0.0.0:8080 listens on every address'],
  ],
  [
    'IPv6 without brackets',
    'gateway: { listen: "::1:80" }',
    ['1:20 gateway.listen: wants an address to listen on such as 127.0.0.1:8080, 0.0.0.0:80 or [::1]:8080'],
  ],
  [
    'a CIDR with host bits',
    'gateway:\n  trustedProxies:\n    - 10.0.0.0/8\n    - 10.0.0.1/8',
    [
      '4:7 gateway.trustedProxies[1]: is ambiguous: bits behind the prefix are set. The network is 10.0.0.0/8, the one address 10.0.0.1/32',
    ],
  ],
  [
    'a host name with a port',
    'services: { a: { hosts: ["x.example:80"] } }',
    ['1:26 services.a.hosts[0]: wants a host name without a port: every port of the gateway serves it'],
  ],
  [
    'a host name outside of ASCII',
    'services: { a: { hosts: ["bücher.example"] } }',
    [
      '1:26 services.a.hosts[0]: wants a host name without port, such as pay.example.com or *.pay.example.com, in ASCII (the xn-- form)',
    ],
  ],
  [
    'a service name that is none',
    'services:\n  "a b": {}',
    [
      '2:3 services."a b": wants a name: 1 to 128 characters of A-Z a-z 0-9 . _ - (and not ".", "..", "__proto__", "constructor")',
    ],
  ],
  [
    'one host name for two services',
    'services:\n  a: { hosts: [x.example] }\n  b: { hosts: [y.example, X.example] }',
    ['3:27 services.b.hosts[1]: x.example leads to the service a already'],
  ],
  [
    'a host name that another service has by its domain',
    'gateway: { domain: Example.com }\nservices:\n  a: { hosts: [b.example.com] }\n  b: {}',
    ['3:16 services.a.hosts[0]: b.example.com leads to the service b already'],
  ],
  [
    'two services whose names differ in capitals only',
    'services:\n  pay: {}\n  Pay: {}',
    ['3:3 services.Pay: answers at pay.localhost, as the service pay does: host names know no capitals'],
  ],
  [
    'a wildcard that takes the names of all services',
    'gateway: { domain: svc.example.com }\nservices:\n  a: { hosts: ["*.example.com", "*.b.example.com"] }',
    [
      '3:16 services.a.hosts[0]: takes every name under svc.example.com, which is `gateway.domain`, and so those of all other services',
    ],
  ],
  [
    'a service name that its prefix makes too long',
    `registries:\n  - { type: consul, servicePrefix: aaaaaaaa, services: [a, ${'b'.repeat(128)}] }`,
    ['2:60 registries[0].services[1]: is longer than 128 characters with `servicePrefix` before it'],
  ],
  [
    'two registries of one name',
    'registries:\n  - { type: consul, name: a }\n  - { type: etcd, name: a }',
    ['3:25 registries[1].name: is the name of another registry; logs and metrics could not tell them apart'],
  ],
  [
    'two registries of one type without names',
    'registries:\n  - type: consul\n  - type: consul\n    address: "http://b:8500"',
    ['3:5 registries[1]: needs a `name`: without one it is called by its type, as another registry is'],
  ],
  [
    'two listeners on one port',
    'gateway:\n  listen: ["0.0.0.0:9901"]',
    ['2:12 gateway.listen[0]: is where admin.listen listens by default: give one of them another port'],
  ],
  [
    'two listeners on one port, both in the file',
    'gateway:\n  listen: ["0.0.0.0:9901"]\nadmin: { listen: "127.0.0.1:9901" }',
    ['3:18 admin.listen: gateway.listen[0] listens on this port already'],
  ],
  [
    'an instance without a host',
    'registries: [{ type: static, services: { a: ":80" } }]',
    ['1:45 registries[0].services.a: wants an address such as 10.0.0.7:8080, app.internal:80 or [2001:db8::7]:8080'],
  ],
  [
    'one registry where a list of them belongs',
    'registries:\n  name: a\n  type: consul',
    ['2:3 registries: wants a list, each entry behind a dash: "- …"'],
  ],
  [
    'an embedded registry in the way of itself',
    'registries:\n  - { type: embedded, listen: ["127.0.0.1:8761", "localhost:8761"] }',
    ['2:50 registries[0].listen[1]: registries[0].listen[0] listens on this port already'],
  ],
  [
    'an admin listener off loopback without a token',
    'admin:\n  listen: 0.0.0.0:9901',
    [
      '2:11 admin.listen: can be reached from other machines, and whoever reaches it could drain your instances: set admin.token, or listen on 127.0.0.1',
    ],
  ],
  [
    'a registry listener off loopback without a token',
    'registries:\n  - type: consul\n  - type: embedded\n    listen: ["127.0.0.1:8761", "[::]:8762"]',
    [
      '4:32 registries[1].listen[1]: can be reached from other machines, and whoever reaches it could register instances and take over your traffic: set registries[1].token, or listen on 127.0.0.1',
    ],
  ],
  [
    'a certificate without its key',
    'registries:\n  - type: etcd\n    tls: { cert: a.pem }',
    ['3:10 registries[0].tls.key: is missing: `cert` and `key` go together'],
  ],
  [
    'credentials in a URL',
    'registries:\n  - { type: consul, address: "http://me:hunter2@host:8500" }',
    ['2:30 registries[0].address: must not carry credentials: URLs end up in logs; use the keys for them'],
  ],
  [
    'a DNS name without a port',
    'registries:\n  - { type: dns, services: { a: a.internal } }',
    [
      '2:33 registries[0].services.a: wants a port behind the name, such as web.example.com:8080: only SRV records say one',
    ],
  ],
  [
    'a static address twice',
    'registries:\n  - type: static\n    services:\n      a: ["10.0.0.1:80", { host: 10.0.0.1, port: 80 }]',
    ['4:26 registries[0].services.a[1]: is listed before in this service'],
  ],
  [
    'a body wanted of HEAD',
    'defaults: { health: { type: http, method: HEAD, bodyContains: ok } }',
    ['1:63 defaults.health.bodyContains: can never be found: the answer to HEAD has no body'],
  ],
  [
    'a mistake that only the merge with defaults shows',
    'defaults:\n  health: { type: http, bodyContains: ok }\nservices:\n  a:\n    health: { method: HEAD }',
    ['5:13 services.a.health.bodyContains: can never be found: the answer to HEAD has no body'],
  ],
  [
    'two checks of one name',
    'services: { a: { health: [{ type: tcp, name: x }, { type: http, name: x }] } }',
    ['1:71 services.a.health[1].name: is the name of an earlier check of this service'],
  ],
];

describe('a mistake is reported with its line, its column and what is wanted', () => {
  it.each(CASES)('%s', (_, text, expected) => {
    expect(mistakes(text)).toEqual(expected);
  });
});

describe('mistakes in YAML', () => {
  it.each([
    [
      'a key given twice',
      'gateway: {}\nadmin: {}\ngateway: {}',
      ['3:1 gateway: this key stands on line 1 already; only one of the two can hold'],
    ],
    [
      'a key that is indented further than the one above, which has a plain value',
      'gateway:\n  domain: x\n   listen: "127.0.0.1:1"',
      ['2:11 : the line below is indented further than this one, and so is taken for more of this value'],
    ],
    [
      'two keys on one line',
      'gateway: domain: x',
      ['1:10 : a nested key on the same line: put it on a line of its own, or quote a text that contains ": "'],
    ],
    ['a tab', 'gateway:\n\tdomain: x', ['2:1 : a tab is used for indentation; YAML wants spaces']],
    [
      'an unquoted reference in braces',
      'admin: { token: ${A} }',
      ['1:18 : inside of { } and [ ] a reference is written in quotes: "${NAME}"'],
    ],
    ['an unclosed quote', 'a: "b', ['1:6 : Missing closing "quote']],
    ['a second document', 'workers: 1\n---\nworkers: 2', ['2:1 : a second document begins here; the file holds one']],
    [
      'an alias of nothing, such as a wildcard without quotes',
      'services: { a: { hosts: [*.example.com] } }',
      [
        '1:26 services.a.hosts[0]: no anchor &.example.com stands before this alias; a text that begins with * is written in quotes',
      ],
    ],
    [
      'a key that is indented otherwise than its neighbours',
      'gateway:\n  listen: "127.0.0.1:1"\n   domain: x',
      ['3:4 : is indented otherwise than the lines above: what belongs to one group begins in the same column'],
    ],
    [
      'an alias of itself',
      'gateway: &x { limits: *x }',
      ['1:23 gateway.limits: this alias stands inside of what it stands for'],
    ],
    [
      'a merge key',
      'defaults: { <<: { a: 1 } }',
      ['1:13 defaults.<<: merge keys are not read; what services share belongs into `defaults`'],
    ],
    ['a key that is a list', '? [a]\n: 1', ['1:3 : a key must be plain text']],
    ['a key that would be a prototype', '__proto__: { domain: x }', ['1:1 : a key must be plain text']],
    ['an unknown tag', 'workers: !number 1', ['1:10 : Unresolved tag: !number']],
  ])('%s', (_, text, expected) => {
    expect(mistakes(text).map((line) => line.replace('"<<"', '<<'))).toEqual(expected);
  });

  it('does not quote the text of a broken file, which may hold a secret', () => {
    for (const text of [
      'token: "hunter2',
      'token: hunter2\nx: [hunter2',
      'token: [hunter2}',
      'a: hunter2\n b: hunter2',
      ']: hunter2',
    ]) {
      expect(mistakes(text)).not.toEqual([]);
      expect(mistakes(text).join()).not.toContain('hunter2');
    }
  });
});

describe('all mistakes of a file', () => {
  const text = `gateway:
  domain: x y
  listen: ["0.0.0.0:9901"]
admin: { listen: "0.0.0.0:9901", token: "\${NO_SUCH}" }
registries:
  - { type: consol }
  - { name: a, type: etcd, endpoints: [http://a, ftp://b] }
  - { name: a, type: etcd, relistInterval: 5 }
defaults:
  health: { interval: 1x }
services:
  a: { hosts: [h.example], health: { path: / } }
  b: { hosts: [h.example], health: [{ type: http }, { type: script, command: [] }] }
shutdwn: {}
`;

  it('are reported at once, in the order of the file, and none that follows from another', () => {
    expect(mistakes(text).map((line) => line.split(': ')[0])).toEqual([
      '2:11 gateway.domain',
      '4:18 admin.listen',
      '4:41 admin.token',
      '6:13 registries[0].type',
      '7:50 registries[1].endpoints[1]',
      '8:13 registries[2].name',
      '8:44 registries[2].relistInterval',
      '10:23 defaults.health.interval',
      '12:38 services.a.health.path',
      '13:16 services.b.hosts[0]',
      '13:78 services.b.health[1].command',
      '14:1 shutdwn',
    ]);
  });
});
