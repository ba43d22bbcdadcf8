import type { Instance } from '../../../core/instance.ts';
import { type StatusOf, statusOf } from '../api/views.ts';
import type { Entry } from '../table.ts';
import { type CheckStatus, type ConsulService, NODE, serviceOf } from './service.ts';

export const DATACENTER = 'dc1';
const NODE_ADDRESS = '127.0.0.1';
const NODE_ID = '66616972-6c65-6164-0000-000000000000';
const TAGGED = { lan: NODE_ADDRESS, wan: NODE_ADDRESS };

/** Under which instances of every dialect are told. There is one agent, and it is the gateway. */
export const NODE_VIEW = {
  ID: NODE_ID,
  Node: NODE,
  Address: NODE_ADDRESS,
  Datacenter: DATACENTER,
  TaggedAddresses: TAGGED,
  Meta: {},
  CreateIndex: 1,
  ModifyIndex: 1,
};

/** `GET /v1/agent/self`, with what clients read of it at their start. */
export const SELF_VIEW = {
  Config: {
    Datacenter: DATACENTER,
    PrimaryDatacenter: DATACENTER,
    NodeName: NODE,
    NodeID: NODE_ID,
    Server: true,
    Revision: 'fairlead',
    // The version of the HTTP API that is spoken: clients parse it.
    Version: '1.8.0',
  },
  DebugConfig: {},
  Coord: null,
  Member: { Name: NODE, Addr: NODE_ADDRESS, Port: 0, Tags: { dc: DATACENTER, role: 'fairlead' }, Status: 1 },
  Stats: {},
  Meta: {},
};

/** Where Consul would have its leader: there is no other than this registry itself. */
export const LEADER = `${NODE_ADDRESS}:8300`;

export interface CheckView {
  readonly CheckID: string;
  readonly Name: string;
  readonly Status: CheckStatus;
  readonly Notes: string;
  readonly Output: string;
  readonly Type: string;
  readonly criticalLimitMs?: number | undefined;
}

/** The id by which this API names the instance: the client's own, and of other dialects ours, where it is the only one. */
export function consulIdOf({ instance, registration }: Readonly<Entry>, isOnly: (id: string) => boolean): string {
  if (registration.origin?.dialect === 'consul') return registration.origin.id;
  return isOnly(instance.id) ? instance.id : `${instance.service}/${instance.id}`;
}

/** The instance as a service of Consul's, in whichever dialect it was registered. */
export function toldOf({ instance, registration }: Readonly<Entry>): ConsulService {
  const told = serviceOf(registration);
  if (told) return told;
  const weight = Math.max(1, Math.round(instance.weight));
  return {
    address: instance.host,
    port: instance.port,
    tags: [],
    meta: metaOf(instance),
    // Clients in typed languages take whole numbers only.
    weights: { Passing: weight, Warning: weight },
    checks: [],
  };
}

function metaOf({ metadata, zone, version, secure }: Instance): [string, string][] {
  const meta = new Map(metadata);
  if (zone !== undefined && !meta.has('zone')) meta.set('zone', zone);
  if (version !== undefined && !meta.has('version')) meta.set('version', version);
  if (secure && !meta.has('secure')) meta.set('secure', 'true');
  return [...meta];
}

/**
 * Checks with their results: a `ttl` check says what its instance said, and the others what the gateway found. Instances
 * of other dialects have one, which says whether they get traffic.
 */
export function checksOf(entry: Readonly<Entry>, id: string, ask: StatusOf | undefined): readonly CheckView[] {
  const { instance, registration, lease } = entry;
  const told = serviceOf(registration);
  const word = statusOf(entry, ask);
  const probed = probeStatus(word.status);
  if (!told) {
    const Name = `Service '${instance.service}' check`;
    const base = { CheckID: `service:${id}`, Name, Notes: '', Output: word.reason ?? '' };
    return [{ ...base, Status: instance.state === 'down' ? 'critical' : probed, Type: 'ttl' }];
  }
  const checks = told.checks.map((check): CheckView => {
    const { name, notes, type, criticalLimitMs } = check;
    const base = { CheckID: check.id, Name: name, Notes: notes, Type: type, criticalLimitMs };
    if (type !== 'ttl') {
      // What is said of the instance itself is another check's.
      const known = ask?.(instance.service, instance.id);
      return { ...base, Status: known ? probed : check.status, Output: known ? known.status : check.output };
    }
    if (lease?.missed === true) return { ...base, Status: 'critical', Output: 'TTL expired' };
    return { ...base, Status: check.status, Output: check.output };
  });
  if (told.maintenance === undefined) return checks;
  const maintenance = { CheckID: `_service_maintenance:${id}`, Name: 'Service Maintenance Mode', Type: 'maintenance' };
  return [...checks, { ...maintenance, Status: 'critical', Notes: told.maintenance, Output: '' }];
}

/** `down` is what was registered, and is told by the check that said so; ejection and drain are no check's. */
function probeStatus(word: string): CheckStatus {
  if (word === 'failing' || word === 'starting') return 'critical';
  return word === 'degraded' ? 'warning' : 'passing';
}

/** As in the checks of a health entry. */
export function checkView(entry: Readonly<Entry>, id: string, check: CheckView): Record<string, unknown> {
  return {
    Node: NODE,
    CheckID: check.CheckID,
    Name: check.Name,
    Status: check.Status,
    Notes: check.Notes,
    Output: check.Output,
    Type: check.Type,
    ServiceID: id,
    ServiceName: entry.instance.service,
    ServiceTags: toldOf(entry).tags,
    Definition: {},
    CreateIndex: entry.index,
    ModifyIndex: entry.index,
  };
}

const NODE_CHECK = {
  Node: NODE,
  CheckID: 'serfHealth',
  Name: 'Serf Health Status',
  Status: 'passing',
  Notes: '',
  Output: 'Agent alive and reachable',
  ServiceID: '',
  ServiceName: '',
  ServiceTags: [],
  Type: '',
  Definition: {},
  CreateIndex: 1,
  ModifyIndex: 1,
};

export function serviceView(entry: Readonly<Entry>, id: string): Record<string, unknown> {
  const { address, port, tags, meta, weights, zone } = toldOf(entry);
  return {
    ID: id,
    Service: entry.instance.service,
    Tags: tags,
    Meta: Object.fromEntries(meta),
    Address: address,
    Port: port,
    Weights: weights,
    EnableTagOverride: false,
    ...(zone === undefined ? {} : { Locality: { Zone: zone } }),
    Datacenter: DATACENTER,
    CreateIndex: entry.index,
    ModifyIndex: entry.index,
  };
}

/** One of `GET /v1/health/service/{name}`. */
export function healthView(entry: Readonly<Entry>, id: string, checks: readonly CheckView[]): Record<string, unknown> {
  const own = checks.map((check) => checkView(entry, id, check));
  return { Node: NODE_VIEW, Service: serviceView(entry, id), Checks: [NODE_CHECK, ...own] };
}

/** One of `GET /v1/catalog/service/{name}`. */
export function catalogView(entry: Readonly<Entry>, id: string): Record<string, unknown> {
  const { address, port, tags, meta, weights } = toldOf(entry);
  return {
    ID: NODE_ID,
    Node: NODE,
    Address: NODE_ADDRESS,
    Datacenter: DATACENTER,
    TaggedAddresses: TAGGED,
    NodeMeta: {},
    ServiceID: id,
    ServiceName: entry.instance.service,
    ServiceTags: tags,
    ServiceMeta: Object.fromEntries(meta),
    ServiceAddress: address,
    ServicePort: port,
    ServiceWeights: weights,
    ServiceEnableTagOverride: false,
    CreateIndex: entry.index,
    ModifyIndex: entry.index,
  };
}
