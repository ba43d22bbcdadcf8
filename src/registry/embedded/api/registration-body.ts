import { z } from 'zod';
import { type AddressPolicy, HOST_RULE, normalizeHost } from '../../../core/address.ts';
import { instance } from '../../../core/instance.ts';
import { metadataOf } from '../metadata.ts';
import type { RegistrationRequest } from '../plan.ts';
import { check } from './check-fields.ts';
import { duration, fieldErrors, fields, label, name, pairs, wants, whole } from './fields.ts';
import type { FieldError } from './problem.ts';

const MAX_METADATA_BYTES = 4096;
const MAX_METADATA_KEY = 128;
const WEIGHT_RULE = 'a number above 0, at most 1000';

const metadata = pairs('an object of texts').superRefine((given, context) => {
  const bytes = given.reduce((sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(value), 0);
  if (bytes > MAX_METADATA_BYTES) {
    context.addIssue({
      code: 'custom',
      message: `must not be larger than ${MAX_METADATA_BYTES} bytes, keys and values together; it has ${bytes}`,
    });
  }
  if (given.some(([key]) => key.length === 0 || key.length > MAX_METADATA_KEY)) {
    context.addIssue({ code: 'custom', message: `must have keys of 1 to ${MAX_METADATA_KEY} characters` });
  }
});

const registration = fields({
  serviceName: name(),
  host: z
    .string({ error: wants(HOST_RULE) })
    .refine((text) => normalizeHost(text) !== undefined, `must be ${HOST_RULE}`)
    .transform((text) => normalizeHost(text) ?? text),
  port: whole(1, 65_535),
  id: name().optional(),
  weight: z
    .number({ error: wants(WEIGHT_RULE) })
    .refine((value) => value > 0 && value <= 1000, `must be ${WEIGHT_RULE}`)
    .optional(),
  zone: label().optional(),
  version: label().optional(),
  metadata: metadata.optional(),
  ttl: duration(1000, 86_400_000).optional(),
  check: check.optional(),
});

/** The body of `POST /register`, or every field that is wrong with it. */
export function parseRegistration(
  body: unknown,
  addresses: AddressPolicy,
): { readonly request: RegistrationRequest } | { readonly errors: readonly FieldError[] } {
  const parsed = registration.safeParse(withoutNulls(body));
  if (!parsed.success) return { errors: fieldErrors(parsed.error.issues, 'body') };
  const given = parsed.data;
  const errors = refusedAddresses(given, addresses);
  if (errors.length > 0) return { errors };
  const { id, ...rest } = instance({
    id: given.id ?? '',
    service: given.serviceName,
    host: given.host,
    port: given.port,
    weight: given.weight ?? 1,
    zone: given.zone,
    version: given.version,
    metadata: metadataOf(given.metadata ?? []),
    checks: given.check ? [given.check] : undefined,
  });
  return { request: { instance: rest, id: id === '' ? undefined : id, ttlMs: given.ttl, idScope: 'registry' } };
}

function refusedAddresses(
  { host, port, check: probe }: z.output<typeof registration>,
  addresses: AddressPolicy,
): FieldError[] {
  const errors: FieldError[] = [];
  const add = (field: string, why: string | undefined): void => {
    if (why !== undefined) errors.push({ field, message: `is refused: ${why}` });
  };
  const portRefused = addresses.refusePort(port);
  add('port', portRefused);
  if (portRefused === undefined) add('host', addresses.refuseHost(host, port));
  // The gateway connects there as well, and it must not become a scanner of that host.
  if (errors.length === 0 && probe?.port !== undefined) add('check.port', addresses.refuseHost(host, probe.port));
  return errors;
}

/** Clients in typed languages send null for what they leave out. */
function withoutNulls(body: unknown): unknown {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return body;
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null));
}
