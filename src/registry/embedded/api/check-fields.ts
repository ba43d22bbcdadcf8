import { z } from 'zod';
import { normalizeHost } from '../../../core/address.ts';
import type { CheckOverride } from '../../../core/check.ts';
import { duration, fields, flag, label, name, pairs, wants, whole } from './fields.ts';

/**
 * The `check` of a registration, in the words of `services.*.health` of the configuration. It comes from outside: it can
 * only read, only from the instance's own host, and not in a way that wears anything out.
 */

const common = {
  name: name().optional(),
  port: whole(1, 65_535).optional(),
  interval: duration(1000, 3_600_000).optional(),
  fastInterval: duration(500, 3_600_000).optional(),
  timeout: duration(10, 60_000).optional(),
  healthyThreshold: whole(1, 100).optional(),
  unhealthyThreshold: whole(1, 100).optional(),
};

const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/;
const HEADER_VALUE = /^[\x20-\x7e]*$/;
/** Framing, routing and the connection belong to the probe. */
const PROBE_HEADERS: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'expect',
  'host',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);
const MAX_HEADERS = 16;
const MAX_HEADER_CHARACTERS = 4096;

const headers = pairs('an object of texts').superRefine((given, context) => {
  const refuse = (message: string, ...path: string[]): void => {
    context.addIssue({ code: 'custom', path, message });
  };
  const characters = given.reduce((sum, [key, value]) => sum + key.length + value.length, 0);
  if (given.length > MAX_HEADERS || characters > MAX_HEADER_CHARACTERS) {
    refuse(`must be at most ${MAX_HEADERS} headers of ${MAX_HEADER_CHARACTERS} characters in all`);
    return;
  }
  for (const [key, value] of given) {
    if (!HEADER_NAME.test(key)) refuse('is not the name of a header', key);
    else if (PROBE_HEADERS.has(key.toLowerCase())) refuse('is set by the probe itself', key);
    else if (!HEADER_VALUE.test(value)) refuse('must be printable ASCII', key);
  }
});

const STATUS_RULE = 'a status such as 200, or a range such as "200-399"';

const status = z.union([z.number(), z.string()], { error: wants(STATUS_RULE) }).transform((value, context) => {
  const [, from, to = from] = /^([1-5]\d\d)(?:-([1-5]\d\d))?$/.exec(String(value)) ?? [];
  if (from !== undefined && from <= (to ?? '')) return [Number(from), Number(to)] as const;
  context.addIssue({ code: 'custom', message: `must be ${STATUS_RULE}` });
  return z.NEVER;
});

const PATH_RULE = 'a path that begins with / and holds no spaces, "#" or control characters';

const http = fields({
  type: z.enum(['http', 'https']),
  path: z
    .string({ error: wants(PATH_RULE) })
    .regex(/^\/[\x21\x22\x24-\x7e]{0,2047}$/, `must be ${PATH_RULE}`)
    .optional(),
  // A registration must not make the gateway change anything anywhere.
  method: z.enum(['GET', 'HEAD', 'OPTIONS'], { error: wants('GET, HEAD or OPTIONS') }).optional(),
  expect: z
    .array(status, { error: wants(`a list: each ${STATUS_RULE}`) })
    .min(1, 'must not be empty')
    .max(20, 'must not be longer than 20')
    .optional(),
  headers: headers.optional(),
  bodyContains: label(1024).optional(),
  host: z
    .string({ error: wants('a host, with or without port') })
    .refine(isHostHeader, 'must be a host, with or without port')
    .optional(),
  verifyTls: flag().optional(),
  ...common,
});

const tcp = fields({ type: z.literal('tcp'), ...common });

export const check = z
  .discriminatedUnion('type', [tcp, http], { error: typeError })
  .transform((given): CheckOverride => {
    const { interval, fastInterval, timeout, ...rest } = given;
    const { expect, ...kind } = 'expect' in rest ? rest : { ...rest, expect: undefined };
    return defined({
      ...kind,
      statuses: expect,
      intervalMs: interval,
      fastIntervalMs: fastInterval,
      timeoutMs: timeout,
    });
  });

function typeError(issue: { readonly input?: unknown }): string {
  if (typeof issue.input !== 'object' || issue.input === null) return 'must be an object';
  switch ((issue.input as { readonly type?: unknown }).type) {
    case 'script':
      return 'must not be script: commands come only from the gateway’s own configuration';
    case 'ttl':
      return 'must not be ttl: give the registration itself a ttl, and send heartbeats';
    case 'grpc':
      return 'must not be grpc: configure it for the service, under health';
    default:
      return 'must be tcp, http or https';
  }
}

/** `host`, `host:port`, `[IPv6]` or `[IPv6]:port`: what a Host header may say. */
function isHostHeader(text: string): boolean {
  const [, bracketed, bare = ''] = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+))(?::\d{1,5})?$/.exec(text) ?? [];
  return bracketed === undefined
    ? normalizeHost(bare)?.includes(':') === false
    : normalizeHost(bracketed) !== undefined;
}

/** Without the keys that hold nothing: an override overrides what it names. */
function defined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, held]) => held !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}
