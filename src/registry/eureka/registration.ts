import type { Instance } from '../../core/instance.ts';
import { canonicalHost } from '../address.ts';
import { idOfRest } from '../etcd/keys.ts';
import { parseRecord, quote, RECORD_LIMITS, type ParsedRecord } from '../record.ts';

/** InstanceInfo.InstanceStatus. Whatever else a registration says, Eureka's own code takes for UNKNOWN. */
const STATUSES = ['UP', 'DOWN', 'STARTING', 'OUT_OF_SERVICE', 'UNKNOWN'] as const;
export type EurekaStatus = (typeof STATUSES)[number];

export type Fields = Readonly<Record<string, unknown>>;

export interface RegistrationRules {
  /** Take instances by their secure port, where they enable it. */
  readonly useSecurePort: boolean;
  /** Only instances of this zone; undefined = all. */
  readonly zone: string | undefined;
}

export function asFields(value: unknown): Fields | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;
}

/** Serializers for XML make one element of a list of one, and nothing of an empty list. */
export function asList(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  return value === undefined || value === null || value === '' ? [] : [value];
}

export function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function scalarOf(value: unknown): string | undefined {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
    ? String(value)
    : undefined;
}

export function statusOf(fields: Fields): EurekaStatus {
  const text = (scalarOf(fields['status'] ?? 'UP') ?? '').toUpperCase();
  return STATUSES.find((status) => status === text) ?? 'UNKNOWN';
}

/** Unique within the application: InstanceInfo.getId. Undefined where there is none. */
export function keyOf(fields: Fields): string | undefined {
  const cloud = asFields(asFields(fields['dataCenterInfo'])?.['metadata'])?.['instance-id'];
  return textOf(fields['instanceId']) ?? textOf(cloud) ?? textOf(fields['hostName']);
}

/**
 * The instance that a registration stands for. Undefined: of another zone than the wanted one.
 *
 * The host is `hostName`, as for Spring's clients (which put the IP address there when told to), and `ipAddr` only where
 * that is none. Every status but UP is `down`, with the status as its reason.
 */
export function instanceOf(
  service: string,
  key: string,
  fields: Fields,
  rules: RegistrationRules,
): ParsedRecord | undefined {
  const metadata = metadataOf(fields['metadata']);
  const zone = metadata.get('zone') ?? availabilityZone(fields);
  if (rules.zone !== undefined && zone !== rules.zone) return undefined;
  const host = [fields['hostName'], fields['ipAddr']].map(textOf).find((text) => text && canonicalHost(text));
  if (host === undefined) {
    return refuse(`neither hostName nor ipAddr is an address: ${quote(textOf(fields['hostName']) ?? '')}`);
  }
  const port = portOf(fields, rules);
  if (!port) return refuse('neither its port nor its secure port is enabled');
  const { status, why } = effectiveStatus(fields);
  return parseRecord(
    {
      host,
      ...port,
      ...(status === 'UP' ? {} : { state: 'down', stateReason: why }),
      ...lifted(metadata, zone),
      metadata: Object.fromEntries(metadata),
    },
    { service, id: idOfRest(key) },
  );
}

/** The server applies overrides to `status` itself; one that it has only recorded counts all the same. */
function effectiveStatus(fields: Fields): { readonly status: EurekaStatus; readonly why: string } {
  const status = statusOf(fields);
  const override = fields['overriddenStatus'] ?? fields['overriddenstatus'];
  if (status !== 'UP' || override === undefined) return { status, why: status };
  const overridden = statusOf({ status: override });
  return overridden === 'UP' || overridden === 'UNKNOWN'
    ? { status, why: status }
    : { status: overridden, why: `${overridden} (overridden)` };
}

function portOf(
  fields: Fields,
  { useSecurePort }: RegistrationRules,
): { readonly port: unknown; readonly secure: boolean } | undefined {
  const plain = enabledPort(fields['port'], true);
  const secure = enabledPort(fields['securePort'], false);
  if (secure !== undefined && (useSecurePort || plain === undefined)) return { port: secure, secure: true };
  return plain === undefined ? undefined : { port: plain, secure: false };
}

/** `{"$": 8080, "@enabled": "true"}`, where each may be a text or not; or the bare number. */
function enabledPort(value: unknown, byDefault: boolean): unknown {
  const fields = asFields(value);
  const enabled = fields ? scalarOf(fields['@enabled'] ?? byDefault) === 'true' : byDefault;
  const port = fields ? fields['$'] : value;
  if (!enabled || port === undefined || port === null) return undefined;
  return typeof port === 'string' && /^\d{1,5}$/.test(port) ? Number(port) : port;
}

function availabilityZone(fields: Fields): string | undefined {
  return textOf(asFields(asFields(fields['dataCenterInfo'])?.['metadata'])?.['availability-zone']);
}

/** An empty map is `{"@class": "java.util.Collections$EmptyMap"}`: what begins with @ is Jackson's own. */
function metadataOf(value: unknown): ReadonlyMap<string, string> {
  const texts = new Map<string, string>();
  for (const [key, each] of Object.entries(asFields(value) ?? {})) {
    if (texts.size === RECORD_LIMITS.metadataEntries) break;
    if (key.startsWith('@') || key === '__proto__') continue;
    const text = scalarOf(each);
    if (text !== undefined) texts.set(key, text);
  }
  return texts;
}

/** By convention these are metadata. A nonsensical one counts as missing. */
function lifted(metadata: ReadonlyMap<string, string>, zone: string | undefined): Partial<Instance> {
  const weight = Number(metadata.get('weight'));
  const version = metadata.get('version');
  const fits = (text: string | undefined): text is string =>
    text !== undefined && text.length <= RECORD_LIMITS.textBytes;
  return {
    ...(weight > 0 && weight <= 1_000_000 ? { weight } : {}),
    ...(fits(zone) ? { zone } : {}),
    ...(fits(version) ? { version } : {}),
  };
}

function refuse(why: string): ParsedRecord {
  return { ok: false, why };
}
