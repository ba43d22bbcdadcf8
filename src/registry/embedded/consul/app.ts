import { type Context, Hono } from 'hono';
import { type Problem, problemResponse } from '../api/problem.ts';
import * as agent from './agent.ts';
import * as catalog from './catalog.ts';
import type { ConsulAppDeps } from './deps.ts';

type Handler = (context: Context, deps: ConsulAppDeps) => Response | Promise<Response>;

/** What there is of Consul's HTTP API, under `/v1`. Everything else of it is answered with 501. */
const ROUTES: readonly (readonly [method: 'GET' | 'PUT', path: string, handler: Handler])[] = [
  ['PUT', '/agent/service/register', agent.register],
  ['PUT', '/agent/service/deregister/:id', agent.deregister],
  ['PUT', '/agent/service/maintenance/:id', agent.maintenance],
  ['PUT', '/agent/check/pass/:id', (context, deps) => agent.report(context, deps, 'passing')],
  ['PUT', '/agent/check/warn/:id', (context, deps) => agent.report(context, deps, 'warning')],
  ['PUT', '/agent/check/fail/:id', (context, deps) => agent.report(context, deps, 'critical')],
  ['PUT', '/agent/check/update/:id', agent.update],
  ['GET', '/agent/services', agent.services],
  ['GET', '/agent/checks', agent.checks],
  ['GET', '/agent/service/:id', agent.service],
  ['GET', '/agent/self', agent.self],
  ['GET', '/catalog/datacenters', catalog.datacenters],
  ['GET', '/catalog/services', catalog.services],
  ['GET', '/catalog/service/:name', catalog.service],
  ['GET', '/health/service/:name', catalog.health],
  ['GET', '/status/leader', catalog.leader],
  ['GET', '/status/peers', catalog.peers],
];

/** The paths of Consul's agent and catalog that clients need, on the one table of the embedded registry. */
export function createConsulApp(deps: ConsulAppDeps): Hono {
  const app = new Hono({ strict: false });
  for (const [method, path, handler] of ROUTES) {
    const title = `The method here is ${method}`;
    app.on(method, `/v1${path}`, (context) => handler(context, deps));
    app.all(`/v1${path}`, () => problemResponse({ status: 405, title, headers: { allow: method } }));
  }
  // Clients ask for it to find out whether there is any: as of a Consul before 1.7, there is not.
  app.all('/v1/internal/*', () => problemResponse({ status: 404, title: 'There is nothing at this path' }));
  app.all('/v1/*', () => problemResponse(UNSUPPORTED));
  app.onError(deps.onError);
  return app;
}

const UNSUPPORTED: Problem = {
  status: 501,
  title: 'The embedded registry does not support this part of Consul',
  detail:
    'It registers services with their checks and lists them: no key-value store, sessions, ACLs, queries or mesh.',
};
