import type { Context } from 'hono';
import { isName, NAME_RULE } from '../../../core/names.ts';
import { invalid, problemResponse, unavailable } from '../api/problem.ts';
import { enclosed, inSlices } from '../slices.ts';
import type { Entry, ServiceEntry } from '../table.ts';
import type { ConsulAppDeps } from './deps.ts';
import { type Blocking, type HealthQuery, healthQuery, refusedScope } from './queries.ts';
import { catalogView, checksOf, consulIdOf, DATACENTER, healthView, LEADER, toldOf } from './views.ts';

/** A wait is longer by up to this share of it, as Consul's: clients that came together leave apart. */
const WAIT_JITTER = 1 / 16;

type Deps = Pick<ConsulAppDeps, 'registry' | 'random' | 'statusOf'>;

export function leader(): Response {
  return Response.json(LEADER, { headers: headersOf(1) });
}

export function peers(): Response {
  return Response.json([LEADER], { headers: headersOf(1) });
}

export function datacenters(): Response {
  return Response.json([DATACENTER], { headers: headersOf(1) });
}

/** `GET /v1/catalog/services`: names with the tags of all their instances, in a blocking query if wanted. */
export async function services(context: Context, deps: Deps): Promise<Response> {
  const { registry } = deps;
  const query = healthQuery(new URL(context.req.url).searchParams);
  if ('problem' in query) return problemResponse(query.problem);
  const busy = await waited(context, deps, query, registry.registeredIndex, (waitMs, signal) =>
    registry.nextRegistration(waitMs, signal),
  );
  if (busy) return busy;
  const index = registry.registeredIndex;
  // Consul lists itself; clients take an answer without it for one of a server that has only just started.
  const names = new Map<string, readonly string[]>([['consul', []]]);
  for (const entry of registry.services.values()) {
    if (entry.entries.size > 0) names.set(entry.name, tagsOf(entry));
  }
  return Response.json(Object.fromEntries(names), { headers: headersOf(index) });
}

const tagCache = new WeakMap<Readonly<ServiceEntry>, { readonly index: number; readonly tags: readonly string[] }>();

/** Every registration anywhere wakes whoever follows the catalog: only what has changed is looked through again. */
function tagsOf(service: Readonly<ServiceEntry>): readonly string[] {
  const { index } = service;
  const cached = tagCache.get(service);
  if (cached?.index === index) return cached.tags;
  const all = new Set<string>();
  for (const entry of service.entries.values()) {
    if (entry.registration.origin?.dialect === 'consul') for (const tag of toldOf(entry).tags) all.add(tag);
  }
  const tags = [...all];
  tagCache.set(service, { index, tags });
  return tags;
}

export async function service(context: Context, deps: Deps): Promise<Response> {
  return ofService(context, deps, (entry, id) => JSON.stringify(catalogView(entry, id)));
}

/** `GET /v1/health/service/{name}`: what clients find instances by. */
export async function health(context: Context, deps: Deps): Promise<Response> {
  return ofService(context, deps, (entry, id, { passingOnly }) => {
    const checks = checksOf(entry, id, deps.statusOf);
    if (passingOnly && checks.some(({ Status }) => Status !== 'passing')) return undefined;
    return JSON.stringify(healthView(entry, id, checks));
  });
}

async function ofService(
  context: Context,
  deps: Deps,
  render: (entry: Readonly<Entry>, id: string, query: HealthQuery) => string | undefined,
): Promise<Response> {
  const { registry } = deps;
  const name = context.req.param('name') ?? '';
  if (!isName(name)) return problemResponse(invalid({ field: 'name', message: `must be ${NAME_RULE}` }));
  const query = healthQuery(new URL(context.req.url).searchParams);
  if ('problem' in query) return problemResponse(query.problem);
  const busy = await waited(context, deps, query, registry.indexOf(name), (waitMs, signal) =>
    registry.nextChange(name, waitMs, signal),
  );
  if (busy) return busy;
  // What changes while the list is read has an index above this one.
  const index = registry.indexOf(name);
  const isOnly = (id: string): boolean => registry.findById(id).length === 1;
  const entries = [...(registry.services.get(name)?.entries.values() ?? [])];
  const texts = function* (): Generator<string> {
    for (const entry of entries) {
      if (!hasTags(entry, query.tags)) continue;
      const text = render(entry, consulIdOf(entry, isOnly), query);
      if (text !== undefined) yield text;
    }
  };
  const headers = { 'content-type': 'application/json', ...headersOf(index) };
  return new Response(inSlices(enclosed('[', texts(), ']')), { headers });
}

function hasTags(entry: Readonly<Entry>, wanted: readonly string[]): boolean {
  if (wanted.length === 0) return true;
  const tags = new Set(toldOf(entry).tags.map((tag) => tag.toLowerCase()));
  return wanted.every((tag) => tags.has(tag));
}

/** Waits where the query wants to and there is nothing new. The answer, where it cannot wait. */
async function waited(
  context: Context,
  { registry, random }: Deps,
  { index, waitMs }: Blocking,
  currentIndex: number,
  wait: (waitMs: number, signal: AbortSignal) => Promise<void> | undefined,
): Promise<Response | undefined> {
  // An index from the future is one of another registry, or of this one before its data was lost: nothing to wait for.
  if (index === undefined || index > registry.index || currentIndex > index) return undefined;
  const change = wait(waitMs * (1 + random() * WAIT_JITTER), context.req.raw.signal);
  if (!change) return problemResponse(unavailable('Too many queries are waiting for a change.'));
  await change;
  return undefined;
}

/** The answer to a question about another scope; undefined = it may be asked. */
export function refused(context: Context): Response | undefined {
  const problem = refusedScope(new URL(context.req.url).searchParams);
  return problem && problemResponse(problem);
}

export function headersOf(index: number): Record<string, string> {
  return {
    'cache-control': 'no-store',
    'x-consul-index': String(index),
    'x-consul-knownleader': 'true',
    'x-consul-lastcontact': '0',
    'x-consul-effective-consistency': 'leader',
  };
}
