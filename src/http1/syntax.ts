/** Byte classes of RFC 9110 section 5.6 and RFC 9112, as tables: one look-up per byte. */

function table(accepts: (byte: number) => boolean): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, byte) => (accepts(byte) ? 1 : 0));
}

const isAlphanumeric = (byte: number): boolean =>
  (byte >= 0x30 && byte <= 0x39) || (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a);
const among = (characters: string) => (byte: number) => characters.includes(String.fromCharCode(byte));

const isTokenMark = among("!#$%&'*+-.^_`|~");
/** tchar, RFC 9110 section 5.6.2. */
export const TOKEN = table((byte) => isAlphanumeric(byte) || isTokenMark(byte));

/** What may stand in a field value: VCHAR, obs-text, space and tab. */
export const FIELD_VALUE = table((byte) => (byte >= 0x20 && byte !== 0x7f) || byte === 0x09);

/** What may stand in a request target: VCHAR without `#`. A fragment is never sent (RFC 9110 section 7.1). */
export const TARGET = table((byte) => byte > 0x20 && byte < 0x7f && byte !== 0x23);

/** Host names without percent-encoding: letters, digits, `.`, `-` and `_`. */
export const HOST_NAME = table((byte) => isAlphanumeric(byte) || byte === 0x2d || byte === 0x2e || byte === 0x5f);

/** Inside the brackets of an IPv6 address. */
export const IPV6 = table((byte) => byte === 0x3a || byte === 0x2e || /[0-9A-Fa-f]/.test(String.fromCharCode(byte)));

/** ASCII lower case. */
export const LOWER = Uint8Array.from({ length: 256 }, (_, byte) => (byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte));

/** 255 = not a hexadecimal digit. */
export const HEX = Uint8Array.from({ length: 256 }, (_, byte) => {
  const digit = Number.parseInt(String.fromCharCode(byte), 16);
  return Number.isNaN(digit) ? 255 : digit;
});

export const CR = 0x0d;
export const LF = 0x0a;
export const SP = 0x20;
export const HTAB = 0x09;
export const COLON = 0x3a;

/** Whether `buffer[start, end)` is `lower` in any case. `lower` must be lower case. */
export function equalsIgnoringCase(buffer: Uint8Array, start: number, end: number, lower: Uint8Array): boolean {
  if (end - start !== lower.length) return false;
  for (let i = 0; i < lower.length; i++) {
    if (LOWER[buffer[start + i] as number] !== lower[i]) return false;
  }
  return true;
}

export function bytesOf(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}
