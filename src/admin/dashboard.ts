import { readFile } from 'node:fs/promises';
import type { Context, Hono } from 'hono';

/** Beside this file in the sources and in the published package alike. */
const FOLDER = new URL('./dashboard/', import.meta.url);
const PAGE = 'index.html';

/** What may be asked for, and as what it is sent: nothing else in the folder is served, and no path leads out of it. */
const FILES: ReadonlyMap<string, string> = new Map([
  [PAGE, 'text/html; charset=utf-8'],
  ['style.css', 'text/css; charset=utf-8'],
  ['icon.svg', 'image/svg+xml'],
  ...['main', 'api', 'dom', 'events', 'gateway', 'instances', 'pager', 'rates', 'services', 'text'].map(
    (module): [string, string] => [`${module}.js`, 'text/javascript; charset=utf-8'],
  ),
]);

/**
 * Nothing inline, nothing from elsewhere, no frames around it, and no text that becomes markup (Trusted Types): what
 * instances and registries say of themselves may at worst look odd.
 */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

const HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy': POLICY,
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
};

/**
 * The dashboard's own files, for everyone: there is no secret in them, and a page must be there to ask for the token. At
 * `/` only who says that it takes HTML gets the page.
 */
export function addDashboard(app: Hono): void {
  const kept = new Map<string, Promise<Uint8Array<ArrayBuffer>>>();
  const send = async (c: Context, name: string, type: string): Promise<Response> => {
    let bytes = kept.get(name);
    if (!bytes) {
      bytes = readFile(new URL(name, FOLDER)).then((buffer) => new Uint8Array(buffer));
      kept.set(name, bytes);
      // What could not be read now is asked for again.
      bytes.catch(() => kept.delete(name));
    }
    return c.body(await bytes, 200, { ...HEADERS, 'content-type': type });
  };
  app.get('/', async (c, next) => {
    c.header('vary', 'accept');
    if (!c.req.header('accept')?.includes('text/html')) {
      await next();
      return undefined;
    }
    return send(c, PAGE, 'text/html; charset=utf-8');
  });
  app.get('/dashboard/:file', async (c, next) => {
    const name = c.req.param('file');
    const type = name === PAGE ? undefined : FILES.get(name);
    if (type === undefined) {
      await next();
      return undefined;
    }
    return send(c, name, type);
  });
}
