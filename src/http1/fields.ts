import { bytesOf } from './syntax.ts';

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

/**
 * In a token this bit makes a capital letter a small one, and of every other character that stands in NAMES it changes
 * nothing: what reads as one of the names with it is that name in some case. Only of tokens is that true.
 */
const SMALL = 0x20;
const SMALL_FOUR = 0x20202020;

/** Length, first and last letter tell all names of interest apart; one comparison then makes sure. */
function key(length: number, first: number, last: number): number {
  return (length * 7 + (first | SMALL) * 13 + (last | SMALL) * 31) & 1023;
}

const NOBODY = 255;
/** By key: the place in NAMES of a name that has it; and by place, that of the next one. */
const first = new Uint8Array(1024).fill(NOBODY);
const next = new Uint8Array(NAMES.length).fill(NOBODY);
const ids = Uint8Array.from(NAMES, ([, id]) => id);
const lengths = Uint8Array.from(NAMES, ([name]) => name.length);
/** Where each name begins in `letters`. */
const starts = new Uint16Array(NAMES.length);
const letters = new DataView(Uint8Array.from(bytesOf(NAMES.map(([name]) => name).join(''))).buffer);

let start = 0;
for (const [place, [name]] of NAMES.entries()) {
  starts[place] = start;
  start += name.length;
  const at = key(name.length, name.charCodeAt(0), name.charCodeAt(name.length - 1));
  next[place] = first[at] as number;
  first[at] = place;
}

/** Which field the name in `words[from, end)` is. Obligation: it is a token, and not empty. */
export function identifyField(words: DataView, from: number, end: number): FieldId {
  const length = end - from;
  let place = first[key(length, words.getUint8(from), words.getUint8(end - 1))] as number;
  while (place !== NOBODY) {
    if (lengths[place] === length && sameToken(words, from, length, starts[place] as number))
      return ids[place] as FieldId;
    place = next[place] as number;
  }
  return Field.other;
}

function sameToken(words: DataView, from: number, length: number, name: number): boolean {
  let i = 0;
  for (; i + 4 <= length; i += 4) {
    if ((words.getInt32(from + i, true) | SMALL_FOUR) !== letters.getInt32(name + i, true)) return false;
  }
  for (; i < length; i++) {
    if ((words.getUint8(from + i) | SMALL) !== letters.getUint8(name + i)) return false;
  }
  return true;
}
