import { z } from 'zod';
import { parseAddress } from '../address.ts';
import { explain, parseRecord, quote, RECORD_LIMITS, type ParsedRecord } from '../record.ts';

/** `auto` tells the layout from each node, so that services can move from one to another under the same path. */
export type ZookeeperLayout = 'auto' | 'plain' | 'curator' | 'spring';

/** Larger nodes are no registrations. ZooKeeper's own limit is 1 MiB. */
const MAX_DATA_BYTES = 65_536;

/**
 * One instance out of a node:
 * - plain: `{"host": "10.0.0.7", "port": 80, "weight"?, "zone"?, "version"?, "metadata"?, …}`, or `10.0.0.7:80`, as the
 *   data or, where a node has none, as its name
 * - Curator's x-discovery (`ServiceInstance`): `{"name", "id", "address", "port", "sslPort", "enabled"?, "payload", …}`
 * - Spring Cloud ZooKeeper: the same, with `instance_status` and the rest of its metadata in `payload.metadata`
 */
export function parseNode(
  layout: ZookeeperLayout,
  where: { readonly service: string; readonly id: string; readonly node: string },
  data: Buffer,
): ParsedRecord {
  if (data.length > MAX_DATA_BYTES) return refuse(`the node has ${data.length} bytes; ${MAX_DATA_BYTES} are allowed`);
  const context = { service: where.service, id: where.id };
  const text = data.toString('utf8').trim();
  const curatorOnly = layout === 'curator' || layout === 'spring';
  if (!text.startsWith('{')) {
    if (curatorOnly) return refuse(`${quote(text)} is not JSON, as registries[].layout ${layout} wants`);
    return parseRecord(text === '' && parseAddress(where.node) ? where.node : text, context);
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    return refuse(`the node is not JSON: ${error instanceof Error ? error.message : String(error)}`.slice(0, 200));
  }
  const fields = json as Record<string, unknown>;
  if (curatorOnly || (layout === 'auto' && fields['host'] === undefined && 'address' in fields)) {
    return parseCurator(context, json);
  }
  // The node is the identity: an id inside it could not be found again when the node is deleted.
  return parseRecord({ ...fields, id: where.id }, context);
}

const portField = z.number().int().min(1).max(65_535).nullish();

/** Jackson writes absent parts as null. */
const curator = z.object({
  address: z.string({ error: 'must be the address of the instance' }),
  port: portField,
  sslPort: portField,
  enabled: z.boolean().nullish(),
  payload: z.unknown(),
});

function parseCurator(context: { readonly service: string; readonly id: string }, json: unknown): ParsedRecord {
  const parsed = curator.safeParse(json);
  if (!parsed.success) return refuse(explain(parsed.error));
  const { address, port, sslPort, enabled, payload } = parsed.data;
  const metadata = textsOf(payload);
  const status = metadata.get('instance_status');
  // As Spring's own clients choose: an sslPort is there to be used.
  const secure = sslPort !== null && sslPort !== undefined;
  const down = enabled === false ? 'enabled is false' : status !== undefined && status !== 'UP' ? status : undefined;
  return parseRecord(
    {
      host: address,
      port: secure ? sslPort : (port ?? undefined),
      secure,
      id: context.id,
      ...lifted(metadata),
      ...(down === undefined ? {} : { state: 'down', stateReason: down }),
      metadata: Object.fromEntries(metadata),
    },
    context,
  );
}

/** Neither layout has fields for these: by convention they are metadata. A nonsensical one counts as missing. */
function lifted(metadata: ReadonlyMap<string, string>): Record<string, unknown> {
  const weight = Number(metadata.get('weight'));
  const zone = metadata.get('zone');
  const version = metadata.get('version');
  return {
    ...(weight > 0 && weight <= 1_000_000 ? { weight } : {}),
    ...(zone === undefined || zone.length > RECORD_LIMITS.textBytes ? {} : { zone }),
    ...(version === undefined || version.length > RECORD_LIMITS.textBytes ? {} : { version }),
  };
}

/** The texts, numbers and booleans of `payload.metadata` (Spring) or of the payload itself. `@class` is Jackson's. */
function textsOf(payload: unknown): ReadonlyMap<string, string> {
  const texts = new Map<string, string>();
  if (typeof payload !== 'object' || payload === null || Array.isArray(payload)) return texts;
  const nested: unknown = (payload as Record<string, unknown>)['metadata'];
  const source = typeof nested === 'object' && nested !== null && !Array.isArray(nested) ? nested : payload;
  for (const [key, value] of Object.entries(source)) {
    if (texts.size === RECORD_LIMITS.metadataEntries) break;
    if (key.startsWith('@') || key === '__proto__') continue;
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') {
      texts.set(key, String(value));
    }
  }
  return texts;
}

function refuse(why: string): ParsedRecord {
  return { ok: false, why };
}
