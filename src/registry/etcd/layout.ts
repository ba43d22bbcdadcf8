import { z } from 'zod';
import { explain, parseRecord, quote, RECORD_LIMITS, type ParsedRecord } from '../record.ts';
import { parseAddress } from '../address.ts';

/** Larger values are no registrations. etcd's own limit is 1.5 MiB. */
const MAX_VALUE_BYTES = 65_536;

/**
 * One instance out of a value. The layout is told from the value itself, so that a prefix may hold all three while
 * services move from one to another:
 * - the project's own JSON: `{"host": "10.0.0.7", "port": 80, "weight"?, "zone"?, "version"?, "metadata"?, …}`
 * - gRPC naming (clientv3/naming/endpoints): `{"Op": 0, "Addr": "10.0.0.7:80", "Metadata": …}`
 * - a bare `10.0.0.7:80`
 */
export function parseValue(service: string, id: string, value: Buffer): ParsedRecord {
  if (value.length > MAX_VALUE_BYTES)
    return refuse(`the value has ${value.length} bytes; ${MAX_VALUE_BYTES} are allowed`);
  const text = value.toString('utf8').trim();
  if (!text.startsWith('{')) return parseRecord(text, { service, id });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    return refuse(`the value is not JSON: ${error instanceof Error ? error.message : String(error)}`.slice(0, 200));
  }
  const fields = json as Record<string, unknown>;
  if (fields['Addr'] !== undefined && fields['host'] === undefined) return parseGrpcNaming(service, id, json);
  // The key is the identity: an id inside the value could not be found again when the key is deleted.
  return parseRecord({ ...fields, id }, { service, id });
}

const grpcNaming = z.object({ Op: z.number().int().optional(), Addr: z.string(), Metadata: z.unknown().optional() });

function parseGrpcNaming(service: string, id: string, json: unknown): ParsedRecord {
  const parsed = grpcNaming.safeParse(json);
  if (!parsed.success) return refuse(explain(parsed.error));
  const { Op, Addr, Metadata } = parsed.data;
  // Operation: Add = 0, Delete = 1. Deletions are only in transit; a stored one is a leftover.
  if (Op !== undefined && Op !== 0) return refuse(`Op is ${Op}, which is not an addition`);
  const address = parseAddress(Addr);
  if (!address) return refuse(`Addr: ${quote(Addr)} is not host:port`);
  return parseRecord({ ...address, id, metadata: textsOf(Metadata) }, { service, id });
}

/** Metadata is any JSON there. Of an object, the values that are texts, numbers or booleans; of anything else, nothing. */
function textsOf(metadata: unknown): Record<string, string> {
  if (typeof metadata !== 'object' || metadata === null || Array.isArray(metadata)) return {};
  const texts = Object.entries(metadata).flatMap(([key, value]) =>
    typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? [[key, String(value)]] : [],
  );
  return Object.fromEntries(texts.slice(0, RECORD_LIMITS.metadataEntries)) as Record<string, string>;
}

function refuse(why: string): ParsedRecord {
  return { ok: false, why };
}
