import type { HttpCheck } from '../../core/check.ts';
import { addressOf } from '../../core/instance.ts';
import type { Transport } from '../../http1/transport.ts';
import type { ProbeTarget } from '../probe.ts';

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
/** Origin form of visible ASCII; no fragment. */
const PATH = /^\/[\x21\x22\x24-\x7e]*$/;
const AUTHORITY = /^[A-Za-z0-9._~!$&'()*+,;=:[\]-]{1,255}$/;
/** Fields that would change the framing or the connection, which are the probe's own business. */
const OWN_FIELDS: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'expect',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);
const METHODS_WITH_BODY: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH']);

/** What all probes of one check have in common: thousands of instances share it. */
export interface RequestTemplate {
  /** Why there can be no request to this target. */
  readonly problemWith: (to: ProbeTarget) => string | undefined;
  readonly toHead: boolean;
  /** What the body must contain. */
  readonly wanted: Buffer | undefined;
  /** The request to one target, to be written as latin1. */
  readonly textFor: (to: ProbeTarget) => string;
}

/**
 * Checks come with registrations too, so that nothing of them goes onto a connection unseen: a line break in a header
 * would be a second request.
 */
export function requestTemplate(check: HttpCheck, userAgent: string): RequestTemplate {
  const fields = new Map([
    ['user-agent', `User-Agent: ${userAgent}`],
    ['accept', 'Accept: */*'],
  ]);
  if (METHODS_WITH_BODY.has(check.method)) fields.set('content-length', 'Content-Length: 0');
  let host = check.host;
  for (const [name, value] of check.headers) {
    if (name.toLowerCase() === 'host') host = value;
    else fields.set(name.toLowerCase(), `${name}: ${value}`);
  }
  const beforeHost = `${check.method} ${check.path} HTTP/1.1\r\nHost: `;
  const afterHost = `\r\n${[...fields.values()].join('\r\n')}\r\n\r\n`;
  const standardPort = check.type === 'https' ? 443 : 80;
  const problem = problemOf(check, host);
  const whole = host === undefined ? undefined : `${beforeHost}${host}${afterHost}`;
  return {
    problemWith: (to) =>
      problem ?? (AUTHORITY.test(addressOf(to)) ? undefined : 'the host of the instance is not valid'),
    toHead: check.method === 'HEAD',
    wanted:
      check.bodyContains === undefined || check.bodyContains === ''
        ? undefined
        : Buffer.from(check.bodyContains, 'utf8'),
    textFor: (to) => whole ?? `${beforeHost}${authorityOf(to, standardPort)}${afterHost}`,
  };
}

function problemOf({ method, path, headers }: HttpCheck, host: string | undefined): string | undefined {
  if (!TOKEN.test(method) || method === 'CONNECT') return 'the method of the check is not valid';
  if (!PATH.test(path)) {
    return 'the path of the check is not valid: it begins with / and holds no space, #, control or non-ASCII character';
  }
  for (const [name, value] of headers) {
    const key = name.toLowerCase();
    if (!TOKEN.test(name)) return 'a header name of the check is not valid';
    if (OWN_FIELDS.has(key)) return `the header ${key} of the check is not the check's to set`;
    if (!FIELD_VALUE.test(value)) return `the value of the header ${key} of the check holds a control character`;
  }
  return host === undefined || AUTHORITY.test(host) ? undefined : 'the host of the check is not valid';
}

/** RFC 9110 section 7.2: the port only where it is not the scheme's own. */
function authorityOf(to: ProbeTarget, standardPort: number): string {
  const authority = addressOf(to);
  return to.port === standardPort ? authority.replace(/:\d+$/, '') : authority;
}

/**
 * Memory for one request at a time, which all probes write from: most are with the kernel when `write` returns, and only
 * one that is not takes its memory with it.
 */
export class RequestBuffer {
  #bytes: Buffer = Buffer.allocUnsafeSlow(REQUEST_BYTES);

  send(transport: Transport, text: string): void {
    const bytes = text.length <= this.#bytes.length ? this.#bytes : Buffer.allocUnsafeSlow(text.length);
    const length = bytes.write(text, 'latin1');
    const free = transport.write(bytes, 0, length);
    if (!free && bytes === this.#bytes) this.#bytes = Buffer.allocUnsafeSlow(REQUEST_BYTES);
  }
}

const REQUEST_BYTES = 1024;
