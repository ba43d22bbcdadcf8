import { type ReadMessage, valuesOf } from '../http1/strict-reader.ts';

/** What docs/http.md says of a request on its way to an instance, put down once more and apart from the gateway. */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'proxy-authorization',
]);
const CLAIMS = new Set(['forwarded', 'x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host', 'x-forwarded-port']);
const NOT_FOR_CONNECTION_TO_NAME = new Set([
  ...CLAIMS,
  'host',
  'content-length',
  'transfer-encoding',
  'authorization',
  'cookie',
]);
const OPTIONS = new Set(['', 'close', 'keep-alive', 'upgrade']);

function connectionOptions(message: ReadMessage): string[] {
  return valuesOf(message, 'connection').flatMap((value) =>
    value.split(',').map((option) => option.trim().toLowerCase()),
  );
}

function originForm(method: string, target: string): string {
  const match = /^https?:\/\/[^/?]*/i.exec(target);
  if (!match) return target;
  const rest = target.slice(match[0].length);
  if (rest === '') return method === 'OPTIONS' ? '*' : '/';
  return rest.startsWith('?') ? `/${rest}` : rest;
}

function usableId(message: ReadMessage, nominated: ReadonlySet<string>): string | undefined {
  const ids = valuesOf(message, 'x-request-id');
  const id = ids[0];
  if (ids.length !== 1 || id === undefined || nominated.has('x-request-id')) return undefined;
  return /^[\x21-\x7e]{1,128}$/.test(id) ? id : undefined;
}

/** A message in a form that can be compared: fields sorted, names in lower case, a made id as `(made)`. */
export interface Comparable {
  readonly line: string;
  readonly fields: readonly string[];
  readonly content: string;
}

/** What an instance must be sent for a request from an untrusted client to this port. */
export function forwardedAs(message: ReadMessage, port: number): Comparable {
  const [method, target, version] = message.line.split(' ') as [string, string, string];
  const options = connectionOptions(message);
  const nominated = new Set(
    options.filter((option) => !OPTIONS.has(option) && !NOT_FOR_CONNECTION_TO_NAME.has(option)),
  );
  const absolute = /^https?:\/\/([^/?]*)/i.exec(target);
  const authority = absolute ? (absolute[1] as string) : (valuesOf(message, 'host')[0] as string);
  const websocket =
    method === 'GET' &&
    version === 'HTTP/1.1' &&
    message.framing === 'none' &&
    options.includes('upgrade') &&
    valuesOf(message, 'upgrade').length === 1 &&
    (valuesOf(message, 'upgrade')[0] as string).toLowerCase() === 'websocket';
  const fields = message.fields
    .map(([name, value]) => [name.toLowerCase(), value] as const)
    .filter(([name]) => {
      if (HOP_BY_HOP.has(name) || CLAIMS.has(name) || nominated.has(name) || name.includes('_')) return false;
      if (name === 'x-request-id' || (name === 'host' && absolute)) return false;
      return name !== 'expect' || (version === 'HTTP/1.1' && message.framing !== 'none');
    })
    .map(([name, value]) => `${name}: ${value}`);
  fields.push(
    'via: 1.1 fairlead',
    'x-forwarded-for: 127.0.0.1',
    'x-forwarded-proto: http',
    `x-forwarded-port: ${port}`,
    `x-forwarded-host: ${authority}`,
    `x-request-id: ${usableId(message, nominated) ?? '(made)'}`,
  );
  if (absolute) fields.push(`host: ${authority}`);
  if (message.framing === 'chunked') fields.push('transfer-encoding: chunked');
  if (websocket) fields.push('connection: Upgrade', 'upgrade: websocket');
  return { line: `${method} ${originForm(method, target)} HTTP/1.1`, fields: fields.sort(), content: message.content };
}

/** What came to an instance, in the same form. */
export function asReceived(message: ReadMessage): Comparable {
  const fields = message.fields.map(([name, value]) => {
    const made = name === 'X-Request-Id' && /^[0-9a-f]{16}-[0-9a-f]{12}$/.test(value);
    return `${name.toLowerCase()}: ${made ? '(made)' : value}`;
  });
  return { line: message.line, fields: fields.sort(), content: message.content };
}

function sortedFields(message: ReadMessage, dropped: ReadonlySet<string>): string[] {
  return message.fields
    .map(([name, value]) => [name.toLowerCase(), value] as const)
    .filter(([name]) => !dropped.has(name))
    .map(([name, value]) => `${name}: ${value}`)
    .sort();
}

/** What a client must be sent for a response, but for its framing and what it says of the connection. */
export function answeredAs(message: ReadMessage): Comparable {
  const nominated = connectionOptions(message).filter(
    (option) => !OPTIONS.has(option) && !NOT_FOR_CONNECTION_TO_NAME.has(option),
  );
  const dropped = new Set([...HOP_BY_HOP, ...nominated, 'content-length']);
  dropped.delete('proxy-authorization');
  const [, status, reason] = /^HTTP\/1\.[01] (\d{3}) ?(.*)$/.exec(message.line) as unknown as [string, string, string];
  return { line: `HTTP/1.1 ${status} ${reason}`, fields: sortedFields(message, dropped), content: message.content };
}

/** What came to a client, in the same form. */
export function asAnswered(message: ReadMessage): Comparable {
  const dropped = new Set(['connection', 'transfer-encoding', 'content-length']);
  return { line: message.line, fields: sortedFields(message, dropped), content: message.content };
}
