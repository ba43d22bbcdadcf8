import { z } from 'zod';
import { explain, parseRecord, quote, RECORD_LIMITS, type ParsedRecord } from '../record.ts';
import { parseAddress } from '../address.ts';

/** Larger values are no registrations. etcd's own limit is 1.5 MiB. */
const MAX_VALUE_BYTES = 65_536;

/** `auto` tells the layout of each value from the value. */
export type Layout = 'auto' | 'json' | 'grpc' | 'bare';

/**
 * One instance out of a value. With `auto` a prefix may hold all layouts, as while services move from one to another:
 * - `json`, the project's own: `{"host": "10.0.0.7", "port": 80, "weight"?, "zone"?, "version"?, "metadata"?, …}`
 * - `grpc`, gRPC naming (clientv3/naming/endpoints): `{"Op": 0, "Addr": "10.0.0.7:80", "Metadata": …}`
 * - `bare`: `10.0.0.7:80`
 */
export function parseValue(service: string, id: string, value: Buffer, layout: Layout): ParsedRecord {
  if (value.length > MAX_VALUE_BYTES)
    return refuse(`the value has ${value.length} bytes; ${MAX_VALUE_BYTES} are allowed`);
  const text = value.toString('utf8').trim();
  const isJson = text.startsWith('{');
  if (!isJson)
    return layout === 'auto' || layout === 'bare' ? parseRecord(text, { service, id }) : other('bare', layout);
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(text) as Record<string, unknown>;
  } catch (error) {
    return refuse(`the value is not JSON: ${error instanceof Error ? error.message : String(error)}`.slice(0, 200));
  }
  const found = fields['Addr'] !== undefined && fields['host'] === undefined ? 'grpc' : 'json';
  if (layout !== 'auto' && layout !== found) return other(found, layout);
  if (found === 'grpc') return parseGrpcNaming(service, id, fields);
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

function other(found: Layout, wanted: Layout): ParsedRecord {
  return refuse(`the value has the layout "${found}", and registries[].layout is "${wanted}"`);
}

function refuse(why: string): ParsedRecord {
  return { ok: false, why };
}
