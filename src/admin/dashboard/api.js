const TOKEN_KEY = 'fairlead-token';
const TIMEOUT_MS = 5000;

/** No answer in HTTP, or one that says nothing of what was asked for. */
export class Unreachable extends Error {}

/** The token is missing or wrong. */
export class Unauthorized extends Error {}

/** The gateway has answered that it will not. */
export class Refused extends Error {
  /** @param {number} status @param {string} message @param {readonly string[]} near */
  constructor(status, message, near) {
    super(message);
    this.status = status;
    this.near = near;
  }
}

/** The token is kept for as long as the tab, and only where this page's origin can read it. */
export const token = {
  get given() {
    return sessionStorage.getItem(TOKEN_KEY) !== null;
  },
  /** @param {string} value */
  set(value) {
    sessionStorage.setItem(TOKEN_KEY, value);
  },
  forget() {
    sessionStorage.removeItem(TOKEN_KEY);
  },
};

/** @param {string} path below the page's own @param {AbortSignal} [signal] @returns {Promise<any>} */
export function get(path, signal) {
  return ask('GET', path, signal);
}

/** @param {string} path @returns {Promise<any>} */
export function post(path) {
  return ask('POST', path);
}

/** @param {'GET' | 'POST'} method @param {string} path @param {AbortSignal} [signal] */
async function ask(method, path, signal) {
  const own = sessionStorage.getItem(TOKEN_KEY);
  const deadline = AbortSignal.timeout(TIMEOUT_MS);
  let response;
  let text;
  try {
    response = await fetch(path, {
      method,
      headers: { accept: 'application/json', ...(own === null ? {} : { authorization: `Bearer ${own}` }) },
      // A token must not follow to wherever an answer points.
      redirect: 'error',
      credentials: 'omit',
      signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
    });
    text = await response.text();
  } catch (error) {
    signal?.throwIfAborted();
    throw new Unreachable(deadline.aborted ? `no answer within ${TIMEOUT_MS / 1000} s` : 'no connection', {
      cause: error,
    });
  }
  const body = parsed(text);
  if (response.status === 401) throw new Unauthorized(own === null ? 'This gateway asks for a token.' : 'Wrong token.');
  if (body === undefined) throw new Unreachable(`HTTP ${response.status}, and no answer of Fairlead`);
  if (response.ok) return body;
  const near = Array.isArray(body.near) ? body.near.map(String) : [];
  throw new Refused(response.status, String(body.detail ?? `HTTP ${response.status}`), near);
}

/** @param {string} text @returns {any} undefined where it is no object */
function parsed(text) {
  try {
    const body = JSON.parse(text);
    return typeof body === 'object' && body !== null ? body : undefined;
  } catch {
    return undefined;
  }
}
