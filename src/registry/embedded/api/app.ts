import { type Context, Hono } from 'hono';
import type { AddressPolicy } from '../../../core/address.ts';
import type { Clock } from '../../../core/clock.ts';
import { isName } from '../../../core/names.ts';
import type { Random } from '../../../core/random.ts';
import type { FindFailure } from '../operations.ts';
import type { EmbeddedRegistry } from '../registry.ts';
import { type RegistryLog, reasonOf } from '../report.ts';
import { createConsulApp } from '../consul/app.ts';
import { createEurekaApp } from '../eureka/app.ts';
import { dialectOf, tokenCheck } from './token.ts';
import { instanceList } from './instance-list.ts';
import { readJson } from './json-body.ts';
import { type Problem, invalid, problemResponse, unavailable } from './problem.ts';
import { badName, instancesQuery, lastEventIndex, type Report, reportOf, watchedServices } from './queries.ts';
import { parseRegistration } from './registration-body.ts';
import { type StatusOf, ttlView } from './views.ts';
import { Watchers } from './watchers.ts';

export interface RegistryAppDeps {
  readonly registry: EmbeddedRegistry;
  /** What may be registered. A function is asked each time, and so follows a reload of the configuration. */
  readonly addresses: AddressPolicy | (() => AddressPolicy);
  readonly clock: Clock;
  readonly random: Random;
  readonly log: RegistryLog;
  /** Asked for as `Authorization: Bearer …` on every path; undefined = no token is needed. */
  readonly token?: string | undefined;
  /** The gateway's word on an instance. Without it, and where it has none, the registry's own. */
  readonly statusOf?: StatusOf | undefined;
  /** An instance has sent a heartbeat, and said how it is. */
  readonly onHeartbeat?: ((service: string, id: string, report: Report) => void) | undefined;
  /** Default 64 KiB. */
  readonly maxBodyBytes?: number;
  /** Default 10 s. */
  readonly bodyTimeoutMs?: number;
  /** Clients of `GET /watch` at a time. Default 1000. */
  readonly watchers?: number;
  /** What one of them may leave unread before it is cut off. Default 1 MiB. */
  readonly watchBufferBytes?: number;
  /** Default 15 s. */
  readonly keepAliveMs?: number;
}

const MAX_BODY_BYTES = 65_536;
const BODY_TIMEOUT_MS = 10_000;
const INDEX_HEADER = 'x-fairlead-index';
/** A wait is longer by up to this share of it: clients that came together leave apart. As Consul does. */
const WAIT_JITTER = 1 / 16;

/**
 * The native HTTP API of the embedded registry. It listens nowhere by itself. On `@hono/node-server` the connection of
 * a watcher that does not read is broken; elsewhere its stream errors.
 */
export function createRegistryApp(deps: RegistryAppDeps): Hono {
  const app = new Hono();
  const { registry } = deps;
  const watchers = new Watchers({
    registry,
    clock: deps.clock,
    statusOf: deps.statusOf,
    limit: deps.watchers ?? 1000,
    maxBufferedBytes: deps.watchBufferBytes ?? 1_048_576,
    keepAliveMs: deps.keepAliveMs ?? 15_000,
  });

  const onError = (error: Error, context: Context): Response => {
    deps.log('error', 'a registry request failed', { path: context.req.path, reason: reasonOf(error) });
    return problemResponse({ status: 500, title: 'The registry failed on this request' });
  };
  app.onError(onError);
  app.notFound(() => problemResponse({ status: 404, title: 'There is nothing at this path', detail: CALLS }));
  if (deps.token !== undefined) {
    const allowed = tokenCheck(deps.token);
    app.use(async (context, next) => {
      if (!allowed(context.req.raw.headers, dialectOf(context.req.path))) return problemResponse(UNAUTHORIZED);
      await next();
      return undefined;
    });
  }

  const { addresses, maxBodyBytes = MAX_BODY_BYTES, bodyTimeoutMs = BODY_TIMEOUT_MS } = deps;
  const shared = {
    registry,
    clock: deps.clock,
    addresses: typeof addresses === 'function' ? addresses : () => addresses,
    maxBodyBytes,
    bodyTimeoutMs,
    onHeartbeat: deps.onHeartbeat ?? ((): void => undefined),
    onError,
  };
  const eureka = createEurekaApp(shared);
  const consul = createConsulApp({ ...shared, random: deps.random, statusOf: deps.statusOf });
  app.all('/v1/*', (context) => consul.fetch(context.req.raw, context.env));
  app.all('/eureka/*', (context) => eureka.fetch(context.req.raw, context.env));
  app.post('/register', (context) => register(context, deps));
  app.put('/heartbeat/:id', (context) => heartbeat(context, deps));
  app.delete('/deregister/:id', (context) => deregister(context, registry));
  app.get('/services', () => services(registry));
  app.get('/services/:name/instances', (context) => instances(context, deps));
  app.get('/watch', (context) => watch(context, registry, watchers));
  for (const [path, method] of METHODS) {
    app.all(path, () =>
      problemResponse({ status: 405, title: `The method here is ${method}`, headers: { allow: method } }),
    );
  }
  return app;
}

const CALLS =
  'There are POST /register, PUT /heartbeat/ID, DELETE /deregister/ID, GET /services, GET /services/NAME/instances ' +
  'and GET /watch; Eureka is under /eureka, Consul under /v1. The dashboard is on the admin listener.';

const METHODS: readonly (readonly [path: string, method: string])[] = [
  ['/register', 'POST'],
  ['/heartbeat/:id', 'PUT'],
  ['/deregister/:id', 'DELETE'],
  ['/services', 'GET'],
  ['/services/:name/instances', 'GET'],
  ['/watch', 'GET'],
];

const UNAUTHORIZED: Problem = {
  status: 401,
  title: 'A token is needed',
  detail: 'Send the token of this registry as Authorization: Bearer TOKEN.',
  headers: { 'www-authenticate': 'Bearer realm="fairlead registry"' },
};

async function register(context: Context, deps: RegistryAppDeps): Promise<Response> {
  const { maxBodyBytes = MAX_BODY_BYTES, bodyTimeoutMs = BODY_TIMEOUT_MS, clock, registry, addresses } = deps;
  const body = await readJson(context.req.raw, { clock, maxBytes: maxBodyBytes, timeoutMs: bodyTimeoutMs });
  if ('problem' in body) return problemResponse(body.problem);
  const parsed = parseRegistration(body.value, typeof addresses === 'function' ? addresses() : addresses);
  if ('errors' in parsed) return problemResponse(invalid(...parsed.errors));
  const result = await registry.register(parsed.request);
  switch (result.kind) {
    case 'conflict': {
      const message = `belongs to an instance of ${result.service}: heartbeats name only the id, so it must be the only one. Choose another, or deregister that one.`;
      return problemResponse({
        status: 409,
        title: 'The id is taken',
        errors: [{ field: 'id', message }],
      });
    }
    case 'full':
      return problemResponse(unavailable(`It holds ${result.limit} ${result.what}, which is its limit.`));
    case 'unavailable':
      return problemResponse(unavailable(`Nothing was registered: ${result.why}.`));
    case 'registered': {
      const { instance, registration } = result.entry;
      const { id, service, host, port } = instance;
      const replaced = result.replaced.map((each) => ({ id: each.id, host: each.host, port: each.port }));
      return Response.json(
        { id, service, host, port, ttl: ttlView(registration.ttlMs), ...(replaced.length > 0 ? { replaced } : {}) },
        { status: 201, headers: indexHeaders(registry.indexOf(service)) },
      );
    }
  }
}

function heartbeat(context: Context, { registry, onHeartbeat }: RegistryAppDeps): Response {
  const target = targetOf(context);
  if ('problem' in target) return problemResponse(target.problem);
  const report = reportOf((parameter) => context.req.query(parameter));
  if ('problem' in report) return problemResponse(report.problem);
  const result = registry.heartbeat(target.id, target.service);
  if (result.kind !== 'renewed') return problemResponse(notFound(result, target.id));
  const { instance, registration } = result.entry;
  onHeartbeat?.(instance.service, instance.id, report);
  return Response.json(
    { id: instance.id, service: instance.service, ttl: ttlView(registration.ttlMs) },
    { headers: NO_STORE },
  );
}

async function deregister(context: Context, registry: EmbeddedRegistry): Promise<Response> {
  const target = targetOf(context);
  if ('problem' in target) return problemResponse(target.problem);
  const result = await registry.deregister(target.id, target.service);
  if (result.kind === 'unavailable') {
    return problemResponse(unavailable(`Nothing was deregistered: ${result.why}.`));
  }
  if (result.kind !== 'removed') return problemResponse(notFound(result, target.id));
  const { id, service, host, port } = result.instance;
  return Response.json({ id, service, host, port }, { headers: NO_STORE });
}

function services(registry: EmbeddedRegistry): Response {
  const list = [...registry.services.values()].map(({ name, entries }) => ({ name, instances: entries.size }));
  return Response.json(list, { headers: indexHeaders(registry.index) });
}

async function instances(context: Context, { registry, random, statusOf: ask }: RegistryAppDeps): Promise<Response> {
  const query = instancesQuery(context.req.param('name') ?? '', (parameter) => context.req.query(parameter));
  if ('problem' in query) return problemResponse(query.problem);
  const { service, index, waitMs } = query;
  // An index from the future is one of another registry, or of this one before its data was lost: nothing to wait for.
  if (index !== undefined && index <= registry.index && registry.indexOf(service) <= index) {
    const change = registry.nextChange(service, waitMs * (1 + random() * WAIT_JITTER), context.req.raw.signal);
    if (!change) return problemResponse(unavailable('Too many queries are waiting for a change.'));
    await change;
  }
  // What changes while the list is read has an index above this one.
  const told = registry.indexOf(service);
  const entries = [...(registry.services.get(service)?.entries.values() ?? [])];
  const list = instanceList(entries, { statusOf: ask, healthyOnly: query.healthyOnly });
  return new Response(list, { headers: { 'content-type': 'application/json', ...indexHeaders(told) } });
}

function watch(context: Context, registry: EmbeddedRegistry, watchers: Watchers): Response {
  const wanted = watchedServices(context.req.queries('service') ?? []);
  if (wanted && 'problem' in wanted) return problemResponse(wanted.problem);
  const headers = { 'content-type': 'text/event-stream', ...indexHeaders(registry.index), 'x-accel-buffering': 'no' };
  // The stream would have no reader, and so no end.
  if (context.req.method === 'HEAD') return new Response(null, { headers });
  const { outgoing } = (context.env ?? {}) as { readonly outgoing?: { readonly destroy: () => unknown } };
  const breakConnection = outgoing && ((): unknown => outgoing.destroy());
  const stream = watchers.open(wanted, lastEventIndex(context.req.header('last-event-id')), breakConnection);
  return stream
    ? new Response(stream, { headers })
    : problemResponse(unavailable('There are as many watchers as it takes.'));
}

const NO_STORE: Readonly<Record<string, string>> = { 'cache-control': 'no-store' };

function indexHeaders(index: number): Record<string, string> {
  return { ...NO_STORE, [INDEX_HEADER]: String(index) };
}

function targetOf(
  context: Context,
): { readonly id: string; readonly service: string | undefined } | { readonly problem: Problem } {
  const id = context.req.param('id') ?? '';
  const service = context.req.query('service');
  if (!isName(id)) return { problem: badName('id') };
  if (service !== undefined && !isName(service)) return { problem: badName('service') };
  return { id, service };
}

function notFound(failure: FindFailure, id: string): Problem {
  if (failure.kind === 'unknown') {
    return { status: 404, title: 'No such instance', detail: `${id} is not registered (any more). Register again.` };
  }
  const message = `is the id of instances of ${failure.services.join(', ')}: add ?service=NAME`;
  return { status: 409, title: 'The id is not the only one', errors: [{ field: 'id', message }] };
}
