import { Hono, type Context } from 'hono';
import type { ServiceDetail } from '../upstream/directory.ts';
import { hostName, limitBody, refuseForms, refuseOtherOrigins, requireKnownHost, requireToken } from './access.ts';
import { addDashboard } from './dashboard.ts';
import type { AdminDeps } from './deps.ts';
import { explain, type ExplainQuestion } from './explain.ts';
import { Followers } from './followers.ts';
import { nearMatches } from './near.ts';
import { problem } from './problem.ts';
import { diffTables, type RegistryDiff } from './registry-diff.ts';
import { API_HEADER, API_VERSION, CONDITIONS, type OverviewReport } from './reports.ts';
import { countConditions, listServices, withTraffic } from './service-list.ts';
import { findMember, reportInstance, reportService, totalWeight } from './service-report.ts';

const MAX_BODY_BYTES = 65_536;
/** Instances in one answer. */
const MAX_INSTANCES = 1000;
const MAX_EVENTS = 1000;

/** The admin API as a plain function from request to response: the composition root gives it a listener. */
export function createAdminApp(deps: AdminDeps): Hono {
  const app = new Hono();
  app.use(async (c, next) => {
    await next();
    c.res.headers.set(API_HEADER, API_VERSION);
    c.res.headers.set('cache-control', 'no-store');
    c.res.headers.set('x-content-type-options', 'nosniff');
  });
  app.use(limitBody(MAX_BODY_BYTES));
  addProbes(app, deps);
  // Whoever has the token is no stranger's web page, by whatever name it asks; without one, reading is worth protecting too.
  if (deps.token === undefined) app.use(requireKnownHost(deps.hostNames));
  addDashboard(app);
  if (deps.token !== undefined) app.use(requireToken(deps.token));
  app.post('*', refuseOtherOrigins, refuseForms);
  app.get('/', (c) => c.text(INDEX));
  app.get('/metrics', () => metrics(deps));
  addServices(app, deps);
  addExplain(app, deps);
  addGateway(app, deps);
  app.notFound((c) => problem(404, `there is no ${c.req.method} ${c.req.path} here; GET / lists what there is`));
  app.onError((error) => {
    deps.onBug(error);
    return problem(500, 'this is a defect of the gateway; its log says more');
  });
  return app;
}

const INDEX = `Fairlead, admin

GET  /                                            the dashboard, for browsers
GET  /metrics                                     Prometheus
GET  /healthz                                     alive
GET  /readyz                                      ready for traffic; 503 with reasons
GET  /api/overview                                the gateway itself at one glance
GET  /api/services                                every service in short (?limit=N, ?offset=N, ?q=PART of the name,
                                                  ?condition=down,panic,…, ?order=condition, ?traffic with counts)
GET  /api/services/NAME                           one service with its instances (?limit=N, ?traffic)
GET  /api/services/NAME/explain                   why each instance does or does not take traffic (?instance=ID)
GET  /api/explain?q=SERVICE-or-URL                the same, found by name, host or URL
GET  /api/services/NAME/instances/ID              one instance
POST /api/services/NAME/instances/ID/drain        take it out of rotation
POST /api/services/NAME/instances/ID/undrain      let it in again
GET  /api/registries                              where instances come from, and how fresh that is
GET  /api/registries/A/diff/B                     what one registry has and another lacks
GET  /api/events                                  what changed and why (?after=N, ?service=NAME; ?follow as SSE)
POST /api/reload                                  read the configuration anew
POST /api/upgrade                                 start this program anew and hand everything over
GET  /api/version
`;

function addProbes(app: Hono, deps: AdminDeps): void {
  app.get('/healthz', (c) => c.json({ status: 'alive' }));
  app.get('/readyz', (c) => {
    const reasons = deps.notReady();
    if (reasons.length > 0) return c.json({ status: 'not ready', reasons }, 503);
    const { shortage } = deps.metrics.vitals().threads ?? {};
    return c.json({ status: 'ready', ...(shortage !== undefined && { warnings: [shortage] }) });
  });
}

async function metrics(deps: AdminDeps): Promise<Response> {
  const chunks = await deps.metrics.scrape();
  let next = 0;
  // Piece by piece: the text of a large fleet joined in one string would stop the event loop.
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const chunk = chunks[next++];
      if (chunk) controller.enqueue(chunk);
      else controller.close();
    },
  });
  return new Response(body, { headers: { 'content-type': deps.metrics.contentType } });
}

function addServices(app: Hono, deps: AdminDeps): void {
  app.get('/api/services', async (c) => {
    const conditions = c.req.query('condition')?.split(',');
    const question = {
      part: c.req.query('q') ?? '',
      conditions: conditions && new Set(CONDITIONS.filter((condition) => conditions.includes(condition))),
      order: c.req.query('order') === 'condition' ? 'condition' : 'name',
      offset: wholeNumber(c, 'offset') ?? 0,
      limit: wholeNumber(c, 'limit') ?? Infinity,
      traffic: c.req.query('traffic') !== undefined,
    } as const;
    return c.json(await listServices(question, deps));
  });
  app.get('/api/services/:name', (c) => {
    const service = deps.fleet.services.get(c.req.param('name'));
    if (!service) return noService(deps, c.req.param('name'));
    const report = reportService(service, deps, Math.min(wholeNumber(c, 'limit') ?? MAX_INSTANCES, MAX_INSTANCES));
    return c.json(c.req.query('traffic') === undefined ? report : withTraffic(report, deps));
  });
  app.get('/api/services/:name/instances/:id', (c) =>
    onInstance(c.req.param(), deps, (service, id) => c.json(instanceReport(service, id, deps))),
  );
  app.post('/api/services/:name/instances/:id/drain', (c) => setDrained(c, c.req.param(), deps, true));
  app.post('/api/services/:name/instances/:id/undrain', (c) => setDrained(c, c.req.param(), deps, false));
}

interface InstancePath {
  readonly name: string;
  readonly id: string;
}

function setDrained(c: Context, path: InstancePath, deps: AdminDeps, drained: boolean): Response {
  return onInstance(path, deps, (service, id) => {
    const known = drained ? deps.fleet.drain(service.name, id) : deps.fleet.undrain(service.name, id);
    // One that is leaving takes nothing new, which is all that a drain asks for.
    if (!known && !drained) return problem(404, `${id} of ${service.name} is no longer registered`);
    return c.json(instanceReport(service, id, deps));
  });
}

function instanceReport(service: ServiceDetail, id: string, deps: AdminDeps): unknown {
  const member = findMember(service, id);
  const facts = member && deps.fleet.explain(member);
  return facts && reportInstance(member, facts, deps, totalWeight(service, deps));
}

function addExplain(app: Hono, deps: AdminDeps): void {
  // `q` is the question itself in one path, and in the other whom of the instances to tell about.
  const answer = (
    c: Context,
    service: ServiceDetail,
    { host, part }: Pick<ExplainQuestion, 'host' | 'part'>,
  ): Response => {
    const id = c.req.query('instance');
    if (id === undefined) {
      const page = { part, offset: wholeNumber(c, 'offset'), limit: wholeNumber(c, 'limit') };
      return c.json(explain(service, deps, { host, ...page }));
    }
    return onInstance({ name: service.name, id }, deps, () =>
      c.json(explain(service, deps, { host, member: findMember(service, id) })),
    );
  };
  app.get('/api/services/:name/explain', (c) => {
    const service = deps.fleet.services.get(c.req.param('name'));
    return service ? answer(c, service, { part: c.req.query('q') }) : noService(deps, c.req.param('name'));
  });
  app.get('/api/explain', (c) => {
    const question = c.req.query('q') ?? '';
    const byName = deps.fleet.services.get(question);
    if (byName) return answer(c, byName, {});
    const host = hostOf(question);
    if (host === undefined) return problem(400, '`q` must be a service, a host or a URL');
    const name = deps.resolveHost(host);
    if (name === undefined) {
      return problem(404, `no service is called ${host} or answers at this host: requests for it get 404 (NR)`, {
        near: nearMatches(host.split('.')[0] ?? '', deps.fleet.services.keys()),
      });
    }
    const service = deps.fleet.services.get(name);
    if (!service) return problem(404, `${host} leads to the service ${name}, of which no registry knows anything`);
    return answer(c, service, { host });
  });
}

/** The host that a URL, or a host with or without port and path, is about. */
function hostOf(question: string): string | undefined {
  const [, authority] = /^(?:https?:\/\/)?([^/?#\s]+)/i.exec(question) ?? [];
  return authority === undefined ? undefined : hostName(authority);
}

function addGateway(app: Hono, deps: AdminDeps): void {
  const followers = new Followers(deps);
  app.get('/api/overview', (c) => c.json(overview(deps)));
  app.get('/api/registries', (c) => c.json({ registries: deps.registries() }));
  app.get('/api/registries/:first/diff/:second', (c) => {
    const { first, second } = c.req.param();
    const names = deps.registries().map(({ name }) => name);
    const unknown = [first, second].find((name) => !names.includes(name));
    const one = deps.registryTable(first);
    const other = deps.registryTable(second);
    if (unknown !== undefined || !one || !other) {
      return problem(404, `there is no registry ${JSON.stringify(unknown?.slice(0, 128))}`, {
        near: nearMatches(unknown ?? '', names),
      });
    }
    return c.json({ first, second, ...diffTables(one, other) } satisfies RegistryDiff);
  });
  app.get('/api/version', (c) => c.json(deps.build));
  app.get('/api/events', (c) => {
    const after = wholeNumber(c, 'after') ?? 0;
    const service = c.req.query('service');
    if (c.req.query('follow') === undefined) {
      const events = deps.timeline
        .latest({ after })
        .filter((event) => service === undefined || event.service === service);
      return c.json({ events: events.slice(-(wholeNumber(c, 'limit') ?? MAX_EVENTS)) });
    }
    const seen = Number(c.req.header('last-event-id') ?? after);
    const stream = followers.follow({ after: Number.isSafeInteger(seen) ? seen : after, service });
    if (!stream) return problem(503, 'too many follow the events already', {}, { 'retry-after': '10' });
    return new Response(stream, { headers: { 'content-type': 'text/event-stream' } });
  });
  app.post('/api/reload', async (c) => {
    const outcome = await deps.reload();
    if (outcome.ok) return c.json({ changes: outcome.changes });
    return problem(422, 'the configuration has errors; nothing was changed', { issues: outcome.issues });
  });
  app.post('/api/upgrade', async (c) => {
    const outcome = await deps.upgrade();
    return outcome.ok ? c.json({ pid: outcome.pid }) : problem(409, `no upgrade: ${outcome.reason}`);
  });
}

function overview(deps: AdminDeps): OverviewReport {
  const { bounds, ...vitals } = deps.metrics.vitals();
  const limits = [...(bounds?.limits ?? [])].filter(([, most]) => Number.isFinite(most));
  return {
    ...vitals,
    bounds: { limits, refused: [...(bounds?.refused ?? [])] },
    build: deps.build,
    wallMs: deps.clock.wall(),
    notReady: deps.notReady(),
    services: countConditions(deps),
    registries: deps.registries(),
    history: deps.timeline.of(undefined),
  };
}

function wholeNumber(c: Context, name: string): number | undefined {
  const text = c.req.query(name);
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

function noService(deps: AdminDeps, name: string): Response {
  return problem(404, `there is no service ${JSON.stringify(name.slice(0, 128))}`, {
    near: nearMatches(name, deps.fleet.services.keys()),
  });
}

function onInstance(
  { name, id }: InstancePath,
  deps: AdminDeps,
  answer: (service: ServiceDetail, id: string) => Response,
): Response {
  const service = deps.fleet.services.get(name);
  if (!service) return noService(deps, name);
  if (findMember(service, id)) return answer(service, id);
  return problem(404, `there is no instance ${JSON.stringify(id.slice(0, 128))} of ${name}`, {
    near: nearMatches(id, service.members.keys()),
  });
}
