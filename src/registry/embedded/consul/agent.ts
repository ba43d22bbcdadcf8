import type { Context } from 'hono';
import { readJson } from '../api/json-body.ts';
import { type Problem, invalid, problemResponse, unavailable } from '../api/problem.ts';
import type { Report } from '../api/queries.ts';
import { tableIdOf } from '../origin.ts';
import type { EmbeddedRegistry } from '../registry.ts';
import { enclosed, inSlices } from '../slices.ts';
import type { Entry } from '../table.ts';
import type { ConsulAppDeps } from './deps.ts';
import { headersOf, refused } from './catalog.ts';
import { type Faults, Given } from './given.ts';
import { parseService } from './service-body.ts';
import { type CheckStatus, inheriting, rebuilt, serviceOf } from './service.ts';
import { checksOf, checkView, consulIdOf, SELF_VIEW, serviceView } from './views.ts';

const MAX_OUTPUT = 1024;
const REPORTS: Readonly<Record<CheckStatus, Report['status']>> = {
  passing: 'passing',
  warning: 'degraded',
  critical: 'failing',
};

/** `PUT /v1/agent/service/register` */
export async function register(context: Context, deps: ConsulAppDeps): Promise<Response> {
  const { registry } = deps;
  const scope = refused(context);
  if (scope) return scope;
  const body = await readBody(context, deps);
  if ('problem' in body) return problemResponse(body.problem);
  const parsed = parseService(body.value, peerOf(context), deps.addresses());
  if ('problem' in parsed) return problemResponse(parsed.problem);
  const { registration } = parsed;
  const { instance, origin } = registration;
  // An id is unique on an agent: registered under another name, it is another service from now on.
  for (const other of registry.findById(instance.id)) {
    const { service } = other.instance;
    const isSame = other.registration.origin?.dialect === 'consul' && other.registration.origin.id === origin?.id;
    if (isSame && service !== instance.service) await registry.deregister(instance.id, service);
  }
  const result = await registry.register({
    ...registration,
    id: instance.id,
    idScope: 'registry',
    inherit: inheriting,
  });
  switch (result.kind) {
    case 'registered':
      return done();
    case 'conflict': {
      const message = `belongs to an instance of ${result.service}, which was registered in another way: choose another`;
      return problemResponse({ status: 409, title: 'The id is taken', errors: [{ field: 'ID', message }] });
    }
    case 'full':
      return problemResponse(unavailable(`It holds ${result.limit} ${result.what}, which is its limit.`));
    case 'unavailable':
      return problemResponse(unavailable(`Nothing was registered: ${result.why}.`));
  }
}

/** `PUT /v1/agent/service/deregister/{id}`, in whichever dialect it was registered. */
export async function deregister(context: Context, { registry }: ConsulAppDeps): Promise<Response> {
  const scope = refused(context);
  if (scope) return scope;
  const id = context.req.param('id') ?? '';
  const entry = findService(registry, id);
  if (!entry) return problemResponse(unknownService(id));
  const { instance } = entry;
  const result = await registry.deregister(instance.id, instance.service);
  if (result.kind === 'unavailable') return problemResponse(unavailable(`Nothing was deregistered: ${result.why}.`));
  return result.kind === 'removed' ? done() : problemResponse(unknownService(id));
}

/** `PUT /v1/agent/service/maintenance/{id}?enable=true&reason=…` */
export async function maintenance(context: Context, { registry }: ConsulAppDeps): Promise<Response> {
  const id = context.req.param('id') ?? '';
  const enable = context.req.query('enable') ?? '';
  if (!/^(?:1|t|true|0|f|false)$/i.test(enable)) {
    return problemResponse(invalid({ field: 'enable', message: 'must be true or false' }));
  }
  const entry = findService(registry, id);
  if (!entry) return problemResponse(unknownService(id));
  if (!serviceOf(entry.registration)) return problemResponse(FOREIGN);
  const isOn = /^(?:1|t|true)$/i.test(enable);
  const reason = printable(context.req.query('reason') ?? '') || 'Maintenance mode is enabled for this service';
  const result = await registry.update(
    entry.instance,
    (known) => rebuilt(known, (told) => ({ ...told, maintenance: isOn ? reason : undefined })),
    { renews: false },
  );
  if (result.kind === 'unavailable') return problemResponse(unavailable(`Nothing was changed: ${result.why}.`));
  return result.kind === 'updated' ? done() : problemResponse(unknownService(id));
}

/** `PUT /v1/agent/check/{pass,warn,fail}/{id}?note=…` */
export async function report(context: Context, deps: ConsulAppDeps, status: CheckStatus): Promise<Response> {
  return beat(context, deps, status, context.req.query('note') ?? '');
}

/** `PUT /v1/agent/check/update/{id}` `{"Status", "Output"}` */
export async function update(context: Context, deps: ConsulAppDeps): Promise<Response> {
  const body = await readBody(context, deps);
  if ('problem' in body) return problemResponse(body.problem);
  const { value } = body;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return problemResponse(invalid({ field: 'body', message: 'must be an object' }));
  }
  const faults: Faults = { invalid: [], unsupported: [] };
  const given = new Given(value, '', faults);
  const status = given.take('Status');
  const output = given.take('Output') ?? '';
  given.end();
  if (status !== 'passing' && status !== 'warning' && status !== 'critical') {
    given.invalid('Status', 'must be passing, warning or critical');
  } else if (typeof output !== 'string') given.invalid('Output', 'must be text');
  else if (faults.invalid.length === 0) return beat(context, deps, status, output);
  return problemResponse(invalid(...faults.invalid.slice(0, 20)));
}

/**
 * A heartbeat. One that says the same as the last is not written, as no heartbeat is; one that says something else is,
 * so that a restart of the gateway neither revives the sick nor takes the well out of rotation.
 */
async function beat(context: Context, deps: ConsulAppDeps, status: CheckStatus, note: string): Promise<Response> {
  const { registry, onHeartbeat } = deps;
  const checkId = context.req.param('id') ?? '';
  const found = findTtlCheck(registry, checkId);
  if (!found) {
    const detail = `There is no TTL check ${JSON.stringify(checkId.slice(0, 200))}. Register the service again, with it.`;
    return problemResponse({ status: 404, title: 'Unknown check', detail });
  }
  const { entry, current } = found;
  const { service, id } = entry.instance;
  const output = printable(note);
  if (current === status) {
    const result = registry.heartbeat(id, service);
    if (result.kind !== 'renewed') return problemResponse({ status: 404, title: 'Unknown check' });
  } else {
    const result = await registry.update(
      entry.instance,
      (known) =>
        rebuilt(known, (told) => ({
          ...told,
          checks: told.checks.map((check) => (check.id === checkId ? { ...check, status, output } : check)),
        })),
      { renews: true },
    );
    if (result.kind === 'unavailable') return problemResponse(unavailable(`Nothing was changed: ${result.why}.`));
    if (result.kind !== 'updated') return problemResponse({ status: 404, title: 'Unknown check' });
  }
  onHeartbeat(service, id, { status: REPORTS[status], output });
  return done();
}

function findTtlCheck(
  registry: EmbeddedRegistry,
  checkId: string,
): { readonly entry: Readonly<Entry>; readonly current: CheckStatus } | undefined {
  const byDefault = checkId.startsWith('service:') ? checkId.slice('service:'.length) : undefined;
  const entry =
    registry.findByAlias(checkId) ?? (byDefault === undefined ? undefined : findService(registry, byDefault));
  const check = entry && serviceOf(entry.registration)?.checks.find(({ id, type }) => id === checkId && type === 'ttl');
  return entry && check && { entry, current: check.status };
}

/** By the client's own id; those of other dialects by ours, or as `service/id` where that is used twice. */
function findService(registry: EmbeddedRegistry, id: string): Readonly<Entry> | undefined {
  const slash = id.indexOf('/');
  const qualified = slash < 0 ? undefined : registry.find({ service: id.slice(0, slash), id: id.slice(slash + 1) });
  const candidates = [...registry.findById(tableIdOf(id)), ...(qualified ? [qualified] : [])];
  return candidates.find((entry) => consulIdOf(entry, isOnlyIn(registry)) === id);
}

function isOnlyIn(registry: EmbeddedRegistry): (id: string) => boolean {
  return (id) => registry.findById(id).length === 1;
}

export function self(): Response {
  return Response.json(SELF_VIEW, { headers: headersOf(1) });
}

/** `GET /v1/agent/services`: all there are, by id. */
export function services(context: Context, { registry }: ConsulAppDeps): Response {
  const scope = refused(context);
  if (scope) return scope;
  const isOnly = isOnlyIn(registry);
  const texts = function* (entries: readonly Readonly<Entry>[]): Generator<string> {
    for (const entry of entries) {
      const id = consulIdOf(entry, isOnly);
      yield `${JSON.stringify(id)}:${JSON.stringify(serviceView(entry, id))}`;
    }
  };
  return objectOf(texts([...entriesOf(registry)]), registry.registeredIndex);
}

/** `GET /v1/agent/checks` */
export function checks(context: Context, { registry, statusOf }: ConsulAppDeps): Response {
  const scope = refused(context);
  if (scope) return scope;
  const isOnly = isOnlyIn(registry);
  const texts = function* (entries: readonly Readonly<Entry>[]): Generator<string> {
    for (const entry of entries) {
      const id = consulIdOf(entry, isOnly);
      for (const check of checksOf(entry, id, statusOf)) {
        yield `${JSON.stringify(check.CheckID)}:${JSON.stringify(checkView(entry, id, check))}`;
      }
    }
  };
  return objectOf(texts([...entriesOf(registry)]), registry.index);
}

function objectOf(members: Iterable<string>, index: number): Response {
  const headers = { 'content-type': 'application/json', ...headersOf(index) };
  return new Response(inSlices(enclosed('{', members, '}')), { headers });
}

/** `GET /v1/agent/service/{id}` */
export function service(context: Context, { registry }: ConsulAppDeps): Response {
  const scope = refused(context);
  if (scope) return scope;
  const id = context.req.param('id') ?? '';
  const entry = findService(registry, id);
  if (!entry) return problemResponse(unknownService(id));
  return Response.json(serviceView(entry, id), { headers: headersOf(entry.index) });
}

function* entriesOf(registry: EmbeddedRegistry): Generator<Readonly<Entry>> {
  for (const { entries } of registry.services.values()) yield* entries.values();
}

const FOREIGN: Problem = {
  status: 409,
  title: 'The instance was registered in another way',
  detail: 'Maintenance belongs to the API that it was registered by: use that, or fairlead drain.',
};

function unknownService(id: string): Problem {
  return { status: 404, title: 'Unknown service', detail: `There is no service ${JSON.stringify(id.slice(0, 200))}.` };
}

/** PUT is no method that web pages may send across sites without asking first: any content type will do. */
function readBody(context: Context, { clock, maxBodyBytes: maxBytes, bodyTimeoutMs: timeoutMs }: ConsulAppDeps) {
  return readJson(context.req.raw, { clock, maxBytes, timeoutMs, anyType: true });
}

/** The address that the request came from, where it came by a socket. */
function peerOf(context: Context): string | undefined {
  const { incoming } = (context.env ?? {}) as { readonly incoming?: { readonly socket?: { remoteAddress?: string } } };
  return incoming?.socket?.remoteAddress;
}

function printable(text: string): string {
  return text.replaceAll(/\p{Cc}+/gu, ' ').slice(0, MAX_OUTPUT);
}

function done(): Response {
  return new Response(null, { status: 200, headers: { 'cache-control': 'no-store' } });
}
