import { type Context, type ErrorHandler, Hono } from 'hono';
import type { AddressPolicy } from '../../../core/address.ts';
import type { Clock } from '../../../core/clock.ts';
import { type EurekaStatus, statusOf } from '../../eureka/registration.ts';
import { readJson } from '../api/json-body.ts';
import { type Problem, invalid, problemResponse, unavailable } from '../api/problem.ts';
import type { Report } from '../api/queries.ts';
import type { UpdateResult } from '../operations.ts';
import { tableIdOf } from '../origin.ts';
import type { Registration } from '../record.ts';
import type { EmbeddedRegistry } from '../registry.ts';
import type { Entry } from '../table.ts';
import { metadataProblem, parseInstance } from './body.ts';
import { buildRegistration, type Said, saidOf, statusWord } from './build.ts';
import { Delta } from './delta.ts';
import { application, applications, everything, formatOf, hashOf, type Item, itemOf, single } from './lists.ts';
import { instanceInfo } from './views.ts';

export interface EurekaAppDeps {
  readonly registry: EmbeddedRegistry;
  readonly addresses: () => AddressPolicy;
  readonly clock: Clock;
  readonly maxBodyBytes: number;
  readonly bodyTimeoutMs: number;
  readonly onError: ErrorHandler;
  readonly onHeartbeat: (service: string, id: string, report: Report) => void;
}

type Target = { readonly entry: Readonly<Entry> } | { readonly problem: Problem };

/** Eureka's REST operations, under `/eureka` and `/eureka/v2`, on the one table of the embedded registry. */
export function createEurekaApp(deps: EurekaAppDeps): Hono {
  const app = new Hono({ strict: false });
  const { registry } = deps;
  const delta = new Delta(registry, deps.clock);
  for (const base of ['/eureka/v2', '/eureka']) {
    app.get(`${base}/apps`, (context) => all(context, registry));
    app.get(`${base}/apps/delta`, (context) => changes(context, registry, delta));
    app.get(`${base}/apps/:app`, (context) => one(context, registry));
    app.post(`${base}/apps/:app`, (context) => register(context, deps));
    app.get(`${base}/apps/:app/:id`, (context) => instance(context, target(context, registry)));
    app.put(`${base}/apps/:app/:id`, (context) => renew(context, deps));
    app.delete(`${base}/apps/:app/:id`, (context) => cancel(context, registry));
    app.put(`${base}/apps/:app/:id/status`, (context) => override(context, registry));
    app.delete(`${base}/apps/:app/:id/status`, (context) => endOverride(context, registry));
    app.put(`${base}/apps/:app/:id/metadata`, (context) => addMetadata(context, registry));
    app.get(`${base}/instances/:id`, (context) => instance(context, anywhere(context, registry)));
    app.get(`${base}/vips/:vip`, (context) => byVip(context, registry, 'vipAddress'));
    app.get(`${base}/svips/:vip`, (context) => byVip(context, registry, 'secureVipAddress'));
    for (const path of ['peerreplication', 'asg', 'secondary', 'serverinfo', 'lastn']) {
      app.all(`${base}/${path}/*`, () => problemResponse(UNSUPPORTED));
      app.all(`${base}/${path}`, () => problemResponse(UNSUPPORTED));
    }
    for (const [path, allow] of METHODS) {
      const title = `The methods here are ${allow}`;
      app.all(`${base}${path}`, () => problemResponse({ status: 405, title, headers: { allow } }));
    }
  }
  app.onError(deps.onError);
  app.notFound(() => problemResponse({ status: 404, title: 'Eureka has nothing at this path' }));
  return app;
}

const METHODS: readonly (readonly [path: string, methods: string])[] = [
  ['/apps', 'GET'],
  ['/apps/:app', 'GET, POST'],
  ['/apps/:app/:id', 'GET, PUT, DELETE'],
  ['/apps/:app/:id/status', 'PUT, DELETE'],
  ['/apps/:app/:id/metadata', 'PUT'],
  ['/instances/:id', 'GET'],
  ['/vips/:vip', 'GET'],
  ['/svips/:vip', 'GET'],
];

const UNSUPPORTED: Problem = {
  status: 501,
  title: 'This part of Eureka is not supported',
  detail: 'The embedded registry has no peers, no auto-scaling groups and no other regions.',
};
const NO_XML: Problem = {
  status: 415,
  title: 'XML is not read here',
  detail:
    'Set the client to JSON, its default since 1.4: eureka.encoderName=LegacyJacksonJson, Content-Type: application/json.',
};
const UNKNOWN: Problem = {
  status: 404,
  title: 'No such instance',
  detail: 'It is not registered (any more). Register again.',
};
const FOREIGN: Problem = {
  status: 409,
  title: 'The instance was registered in another way',
  detail: 'Status and metadata belong to whoever registered it: use the API that it came by, or fairlead drain.',
};

function all(context: Context, registry: EmbeddedRegistry): Response {
  if ((context.req.query('regions') ?? '') !== '') return problemResponse(UNSUPPORTED);
  const items = everything(registry);
  return applications(items, hashOf(items), '1', formatOf(context.req.header('accept')));
}

function changes(context: Context, registry: EmbeddedRegistry, delta: Delta): Response {
  if ((context.req.query('regions') ?? '') !== '') return problemResponse(UNSUPPORTED);
  const items = delta.read();
  if (!items) {
    const detail = 'More has changed in three minutes than is remembered: fetch everything.';
    return problemResponse({ status: 403, title: 'There is no delta', detail });
  }
  return applications(items, delta.hash(), String(registry.registeredIndex), formatOf(context.req.header('accept')));
}

function one(context: Context, registry: EmbeddedRegistry): Response {
  const name = (context.req.param('app') ?? '').toUpperCase();
  const services = [...registry.services.values()].filter((service) => service.name.toUpperCase() === name);
  const items = services.flatMap(({ entries }) => Array.from(entries.values(), (entry) => itemOf(entry)));
  if (items.length === 0) return problemResponse({ status: 404, title: 'No such application' });
  return application(name, items, formatOf(context.req.header('accept')));
}

function byVip(context: Context, registry: EmbeddedRegistry, field: 'vipAddress' | 'secureVipAddress'): Response {
  const vip = context.req.param('vip') ?? '';
  const all = everything(registry);
  const items = all.filter((item) => vipsOf(item, field).includes(vip));
  if (items.length === 0) return problemResponse({ status: 404, title: 'No instance has this VIP address' });
  return applications(items, hashOf(items), '-1', formatOf(context.req.header('accept')));
}

function vipsOf({ registration }: Item, field: 'vipAddress' | 'secureVipAddress'): readonly string[] {
  const given = saidOf(registration)?.fields[field];
  return (typeof given === 'string' ? given : registration.instance.service).split(',');
}

function instance(context: Context, found: Target): Response {
  if ('problem' in found) return problemResponse(found.problem);
  return single('instance', instanceInfo(itemOf(found.entry), 'ADDED'), formatOf(context.req.header('accept')));
}

async function register(context: Context, deps: EurekaAppDeps): Promise<Response> {
  const { registry, clock, maxBodyBytes: maxBytes, bodyTimeoutMs: timeoutMs } = deps;
  if (context.req.header('content-type')?.toLowerCase().includes('xml') === true) return problemResponse(NO_XML);
  const body = await readJson(context.req.raw, { clock, maxBytes, timeoutMs });
  if ('problem' in body) return problemResponse(body.problem);
  const parsed = parseInstance(context.req.param('app') ?? '', body.value, deps.addresses());
  if ('errors' in parsed) return problemResponse(invalid(...parsed.errors));
  const { said, registration } = parsed;
  const result = await registry.register({
    ...registration,
    id: registration.instance.id,
    idScope: 'service',
    inherit: (next, known) => withOverride(next, said, known),
  });
  switch (result.kind) {
    case 'registered':
      return new Response(null, { status: 204 });
    case 'full':
      return problemResponse(unavailable(`It holds ${result.limit} ${result.what}, which is its limit.`));
    case 'unavailable':
      return problemResponse(unavailable(`Nothing was registered: ${result.why}.`));
    case 'conflict':
      return problemResponse({ status: 409, title: 'The id is taken' });
  }
}

/** An override outlives registrations: it is an operator's word, not the instance's. */
function withOverride(next: Registration, said: Said, known: Registration | undefined): Registration {
  const before = known && saidOf(known)?.override;
  if (before === undefined || before === 'UNKNOWN') return next;
  return buildRegistration({ ...said, override: before }).registration ?? next;
}

function renew(context: Context, { registry, onHeartbeat }: EurekaAppDeps): Response {
  const found = target(context, registry);
  if ('problem' in found) return problemResponse(found.problem);
  const { registration } = found.entry;
  if (hasChanged(registration, context.req.query('lastDirtyTimestamp'))) {
    return problemResponse({ ...UNKNOWN, title: 'The instance has changed since it registered' });
  }
  const { service, id } = registration.instance;
  const result = registry.heartbeat(id, service);
  if (result.kind !== 'renewed') return problemResponse(UNKNOWN);
  if (statusWord(result.entry.instance) === 'UP') onHeartbeat(service, id, { status: 'passing', output: '' });
  return new Response(null, { status: 200 });
}

/** The client knows of a change that we were not told of; a 404 has it told: shouldSyncWhenTimestampDiffers. */
function hasChanged(registration: Registration, dirty: string | undefined): boolean {
  if (dirty === undefined || !/^\d{1,16}$/.test(dirty)) return false;
  const known = saidOf(registration)?.fields['lastDirtyTimestamp'];
  return typeof known === 'number' && Number(dirty) > known;
}

async function cancel(context: Context, registry: EmbeddedRegistry): Promise<Response> {
  const found = target(context, registry);
  if ('problem' in found) return problemResponse(found.problem);
  const { service, id } = found.entry.instance;
  const result = await registry.deregister(id, service);
  if (result.kind === 'unavailable') return problemResponse(unavailable(`Nothing was deregistered: ${result.why}.`));
  return result.kind === 'removed' ? new Response(null, { status: 200 }) : problemResponse(UNKNOWN);
}

const STATUSES: ReadonlySet<string> = new Set<EurekaStatus>(['UP', 'DOWN', 'STARTING', 'OUT_OF_SERVICE', 'UNKNOWN']);
const STATUS_RULE = 'must be UP, DOWN, STARTING, OUT_OF_SERVICE or UNKNOWN';

async function override(context: Context, registry: EmbeddedRegistry): Promise<Response> {
  const value = context.req.query('value') ?? '';
  if (!STATUSES.has(value)) return problemResponse(invalid({ field: 'value', message: STATUS_RULE }));
  return change(target(context, registry), registry, (said) => ({ ...said, override: statusOf({ status: value }) }));
}

/** `value` is the status to go on with; without it, the one the instance itself gave last. */
async function endOverride(context: Context, registry: EmbeddedRegistry): Promise<Response> {
  const value = context.req.query('value');
  if (value !== undefined && !STATUSES.has(value)) {
    return problemResponse(invalid({ field: 'value', message: STATUS_RULE }));
  }
  return change(target(context, registry), registry, (said) => ({
    ...said,
    override: 'UNKNOWN',
    status: value === undefined ? said.status : statusOf({ status: value }),
  }));
}

async function addMetadata(context: Context, registry: EmbeddedRegistry): Promise<Response> {
  const found = target(context, registry);
  const given = new URL(context.req.url).searchParams;
  if ('entry' in found) {
    const problem = metadataProblem(new Map([...found.entry.instance.metadata, ...given]));
    if (problem !== undefined) return problemResponse(invalid({ field: 'metadata', message: problem }));
    const bad = [...given.keys()].find((key) => key === '' || key === '__proto__' || key.startsWith('@'));
    if (bad !== undefined)
      return problemResponse(invalid({ field: 'metadata', message: `must not have the key "${bad.slice(0, 64)}"` }));
  }
  return change(found, registry, (said) => ({ ...said, metadata: new Map([...said.metadata, ...given]) }));
}

/** As Eureka, it counts as a heartbeat. */
async function change(found: Target, registry: EmbeddedRegistry, next: (said: Said) => Said): Promise<Response> {
  if ('problem' in found) return problemResponse(found.problem);
  const { instance: key, registration } = found.entry;
  if (!saidOf(registration)) return problemResponse(FOREIGN);
  const result: UpdateResult = await registry.update(
    key,
    (known) => {
      const said = saidOf(known);
      return (said && buildRegistration(next(said)).registration) ?? known;
    },
    { renews: true },
  );
  if (result.kind === 'unavailable') return problemResponse(unavailable(`Nothing was changed: ${result.why}.`));
  return result.kind === 'updated' ? new Response(null, { status: 200 }) : problemResponse(UNKNOWN);
}

function target(context: Context, registry: EmbeddedRegistry): Target {
  const app = (context.req.param('app') ?? '').toUpperCase();
  return pick(context, registry, ({ service }) => service.toUpperCase() === app);
}

function anywhere(context: Context, registry: EmbeddedRegistry): Target {
  return pick(context, registry, () => true);
}

function pick(context: Context, registry: EmbeddedRegistry, accepts: (instance: Entry['instance']) => boolean): Target {
  const id = context.req.param('id') ?? '';
  const entry = registry
    .findById(tableIdOf(id))
    .find((each) => accepts(each.instance) && [each.instance.id, each.registration.origin?.id].includes(id));
  return entry ? { entry } : { problem: UNKNOWN };
}
