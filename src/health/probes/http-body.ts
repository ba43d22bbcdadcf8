const MAX_BODY_BYTES = 64 * 1024;
const NOTHING = Buffer.alloc(0);

/** What a check wants of the body of an answer: not too much of it, and perhaps a text in it. */
export class BodyCheck {
  #wanted: Buffer | undefined;
  #bytes = 0;
  #found = false;
  /** The end of what came, where the wanted text may have begun. */
  #carry: Buffer = NOTHING;

  begin(wanted: Buffer | undefined): void {
    this.#wanted = wanted;
    this.#bytes = 0;
    this.#found = false;
    this.#carry = NOTHING;
  }

  /** False: more than 64 KiB; nothing more is wanted. */
  push(bytes: Buffer, start: number, end: number): boolean {
    const room = MAX_BODY_BYTES - this.#bytes;
    this.#bytes += end - start;
    if (this.#wanted !== undefined && !this.#found) {
      this.#search(bytes.subarray(start, Math.min(end, start + room)), this.#wanted);
    }
    return this.#bytes <= MAX_BODY_BYTES;
  }

  /** Why the body is not what the check wants, as in "status 200, but …". */
  get problem(): string | undefined {
    const tooLong = this.#bytes > MAX_BODY_BYTES;
    if (this.#wanted === undefined) {
      return tooLong ? 'the body is longer than 64 KiB: let the check ask for less, or by HEAD' : undefined;
    }
    if (this.#found) return undefined;
    return `${tooLong ? 'the first 64 KiB of the body do' : 'the body does'} not hold the text expected`;
  }

  #search(piece: Buffer, wanted: Buffer): void {
    const text = this.#carry.length === 0 ? piece : Buffer.concat([this.#carry, piece]);
    this.#found = text.includes(wanted);
    const keep = Math.min(wanted.length - 1, text.length);
    // A copy: the bytes lie in a buffer that the next read overwrites.
    this.#carry = this.#found || keep === 0 ? NOTHING : Buffer.from(text.subarray(text.length - keep));
  }
}
