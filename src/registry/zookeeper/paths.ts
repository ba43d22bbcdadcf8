/** Where a node is, seen from the node above the services. */
export type Place =
  | { readonly kind: 'base' }
  | { readonly kind: 'service'; readonly service: string }
  | { readonly kind: 'instance'; readonly service: string; readonly node: string };

/** `<base>`, `<base>/<service>` or `<base>/<service>/<node>`. Undefined for everything else, above and below. */
export function placeOf(base: string, path: string): Place | undefined {
  if (path === wirePath(base)) return { kind: 'base' };
  if (!path.startsWith(`${base}/`)) return undefined;
  const [service = '', node, more] = path.slice(base.length + 1).split('/', 3);
  if (more !== undefined || service === '') return undefined;
  return node === undefined ? { kind: 'service', service } : { kind: 'instance', service, node };
}

/** Chroot and path as one; empty = the root of everything. */
export function basePath(chroot: string, path: string): string {
  return `${trimmed(chroot)}${trimmed(path)}`;
}

function trimmed(path: string): string {
  const bare = path.replace(/^\/+|\/+$/g, '');
  return bare === '' ? '' : `/${bare}`;
}

/** The root itself is the only path that ends in a slash. */
export function wirePath(path: string): string {
  return path === '' ? '/' : path;
}
