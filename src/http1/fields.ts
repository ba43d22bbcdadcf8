import { bytesOf, equalsIgnoringCase, LOWER } from './syntax.ts';

/** The fields that the gateway reads, cuts out or writes; every other one is passed on unread. */
export const Field = {
  other: 0,
  host: 1,
  contentLength: 2,
  transferEncoding: 3,
  connection: 4,
  keepAlive: 5,
  proxyConnection: 6,
  te: 7,
  trailer: 8,
  upgrade: 9,
  expect: 10,
  http2Settings: 11,
  forwarded: 12,
  xForwardedFor: 13,
  xForwardedProto: 14,
  xForwardedHost: 15,
  xForwardedPort: 16,
  xRequestId: 17,
  via: 18,
  proxyAuthenticate: 19,
  proxyAuthorization: 20,
  authorization: 21,
  cookie: 22,
  traceparent: 23,
  userAgent: 24,
  /** A name with `_` in it: some frameworks read it as `-`, so it could pose as any other field. */
  underscored: 25,
} as const;

export type FieldId = (typeof Field)[keyof typeof Field];

export const FIELD_COUNT = 26;

const NAMES: readonly (readonly [string, FieldId])[] = [
  ['host', Field.host],
  ['content-length', Field.contentLength],
  ['transfer-encoding', Field.transferEncoding],
  ['connection', Field.connection],
  ['keep-alive', Field.keepAlive],
  ['proxy-connection', Field.proxyConnection],
  ['te', Field.te],
  ['trailer', Field.trailer],
  ['upgrade', Field.upgrade],
  ['expect', Field.expect],
  ['http2-settings', Field.http2Settings],
  ['forwarded', Field.forwarded],
  ['x-forwarded-for', Field.xForwardedFor],
  ['x-forwarded-proto', Field.xForwardedProto],
  ['x-forwarded-host', Field.xForwardedHost],
  ['x-forwarded-port', Field.xForwardedPort],
  ['x-request-id', Field.xRequestId],
  ['via', Field.via],
  ['proxy-authenticate', Field.proxyAuthenticate],
  ['proxy-authorization', Field.proxyAuthorization],
  ['authorization', Field.authorization],
  ['cookie', Field.cookie],
  ['traceparent', Field.traceparent],
  ['user-agent', Field.userAgent],
];

/** Length, first and last letter tell all names of interest apart; one comparison then makes sure. */
function key(length: number, first: number, last: number): number {
  return (length * 7 + (LOWER[first] as number) * 13 + (LOWER[last] as number) * 31) & 1023;
}

interface Known {
  readonly id: FieldId;
  readonly name: Uint8Array;
}

const KNOWN: readonly (readonly Known[] | undefined)[] = (() => {
  const buckets: (Known[] | undefined)[] = new Array<Known[] | undefined>(1024).fill(undefined);
  for (const [text, id] of NAMES) {
    const name = bytesOf(text);
    const at = key(name.length, name[0] as number, name[name.length - 1] as number);
    (buckets[at] ??= []).push({ id, name });
  }
  return buckets;
})();

/** Which field the name in `buffer[start, end)` is. The range must not be empty. */
export function identifyField(buffer: Uint8Array, start: number, end: number): FieldId {
  const bucket = KNOWN[key(end - start, buffer[start] as number, buffer[end - 1] as number)];
  if (bucket === undefined) return Field.other;
  for (const known of bucket) {
    if (equalsIgnoringCase(buffer, start, end, known.name)) return known.id;
  }
  return Field.other;
}
