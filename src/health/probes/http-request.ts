import type { HttpCheck } from '../../core/check.ts';
import { addressOf } from '../../core/instance.ts';
import type { ProbeTarget } from '../probe.ts';

/** The bytes of a request, as latin1; or why there can be none. */
export type RequestText = { readonly text: string } | { readonly problem: string };

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

/**
 * Checks come with registrations too, so that nothing of them goes onto a connection unseen: a line break in a header
 * would be a second request.
 */
export function requestText(check: HttpCheck, to: ProbeTarget, userAgent: string): RequestText {
  const { method, path } = check;
  if (!TOKEN.test(method) || method === 'CONNECT') return { problem: 'the method of the check is not valid' };
  if (!PATH.test(path))
    return {
      problem:
        'the path of the check is not valid: it begins with / and holds no space, #, control or non-ASCII character',
    };
  const standardPort = check.type === 'https' ? 443 : 80;
  const own = to.port === standardPort ? addressOf(to).replace(/:\d+$/, '') : addressOf(to);
  const fields = new Map([
    ['host', ['Host', check.host ?? own]],
    ['user-agent', ['User-Agent', userAgent]],
    ['accept', ['Accept', '*/*']],
  ]);
  if (METHODS_WITH_BODY.has(method)) fields.set('content-length', ['Content-Length', '0']);
  for (const [name, value] of check.headers) {
    const key = name.toLowerCase();
    if (!TOKEN.test(name)) return { problem: 'a header name of the check is not valid' };
    if (OWN_FIELDS.has(key)) return { problem: `the header ${key} of the check is not the check's to set` };
    if (!FIELD_VALUE.test(value))
      return { problem: `the value of the header ${key} of the check holds a control character` };
    fields.set(key, [name, value]);
  }
  if (!AUTHORITY.test(fields.get('host')?.[1] ?? '')) return { problem: 'the host of the check is not valid' };
  const lines = [...fields.values()].map(([name, value]) => `${String(name)}: ${String(value)}\r\n`);
  return { text: `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n` };
}
