import { z } from 'zod';
import type { Instance, RegisteredState } from '../../core/instance.ts';
import { isName } from '../../core/names.ts';
import type { OnSkip } from '../backend.ts';
import { shortHash } from '../address.ts';
import { explain, parseRecord, RECORD_LIMITS } from '../record.ts';

const texts = z.record(z.string(), z.string()).nullish();
const locality = z.object({ Zone: z.string().nullish() }).nullish();
const entry = z.object({
  Node: z.object({ Node: z.string(), Address: z.string().nullish(), Meta: texts, Locality: locality }),
  Service: z.object({
    ID: z.string(),
    Service: z.string(),
    Address: z.string().nullish(),
    Port: z.number(),
    Tags: z.array(z.string()).nullish(),
    Meta: texts,
    Weights: z.object({ Passing: z.number(), Warning: z.number() }).nullish(),
    Locality: locality,
  }),
  Checks: z
    .array(
      z.object({
        CheckID: z.string().nullish(),
        Name: z.string().nullish(),
        Status: z.string(),
        Notes: z.string().nullish(),
        Output: z.string().nullish(),
      }),
    )
    .nullish(),
});
type Entry = z.output<typeof entry>;
type Check = NonNullable<Entry['Checks']>[number];

/**
 * The instances in an answer of `/v1/health/service/:name`, by id. Entries that cannot be used are reported and left
 * out. `undefined`: the body is no such answer at all.
 */
export function readHealth(service: string, body: unknown, onSkip: OnSkip): Instance[] | undefined {
  if (!Array.isArray(body)) return undefined;
  const entries = body.flatMap((raw: unknown) => {
    const parsed = entry.safeParse(raw);
    if (!parsed.success) onSkip({ service, id: '', why: explain(parsed.error) });
    return parsed.success ? [parsed.data] : [];
  });
  const ids = idsOf(entries);
  const instances = entries.flatMap((each, at) => {
    const id = ids[at] ?? '';
    const parsed = parseRecord(recordOf(each, id), { service, id });
    if (!parsed.ok) onSkip({ service, id, why: parsed.why });
    return parsed.ok ? [parsed.instance] : [];
  });
  return instances.sort((one, other) => (one.id < other.id ? -1 : 1));
}

function recordOf({ Node, Service, Checks }: Entry, id: string): Record<string, unknown> {
  const meta = new Map(Object.entries(Service.Meta ?? {}));
  const weights = Service.Weights ?? { Passing: 1, Warning: 1 };
  const { state, stateReason } = stateOf(Checks ?? []);
  // A weight of 0 under warning means: none of the traffic.
  const idle = state === 'degraded' && weights.Warning <= 0;
  const weight = state === 'degraded' && !idle ? weights.Warning : weights.Passing;
  return {
    id,
    // An instance without an address of its own is at its node's.
    host: (Service.Address ?? '') === '' ? Node.Address : Service.Address,
    port: Service.Port,
    // A weight is a share among those who get any: it cannot be 0 here.
    weight: weight > 0 ? weight : 1,
    zone: short(Service.Locality?.Zone ?? meta.get('zone') ?? Node.Locality?.Zone ?? Node.Meta?.['zone']),
    version: short(meta.get('version')),
    secure: meta.get('secure') === 'true' || meta.get('scheme') === 'https',
    state: idle ? 'down' : state,
    stateReason: idle ? `Weights.Warning is 0; ${stateReason ?? ''}`.slice(0, RECORD_LIMITS.textBytes) : stateReason,
    metadata: withTags(meta, Service.Tags ?? []),
  };
}

/** The worst check decides, as in Consul itself. Maintenance is a check too, always critical. */
function stateOf(checks: readonly Check[]): {
  readonly state: RegisteredState;
  readonly stateReason: string | undefined;
} {
  const worst =
    checks.find((check) => isMaintenance(check)) ??
    checks.find((check) => check.Status !== 'passing' && check.Status !== 'warning') ??
    checks.find((check) => check.Status === 'warning');
  if (!worst) return { state: 'up', stateReason: undefined };
  return { state: worst.Status === 'warning' ? 'degraded' : 'down', stateReason: reasonOf(worst) };
}

function isMaintenance(check: Check): boolean {
  return check.CheckID === '_node_maintenance' || (check.CheckID ?? '').startsWith('_service_maintenance:');
}

function reasonOf(check: Check): string {
  const [what, detail] = isMaintenance(check)
    ? ['maintenance', check.Notes]
    : [`check "${check.Name ?? check.CheckID ?? ''}" is ${check.Status}`, check.Output];
  // The output of a check is whatever a program printed.
  const printable = (detail ?? '').replaceAll(/[^\x20-\x7e]+/g, ' ').trim();
  return (printable === '' ? what : `${what}: ${printable}`).slice(0, 200);
}

/** Tags ride along as one more entry, where there is room and no entry of that name. */
function withTags(meta: ReadonlyMap<string, string>, tags: readonly string[]): Record<string, string> {
  const joined = tags.join(',');
  const room = joined !== '' && joined.length <= 1024 && meta.size < RECORD_LIMITS.metadataEntries;
  return Object.fromEntries<string>(room && !meta.has('tags') ? [...meta, ['tags', joined]] : meta);
}

function short(text: string | null | undefined): string | undefined {
  return (text ?? '') === '' || (text ?? '').length > RECORD_LIMITS.textBytes ? undefined : (text ?? undefined);
}

/**
 * Consul's ids are unique on one node only. By default an id is the service's name, on every node: then the node tells
 * instances apart. Otherwise the id stands, and the node is added where two nodes use the same one.
 */
function idsOf(entries: readonly Entry[]): string[] {
  const base = entries.map(({ Node, Service }) => (Service.ID === Service.Service ? Node.Node : Service.ID));
  const uses = new Map<string, number>();
  for (const id of base) uses.set(id, (uses.get(id) ?? 0) + 1);
  const taken = new Set<string>();
  return entries.map(({ Node, Service }, at) => {
    const own = base[at] ?? '';
    const wanted = (uses.get(own) ?? 0) > 1 ? `${Service.ID}-${Node.Node}` : own;
    const id =
      isName(wanted) && !taken.has(wanted) ? wanted : hashed(wanted, `${Node.Node} ${Service.ID} ${at}`, taken);
    taken.add(id);
    return id;
  });
}

function hashed(wanted: string, identity: string, taken: ReadonlySet<string>): string {
  const readable = wanted.replaceAll(/[^A-Za-z0-9._-]+/g, '-').slice(0, 100);
  // The position counts only where nothing else tells two entries apart.
  const plain = `${readable}-${shortHash(wanted, 12)}`;
  return taken.has(plain) ? `${readable}-${shortHash(identity, 12)}` : plain;
}

/** Same instances, same text. The reason of a state is left out: the output of checks changes with every run. */
export function fingerprint(instances: readonly Instance[]): string {
  const parts = instances.map((each) => ({ ...each, stateReason: undefined, metadata: [...each.metadata].sort() }));
  return shortHash(JSON.stringify(parts), 32);
}
