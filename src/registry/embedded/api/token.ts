import { createHash, timingSafeEqual } from 'node:crypto';

export type Dialect = 'native' | 'eureka' | 'consul';

/** Which API a path belongs to. */
export function dialectOf(path: string): Dialect {
  if (path === '/eureka' || path.startsWith('/eureka/')) return 'eureka';
  return path === '/v1' || path.startsWith('/v1/') ? 'consul' : 'native';
}

/**
 * Whether a request carries the token: as `Authorization: Bearer`, or where clients of a dialect can send it only in
 * their own way, as the password of Basic (Eureka: `http://user:TOKEN@host`) or as `X-Consul-Token`. Never in a query,
 * which ends up in logs. Takes the same time whatever it carries.
 */
export function tokenCheck(token: string): (headers: Headers, dialect: Dialect) => boolean {
  const wanted = digest(token);
  // Digests are of one length, as the comparison needs, and tell nothing of the length of the token.
  return (headers, dialect) => timingSafeEqual(digest(tokenOf(headers, dialect)), wanted);
}

function tokenOf(headers: Headers, dialect: Dialect): string {
  const authorization = headers.get('authorization') ?? '';
  const [, bearer] = /^bearer +([^\s]+) *$/i.exec(authorization) ?? [];
  if (bearer !== undefined) return bearer;
  if (dialect === 'consul') return headers.get('x-consul-token') ?? '';
  const [, basic = ''] = (dialect === 'eureka' && /^basic +([A-Za-z0-9+/=]+) *$/i.exec(authorization)) || [];
  const credentials = Buffer.from(basic, 'base64').toString('utf8');
  const colon = credentials.indexOf(':');
  return colon < 0 ? '' : credentials.slice(colon + 1);
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
