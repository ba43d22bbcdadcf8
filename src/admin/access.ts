import { createHash, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';
import type { MiddlewareHandler } from 'hono';
import { problem } from './problem.ts';

const BEARER = /^Bearer +(\S+) *$/i;

/** Asks for the token in constant time, whatever its length. */
export function requireToken(token: string): MiddlewareHandler {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  const wanted = digest(token);
  return async (c, next) => {
    const [, given] = BEARER.exec(c.req.header('authorization') ?? '') ?? [];
    if (given === undefined || !timingSafeEqual(digest(given), wanted)) {
      const why = given === undefined ? 'a bearer token is needed' : 'the bearer token is not the configured one';
      return problem(401, `${why}: see admin.token`, {}, { 'www-authenticate': 'Bearer' });
    }
    await next();
    return undefined;
  };
}

/**
 * Against DNS rebinding: a web page whose own name has come to point here is told apart by the `Host` that its browser
 * sends, which is still the page's name.
 */
export function requireKnownHost(hostNames: readonly string[]): MiddlewareHandler {
  const known = new Set(hostNames.map((name) => name.toLowerCase()));
  return async (c, next) => {
    const name = hostName(c.req.header('host') ?? '');
    if (name === undefined || !(isIP(name) > 0 || name === 'localhost' || known.has(name))) {
      return problem(403, 'ask by IP address, localhost or a configured name of this listener');
    }
    await next();
    return undefined;
  };
}

/** Against requests that a browser makes for a page of another site: they need no answer to do harm. */
export const refuseOtherOrigins: MiddlewareHandler = async (c, next) => {
  const origin = c.req.header('origin');
  const site = c.req.header('sec-fetch-site');
  const foreign = origin !== undefined && origin.replace(/^https?:\/\//, '') !== c.req.header('host');
  if (foreign || (site !== undefined && site !== 'same-origin' && site !== 'none')) {
    return problem(403, 'changes must not be asked for by pages of another origin');
  }
  await next();
  return undefined;
};

/** What a form of a page can send, in browsers that say nothing of where a request comes from. */
const FORM = /^(?:application\/x-www-form-urlencoded|multipart\/form-data|text\/plain)\b/i;

export const refuseForms: MiddlewareHandler = async (c, next) => {
  if (FORM.test(c.req.header('content-type') ?? '')) return problem(415, 'nothing here is asked for by a form');
  await next();
  return undefined;
};

/** Nothing here takes a body; one that is sent all the same has a bound. */
export function limitBody(maxBytes: number): MiddlewareHandler {
  return async (c, next) => {
    const { body, headers } = c.req.raw;
    const declared = headers.get('content-length');
    const tooLong = declared === null ? body !== null && (await isLonger(body, maxBytes)) : Number(declared) > maxBytes;
    if (tooLong) return problem(413, `a body may have ${maxBytes} bytes`);
    await next();
    return undefined;
  };
}

async function isLonger(body: ReadableStream<Uint8Array>, maxBytes: number): Promise<boolean> {
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    // Leaving the loop cancels the stream.
    if (bytes > maxBytes) return true;
  }
  return false;
}

/** Lower case, without port and brackets; undefined where it is no authority. */
export function hostName(authority: string): string | undefined {
  const [, bracketed, plain] =
    /^(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?$/.exec(authority.toLowerCase()) ?? [];
  return bracketed ?? plain;
}
