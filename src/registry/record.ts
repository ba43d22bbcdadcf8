import { z } from 'zod';
import type { CheckOverride } from '../core/check.ts';
import type { Instance } from '../core/instance.ts';
import { isName, NAME_RULE } from '../core/names.ts';
import { DURATION_RULE, parseDuration } from '../core/units.ts';
import { ADDRESS_RULE, canonicalHost, HOST_RULE, idOfAddress, parseAddress } from './address.ts';

/** Bounds of what one registration may hold. Past them it is refused, not cut. */
export const RECORD_LIMITS = { metadataBytes: 4096, metadataEntries: 64, checks: 8, textBytes: 256 } as const;

export type ParsedRecord =
  { readonly ok: true; readonly instance: Instance } | { readonly ok: false; readonly why: string };

export interface RecordContext {
  readonly service: string;
  /** The id where the record has none, such as the last part of its key. Missing: made from the address. */
  readonly id?: string | undefined;
  /** Refuse unknown keys: for what an operator types. Registries written by others carry keys of their own. */
  readonly strict?: boolean | undefined;
}

const text = z.string().max(RECORD_LIMITS.textBytes);
const name = z.string().refine(isName, `must be ${NAME_RULE}`);
const port = z.number().int().min(1, 'must be 1 to 65535').max(65_535, 'must be 1 to 65535');
const host = z.string().transform((value, context) => {
  const canonical = canonicalHost(value);
  if (canonical !== undefined) return canonical;
  context.addIssue(`must be ${HOST_RULE}`);
  return z.NEVER;
});
const duration = z.union([z.number().positive().max(86_400_000), z.string()]).transform((value, context) => {
  const durationMs = typeof value === 'number' ? value : parseDuration(value);
  if (durationMs !== undefined && durationMs > 0 && durationMs <= 86_400_000) return durationMs;
  context.addIssue(`must be ${DURATION_RULE}, up to 24h`);
  return z.NEVER;
});
const metadata = z.unknown().transform((value, context) => {
  const problem = metadataProblem(value);
  if (problem === undefined) return new Map(Object.entries(value as Record<string, string>));
  context.addIssue(problem);
  return z.NEVER;
});

function metadataProblem(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'must be a map of texts';
  const entries = Object.entries(value);
  if (entries.length > RECORD_LIMITS.metadataEntries)
    return `must have at most ${RECORD_LIMITS.metadataEntries} entries`;
  let bytes = 0;
  for (const [key, each] of entries) {
    if (typeof each !== 'string') return 'must have texts as values';
    bytes += Buffer.byteLength(key) + Buffer.byteLength(each);
  }
  return bytes > RECORD_LIMITS.metadataBytes ? `must be at most ${RECORD_LIMITS.metadataBytes} bytes` : undefined;
}

const TOKEN = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$/;
const status = z.number().int().min(100).max(599);
const threshold = z.number().int().min(1).max(100);

/** No `script`: a registration does not choose what the gateway executes. */
const check = z
  .strictObject({
    type: z.enum(['tcp', 'http', 'https', 'grpc', 'ttl']),
    name: name.optional(),
    port: port.optional(),
    path: text.regex(/^\/[\x21-\x7e]*$/, 'must begin with / and be printable ASCII').optional(),
    method: z.string().regex(TOKEN, 'must be an HTTP method').optional(),
    statuses: z
      .array(z.tuple([status, status]))
      .max(16)
      .optional(),
    headers: z
      .array(z.tuple([z.string().regex(TOKEN), text.regex(/^[\x20-\x7e]*$/)]))
      .max(16)
      .optional(),
    bodyContains: text.optional(),
    host: text.regex(/^[\x21-\x7e]+$/).optional(),
    verifyTls: z.boolean().optional(),
    grpcService: text.optional(),
    tls: z.boolean().optional(),
    interval: duration.optional(),
    intervalMs: duration.optional(),
    timeout: duration.optional(),
    timeoutMs: duration.optional(),
    fastIntervalMs: duration.optional(),
    healthyThreshold: threshold.optional(),
    unhealthyThreshold: threshold.optional(),
    jitter: z.number().min(0).max(1).optional(),
  })
  .transform(({ interval, timeout, ...rest }) => ({
    ...rest,
    ...(interval === undefined ? {} : { intervalMs: interval }),
    ...(timeout === undefined ? {} : { timeoutMs: timeout }),
  }));

const fields = {
  id: name.optional(),
  host,
  port,
  weight: z.number().positive('must be above 0').max(1_000_000).optional(),
  zone: text.optional(),
  version: text.optional(),
  secure: z.boolean().optional(),
  state: z.enum(['up', 'degraded', 'down']).optional(),
  stateReason: text.optional(),
  metadata: metadata.optional(),
  checks: z.array(check).max(RECORD_LIMITS.checks).optional(),
};
const lenientRecord = z.object(fields);
const strictRecord = z.strictObject(fields);

/**
 * One instance out of text that others wrote: `"host:port"`, or
 * `{ host, port, id?, weight?, zone?, version?, secure?, state?, stateReason?, metadata?, checks? }`. What is wrong is
 * said with the path of the field, for `OnSkip`.
 */
export function parseRecord(raw: unknown, context: RecordContext): ParsedRecord {
  if (typeof raw === 'string') {
    const address = parseAddress(raw);
    return address ? finish(address, context) : { ok: false, why: `${quote(raw)} must be ${ADDRESS_RULE}` };
  }
  const parsed = (context.strict ? strictRecord : lenientRecord).safeParse(raw);
  return parsed.success ? finish(parsed.data, context) : { ok: false, why: explain(parsed.error) };
}

type RecordFields = { host: string; port: number } & Partial<z.output<typeof lenientRecord>>;

function finish(record: RecordFields, context: RecordContext): ParsedRecord {
  const id = record.id ?? context.id ?? idOfAddress(record.host, record.port);
  if (!isName(id)) return { ok: false, why: `id ${quote(id)} must be ${NAME_RULE}` };
  return {
    ok: true,
    instance: {
      id,
      service: context.service,
      host: record.host,
      port: record.port,
      weight: record.weight ?? 1,
      zone: record.zone,
      version: record.version,
      secure: record.secure ?? false,
      state: record.state ?? 'up',
      stateReason: record.stateReason,
      metadata: record.metadata ?? NO_METADATA,
      // Zod gives every optional key the type "or undefined"; where the record had none, there is no key.
      checks: record.checks as readonly CheckOverride[] | undefined,
    },
  };
}

const NO_METADATA: ReadonlyMap<string, string> = new Map();

/** Every issue on one line, each with its path; bounded, because it ends up in logs. */
export function explain(error: z.ZodError): string {
  const lines = error.issues.slice(0, 5).map((issue) => {
    const path = issue.path.map(String).join('.');
    return path === '' ? issue.message : `${path}: ${issue.message}`;
  });
  return lines.join('; ').slice(0, 500);
}

export function quote(value: string): string {
  return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value);
}
