import { z } from 'zod';
import { normalizeHost } from '../core/address.ts';
import type { Check, CheckKind, CheckTiming } from '../core/check.ts';
import { parseHostPort } from './addresses.ts';
import {
  count,
  duration,
  flag,
  nameText,
  oneOrMore,
  optional,
  optionalText,
  refuse,
  share,
  text,
  wants,
  wholeNumber,
} from './scalars.ts';
import { group } from './strict.ts';

const timing = {
  interval: duration(
    'Time between two checks of one instance. Short finds the dead sooner and costs a request per instance each time; long leaves traffic on the dead.',
    { fallback: '5s', min: '10ms', max: '1h' },
  ),
  timeout: duration(
    'A check without an answer for this long has failed. Short fails what is only busy; long adds to the time until a hung instance is noticed. Of a `ttl` check: how long an instance may be silent.',
    { fallback: '2s', min: '1ms', max: '10m' },
  ),
  healthyThreshold: count(
    'Successes in a row that bring an instance back. 1 brings it back at once, and lets it flap; many keep a mended instance idle. The first success of a new instance is always enough.',
    { fallback: 2, min: 1, max: 100 },
  ),
  unhealthyThreshold: count(
    'Failures in a row that take an instance out. 1 reacts at once, and also to a single lost packet; each further one adds an interval to the time of detection.',
    { fallback: 3, min: 1, max: 100 },
  ),
  fastInterval: duration(
    'Interval while the last result contradicts the verdict, so that a change is settled soon; never longer than `interval`. The same as `interval` turns it off.',
    { fallback: '1s', min: '10ms', max: '1h' },
  ),
  jitter: share(
    'Every interval varies by up to this share, so that checks do not come in waves. 0 lets thousands of checks fall into the same moment.',
    {
      fallback: 0.2,
      min: 0,
      max: 0.5,
    },
  ),
};

const common = {
  name: optional(
    nameText(),
    'What the check is called in `explain` and in logs; unique among the checks of a service. Without it: its type.',
  ),
  port: optional(
    wholeNumber({ min: 1, max: 65_535 }),
    'Check this port in place of the one that gets the traffic. A port that answers while the real one does not hides a failure.',
  ),
  ...timing,
};

const evidence = (fallback: boolean) => ({
  trafficAsEvidence: flag(
    'Whether a request that the instance has answered since its last check stands in for the next one, at most every other time. true saves checks where there is traffic, and trusts any answer; false asks every time. true for tcp, false for the other types.',
    fallback,
  ),
});

const tlsName = optional(
  z
    .string({ error: wants('a host, with or without port') })
    .transform((value, ctx) =>
      normalizeHost(value) !== undefined || parseHostPort(value) !== undefined
        ? value
        : refuse(ctx, 'wants a host, with or without port'),
    ),
  'The Host header (of gRPC: the authority), and with TLS the name the certificate must have. Without it: the instance’s own host and port.',
);

const verifyTls = flag(
  'Whether the certificate must be valid for the name. false notices an expired certificate as little as an impostor.',
  true,
);

const ca = optionalText(
  'File with the authorities (PEM) to trust, read again every minute. Without it: those of the system.',
  'a file name',
);

const type = <const T extends readonly [string, ...string[]]>(...words: T) =>
  z.enum(words).meta({
    description:
      'What is done. `tcp` connects, and so sees a dead process but not a broken one; `http` and `https` ask a path; `grpc` asks the standard health service; `script` runs a command; `ttl` waits for the instance to report by itself.',
  });

const OWN_KEYS: ReadonlyMap<string, readonly string[]> = new Map([
  ['http', ['path', 'method', 'expect', 'headers', 'bodyContains', 'host', 'verifyTls', 'ca']],
  ['grpc', ['grpcService', 'tls']],
  ['script', ['command']],
]);

/** What to say of a key that another type of check has. */
const ELSEWHERE: ReadonlyMap<string, string> = new Map(
  [...OWN_KEYS].flatMap(([of, keys]) => keys.map((key) => [key, `belongs to checks of \`type: ${of}\``] as const)),
);

const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$/;
const OWN_HEADERS: ReadonlySet<string> = new Set(['host', 'content-length', 'transfer-encoding', 'connection']);

const headers = z
  .record(z.string(), text('text').regex(/^[\x20-\x7e]*$/, 'must be printable ASCII'))
  .superRefine((given, ctx) => {
    for (const header of Object.keys(given)) {
      if (!HEADER_NAME.test(header)) ctx.addIssue({ code: 'custom', path: [header], message: 'is no header name' });
      else if (OWN_HEADERS.has(header.toLowerCase())) {
        ctx.addIssue({
          code: 'custom',
          path: [header],
          message: 'is set by the check itself; for the Host header there is the key `host`',
        });
      }
    }
  })
  .prefault({})
  .meta({ description: 'Fields sent with the check, such as credentials. None is right for most.' });

const STATUS_RULE = 'a status such as 200 or a range such as "200-399"';

const statusRange = z
  .union([z.int(), z.string()], { error: wants(STATUS_RULE) })
  .transform((value, ctx): readonly [number, number] => {
    const [, from, to = from] = /^(\d{3})(?:-(\d{3}))?$/.exec(String(value)) ?? [];
    const range = [Number(from), Number(to)] as const;
    if (from === undefined || range[0] < 100 || range[1] > 599 || range[0] > range[1])
      return refuse(ctx, `wants ${STATUS_RULE}, within 100 to 599`);
    return range;
  });

const uselessCa = (without: string) => ({
  code: 'custom' as const,
  path: ['ca'],
  message: `has no meaning without ${without}`,
});

const http = group(
  {
    type: type('http', 'https'),
    path: text('a path that begins with /')
      .max(2048)
      .regex(/^\/[\x21\x22\x24-\x7e]*$/, 'wants a path that begins with / and has no spaces in it')
      .prefault('/')
      .meta({
        description:
          'What is asked for. `/` answers wherever anything does; a path made for health answers for what the instance needs to work.',
      }),
    method: text('a method')
      .regex(/^[A-Z]{1,32}$/, 'wants a method such as GET or HEAD, in capitals')
      .prefault('GET')
      .meta({ description: 'The request method. HEAD saves the body.' }),
    expect: oneOrMore(statusRange).prefault(['200-399']).meta({
      description:
        'Statuses that count as success. A range that takes in 500 never fails; 200 alone fails on a redirect, which is not followed.',
    }),
    headers,
    bodyContains: optional(
      text('text').max(1024),
      'Text that must be in the first 64 KiB of the body. Too exact, and a new release fails its own check.',
    ),
    host: tlsName,
    verifyTls,
    ca,
    ...evidence(false),
    ...common,
  },
  ELSEWHERE,
).superRefine((check, ctx) => {
  if (check.method === 'HEAD' && check.bodyContains !== undefined) {
    ctx.addIssue({
      code: 'custom',
      path: ['bodyContains'],
      message: 'can never be found: the answer to HEAD has no body',
    });
  }
  if (check.type === 'http' && check.ca !== undefined) ctx.addIssue(uselessCa('`type: https`'));
});

const tcp = group({ type: type('tcp'), ...evidence(true), ...common }, ELSEWHERE);

const grpc = group(
  {
    type: type('grpc'),
    grpcService: z
      .string({ error: wants('text') })
      .regex(/^[\x21-\x7e]{0,256}$/, 'wants a service name such as acme.Payment')
      .prefault('')
      .meta({
        description:
          'The service asked about in `grpc.health.v1.Health/Check`. Empty asks for the server as a whole, which may be well while one service is not.',
      }),
    tls: flag('Whether to speak TLS.', false),
    host: tlsName,
    verifyTls,
    ca,
    ...evidence(false),
    ...common,
  },
  ELSEWHERE,
).superRefine((check, ctx) => {
  if (!check.tls && check.ca !== undefined) ctx.addIssue(uselessCa('`tls: true`'));
});

const script = group(
  {
    type: type('script'),
    command: z
      .array(text('a word of the command'), { error: wants('a list: the program, then its arguments') })
      .min(1, 'needs at least the program')
      .meta({
        description:
          'Program and arguments, run without a shell; exit 0 is success. Each run is a process: with many instances or a short interval they crowd the machine.',
      }),
    ...evidence(false),
    ...common,
  },
  ELSEWHERE,
);

const ttl = group({ type: type('ttl'), ...common }, ELSEWHERE);

const check = z.discriminatedUnion('type', [tcp, http, grpc, script, ttl]).meta({ id: 'check' });

/** One check or a list of them, as the checks of a service. */
export const health = z
  .union([z.array(check).max(16, 'more than 16 checks'), check], {
    error: wants('a check, or a list of checks; [] for none'),
  })
  .transform((given, ctx): readonly Check[] => {
    const list = Array.isArray(given) ? given : [given];
    const names = new Set<string>();
    return list.map((each, index) => {
      const name = each.name ?? unused(each.type, names);
      if (names.has(name))
        ctx.addIssue({
          code: 'custom',
          path: [index, 'name'],
          message: 'is the name of an earlier check of this service',
        });
      names.add(name);
      const trafficAsEvidence = each.type === 'ttl' ? false : each.trafficAsEvidence;
      return { name, port: each.port, trafficAsEvidence, ...timingOf(each), ...kindOf(each) };
    });
  })
  .prefault({ type: 'tcp' })

  .meta({
    id: 'health',
    description:
      'How instances are checked: one check, or a list, all of which must pass. What a check of a service leaves out it takes from `defaults.health`, if that is one check: the timing always, the rest if the type is the same. An empty list checks nothing: the registry and the breaker alone decide, and a new instance gets traffic at once.',
  });

function unused(name: string, taken: ReadonlySet<string>): string {
  if (!taken.has(name)) return name;
  for (let number = 2; ; number++) if (!taken.has(`${name}-${number}`)) return `${name}-${number}`;
}

function timingOf(given: z.output<typeof check>): CheckTiming {
  return {
    intervalMs: given.interval,
    timeoutMs: given.timeout,
    healthyThreshold: given.healthyThreshold,
    unhealthyThreshold: given.unhealthyThreshold,
    fastIntervalMs: Math.min(given.fastInterval, given.interval),
    jitter: given.jitter,
  };
}

function kindOf(given: z.output<typeof check>): CheckKind {
  switch (given.type) {
    case 'tcp':
    case 'ttl':
      return { type: given.type };
    case 'http':
    case 'https': {
      const { type, path, method, expect: statuses, bodyContains, host, verifyTls, ca: caFile } = given;
      const headers = Object.entries(given.headers);
      return { type, path, method, statuses, headers, bodyContains, host, verifyTls, caFile };
    }
    case 'grpc': {
      const { grpcService, tls, host, verifyTls, ca: caFile } = given;
      return { type: 'grpc', grpcService, tls, host, verifyTls, caFile };
    }
    case 'script':
      return { type: 'script', command: given.command };
  }
}
