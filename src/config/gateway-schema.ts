import { z } from 'zod';
import { cidr, listenAddress } from './addresses.ts';
import type { AdminConfig, GatewayConfig, LogConfig, LogDestination, MetricsConfig, ShutdownConfig } from './config.ts';
import { normalizeHost } from '../core/address.ts';
import {
  anyNumber,
  choice,
  count,
  duration,
  flag,
  oneOrMore,
  refuse,
  secret,
  size,
  text,
  wants,
  wholeNumber,
} from './scalars.ts';
import { group } from './strict.ts';

const PORT_RULE = 'a port such as 8080 or a range such as "8000-8999"';

const portRange = z
  .union([z.int(), z.string()], { error: wants(PORT_RULE) })
  .transform((value, ctx): readonly [number, number] => {
    const [, from, to = from] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(String(value)) ?? [];
    const range = [Number(from), Number(to)] as const;
    if (from === undefined || range[0] < 1 || range[1] > 65_535 || range[0] > range[1])
      return refuse(ctx, `wants ${PORT_RULE}`);
    return range;
  });

/** `stdout`, `stderr`, or a file. */
const destination = (sentence: string, fallback: string) =>
  text('stdout, stderr or a file name').prefault(fallback).meta({ description: sentence });

function toDestination(word: string): LogDestination {
  return word === 'stdout' || word === 'stderr' ? { to: word, path: undefined } : { to: 'file', path: word };
}

const limits = group({
  headBytes: size(
    'Largest request head, else 431. Small refuses big cookies; large lets every connection hold that much memory.',
    {
      fallback: '32KiB',
      min: '1KiB',
      max: '1MiB',
    },
  ),
  headFields: count(
    'Most header fields of a request, else 431. Few refuses what several proxies have passed; many costs time per request.',
    {
      fallback: 100,
      min: 10,
      max: 1000,
    },
  ),
  targetBytes: size(
    'Longest request target, else 414. Short refuses long queries; it cannot be longer than the head.',
    {
      fallback: '8KiB',
      min: '64B',
      max: '1MiB',
    },
  ),
  connections: count(
    'Client connections at the same time; who comes beyond is closed at once. Few turns clients away under load; many needs that many file descriptors, and as many again towards instances: clients get at most five eighths of those there are.',
    {
      fallback: 16_384,
      min: 1,
      max: 1_000_000,
    },
  ),
  requests: count(
    'Requests in flight at the same time, else 503 with flag UO. Few sheds load early; many lets a slow service fill the memory.',
    {
      fallback: 16_384,
      min: 1,
      max: 1_000_000,
    },
  ),
  instances: count(
    'Instances known at the same time. Room for the figures of as many is reserved at the start; beyond it new ones are refused, logged and counted.',
    {
      fallback: 131_072,
      min: 1,
      max: 4_194_304,
    },
  ),
  services: count('Services known at the same time. Beyond it new ones are refused, logged and counted.', {
    fallback: 16_384,
    min: 1,
    max: 1_048_576,
  }),
  bodyMinRate: size(
    'Bytes a second at which a request body must come on average after `timeouts.bodyGrace`. 0B lets a body drip in for ever, and is right for clients that stream events; large cuts off clients on bad lines.',
    {
      fallback: '240B',
      min: '0B',
      max: '1MiB',
    },
  ),
  threadMemory: size(
    'Heap and buffers of one data-plane thread, garbage included. At the limit the thread is ended: its requests in flight fail, and another one takes its place within a second. Little ends threads that only serve many requests at once; much lets a defect take it from the machine, once per thread. More than before holds for threads that begin later.',
    {
      fallback: '1GiB',
      min: '128MiB',
      max: '64GiB',
    },
  ),
});

const timeouts = group({
  requestHead: duration(
    'From the first byte of a request to the end of its head. Short cuts off slow clients; long lets idle attackers hold connections.',
    {
      fallback: '10s',
      min: '10ms',
      max: '10m',
    },
  ),
  keepAlive: duration(
    'A connection without a request is closed after this long. Shorter than that of a load balancer in front, and its requests meet closing connections; long holds sockets for clients that are gone.',
    {
      fallback: '65s',
      min: '10ms',
      max: '1h',
    },
  ),
  bodyIdle: duration(
    'No byte of a request body comes for this long, while the gateway would take it. Short breaks uploads with pauses; long lets stalled clients hold connections.',
    {
      fallback: '60s',
      min: '10ms',
      max: '24h',
    },
  ),
  bodyGrace: duration(
    'From here on a request body must have come at `limits.bodyMinRate` on average. Short fails slow starts; long gives attackers that much time for each body.',
    {
      fallback: '10s',
      min: '10ms',
      max: '24h',
    },
  ),
});

const upstreamAddresses = group({
  allow: anyNumber(cidr()).prefault([]).meta({
    description:
      'Networks instances may be in. Empty allows any, so that whoever may register can point the gateway anywhere in your network. Link-local addresses, where clouds keep credentials, must be named by a network inside of 169.254.0.0/16 or fe80::/10.',
  }),
  deny: anyNumber(cidr()).prefault([]).meta({ description: 'Networks no instance may be in, whatever `allow` says.' }),
  allowLoopback: flag(
    'Whether instances may be on this machine’s loopback. true lets whoever may register reach what listens only there; false is right where instances run elsewhere.',
    false,
  ),
  ports: anyNumber(portRange)
    .prefault([])
    .meta({ description: 'Ports and ranges instances may use. Empty allows every port.' }),
});

export const gatewaySchema = group({
  listen: oneOrMore(listenAddress()).prefault(['0.0.0.0:8080']).meta({
    description:
      'Where clients connect: host:port, IPv6 in brackets. 0.0.0.0 listens on every IPv4 address, [::] on every address. Port 0 lets the system choose.',
  }),
  domain: z
    .string({ error: wants('a domain such as example.com') })
    .transform((value, ctx) => {
      const domain = normalizeHost(value);
      return domain === undefined || /[:]|^[\d.]+$/.test(domain)
        ? refuse(ctx, 'wants a domain such as example.com')
        : domain;
    })
    .prefault('localhost')
    .meta({
      description:
        'Every service S answers at S.<domain> without further configuration. It needs a wildcard DNS record; browsers resolve *.localhost by themselves.',
    }),
  trustedProxies: anyNumber(cidr()).prefault([]).meta({
    description:
      'Networks of the proxies in front, whose X-Forwarded-* fields are believed. Empty believes nobody; 0.0.0.0/0 lets every client claim any address.',
  }),
  accessLog: destination(
    'Where a line per request goes: stdout, stderr, a file, or off. A file is reopened on USR1.',
    'stdout',
  ),
  allowUnderscoreHeaders: flag(
    'Whether header fields with _ in their names are passed on. true lets a client smuggle X_User past rules for X-User where an application reads both alike.',
    false,
  ),
  limits: limits.prefault({}).meta({
    description:
      'Bounds of what clients may ask for and registries may say; each over the whole gateway, but for `threadMemory`.',
  }),
  timeouts: timeouts
    .prefault({})
    .meta({ description: 'How long clients may take. Those towards instances are under `defaults.timeouts`.' }),
  upstreamAddresses: upstreamAddresses.prefault({}).meta({
    description:
      'Which addresses the gateway connects to, for traffic and for checks. Multicast, unspecified and its own addresses are refused always.',
  }),
  watchConfig: flag(
    'Whether a changed configuration file is taken over without being asked for. true saves the signal, where a tool or a ConfigMap writes the file; false leaves the moment to you.',
    false,
  ),
  stateDir: text('a directory, or off').prefault('./data/state').meta({
    description:
      'Directory for the last known good set of every registry, with which a restart serves while a registry is away. off starts empty then.',
  }),
})
  .prefault({})
  .transform((given): GatewayConfig => {
    const { bodyMinRate: bodyMinBytesPerSecond, threadMemory: threadMemoryBytes, ...limits } = given.limits;
    const {
      requestHead: requestHeadMs,
      keepAlive: keepAliveMs,
      bodyIdle: bodyIdleMs,
      bodyGrace: bodyGraceMs,
    } = given.timeouts;
    return {
      ...given,
      accessLog: given.accessLog === 'off' ? 'off' : toDestination(given.accessLog),
      limits: {
        ...limits,
        targetBytes: Math.min(limits.targetBytes, limits.headBytes),
        bodyMinBytesPerSecond,
        threadMemoryBytes,
      },
      timeouts: { requestHeadMs, keepAliveMs, bodyIdleMs, bodyGraceMs },
      stateDir: given.stateDir === 'off' ? undefined : given.stateDir,
    };
  })
  .meta({ description: 'The data plane: where clients connect and what they may do.' });

export const workersSchema = z
  .union([z.literal('auto'), wholeNumber({ min: 1, max: 256 })], { error: wants('auto, or a number from 1 to 256') })
  .prefault('auto')
  .meta({
    description:
      'Threads that serve clients: auto is one per core. 1 leaves the other cores to others; more than there are cores only adds switching. Where sockets cannot share a port (any platform but Linux and FreeBSD, in the main) one thread serves, whatever this says; the start warns of it. Changes at the next start.',
  });

export const adminSchema = group({
  listen: listenAddress().prefault('127.0.0.1:9901').meta({
    description:
      'Where metrics, health of the gateway, its API and the dashboard are served. Off loopback only with a token.',
  }),
  token: secret(
    'Bearer token the API asks for. Without it whoever reaches the port can drain instances, which is why it is required off loopback.',
  ),
})
  .prefault({})
  .transform(({ listen, token }): AdminConfig => ({ listen, token }))
  .meta({ description: 'The admin listener.' });

export const shutdownSchema = group({
  acceptFor: duration(
    'After TERM or INT: readiness fails and new connections are still taken for this long, so that load balancers look away first. 0s refuses those they still send; long delays every restart.',
    {
      fallback: '5s',
      min: '0s',
      max: '10m',
    },
  ),
  drain: duration(
    'Then requests in flight may take this long to end. 0s breaks them off; long waits for streams that never end. Whoever stops the process must wait for the sum of both.',
    {
      fallback: '30s',
      min: '0s',
      max: '24h',
    },
  ),
})
  .prefault({})
  .transform((given): ShutdownConfig => ({ acceptForMs: given.acceptFor, drainMs: given.drain }))
  .meta({ description: 'How the gateway stops.' });

export const logSchema = group({
  level: choice(
    'Least severe messages that are written. debug is for an hour of hunting; error hides what led to it.',
    ['debug', 'info', 'warn', 'error'],
    'info',
  ),
  destination: destination('Where messages go: stderr, stdout or a file, which is reopened on USR1.', 'stderr'),
})
  .prefault({})
  .transform((given): LogConfig => ({ level: given.level, destination: toDestination(given.destination) }))
  .meta({ description: 'What the gateway says about itself.' });

export const metricsSchema = group({
  perInstance: flag(
    'Whether there are series per instance. With thousands of instances they are most of what is scraped and stored.',
    true,
  ),
})
  .prefault({})
  .transform((given): MetricsConfig => given)
  .meta({ description: 'What /metrics serves.' });
