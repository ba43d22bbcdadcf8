const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const HEX = Uint8Array.from(Buffer.from('0123456789abcdef'));

/** 1 for the characters that stand for themselves in a JSON string: printable ASCII without quote and backslash. */
const PLAIN = new Uint8Array(0x1_0000);
for (let code = 0x20; code < 0x7f; code++) PLAIN[code] = code === QUOTE || code === BACKSLASH ? 0 : 1;

const ELLIPSIS = '…';

/**
 * Writes JSON in plain ASCII into a buffer of its own, byte by byte: no string is made, so nothing is left to collect.
 * There is no check of room: whoever uses it bounds what is written.
 */
export class JsonBytes {
  readonly bytes: Buffer;
  length = 0;

  constructor(capacity: number) {
    this.bytes = Buffer.allocUnsafeSlow(capacity);
  }

  /** ASCII, taken as it is. */
  raw(text: string): void {
    const { bytes } = this;
    let at = this.length;
    for (let index = 0; index < text.length; index++) bytes[at++] = text.charCodeAt(index);
    this.length = at;
  }

  /**
   * A string, cut after `maxChars`. Everything beyond printable ASCII is escaped: bytes from outside may be half a
   * character, or an attack on the reader's terminal. At most 6 × `maxChars` + 8 bytes.
   */
  string(text: string, maxChars: number): void {
    const end = Math.min(text.length, maxChars);
    const { bytes } = this;
    let at = this.length;
    bytes[at++] = QUOTE;
    for (let index = 0; index < end; index++) {
      const code = text.charCodeAt(index);
      if (PLAIN[code] === 1) bytes[at++] = code;
      else at = this.#escape(code, at);
    }
    if (end < text.length) at = this.#escape(ELLIPSIS.charCodeAt(0), at);
    bytes[at++] = QUOTE;
    this.length = at;
  }

  /** With three decimals at most where the value is neither negative nor enormous; null where it is not finite. */
  number(value: number): void {
    if (!(value >= 0 && value < 2 ** 43)) {
      this.raw(Number.isFinite(value) ? String(value) : 'null');
      return;
    }
    const thousandths = Math.round(value * 1000);
    const whole = Math.floor(thousandths / 1000);
    this.#digits(whole);
    const rest = thousandths - whole * 1000;
    if (rest > 0) this.#decimals(rest);
  }

  #digits(whole: number): void {
    let scale = 1;
    while (scale * 10 <= whole) scale *= 10;
    for (let left = whole; scale >= 1; scale /= 10) {
      const digit = Math.floor(left / scale);
      this.bytes[this.length++] = 0x30 + digit;
      left -= digit * scale;
    }
  }

  /** `rest` is 1 to 999. */
  #decimals(rest: number): void {
    const { bytes } = this;
    bytes[this.length++] = 0x2e;
    bytes[this.length++] = 0x30 + Math.floor(rest / 100);
    if (rest % 100 === 0) return;
    bytes[this.length++] = 0x30 + (Math.floor(rest / 10) % 10);
    if (rest % 10 !== 0) bytes[this.length++] = 0x30 + (rest % 10);
  }

  #escape(code: number, from: number): number {
    const { bytes } = this;
    let at = from;
    bytes[at++] = BACKSLASH;
    if (code === QUOTE || code === BACKSLASH) {
      bytes[at++] = code;
      return at;
    }
    bytes[at++] = 0x75;
    for (let shift = 12; shift >= 0; shift -= 4) bytes[at++] = HEX[(code >> shift) & 15] ?? 0;
    return at;
  }
}
