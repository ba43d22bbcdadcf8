/**
 * The part of a request body that must stay at hand: what has not been sent yet, because a connection is still being
 * made, and what may have to be sent again. Bounded by `limitBytes`, beyond which it cannot be repeated any more.
 */
export class KeptBody {
  /** All of the body so far is here. */
  whole = true;
  length = 0;
  #buffer: Buffer | undefined;
  #limitBytes = 0;

  begin(limitBytes: number): void {
    this.whole = true;
    this.length = 0;
    this.#buffer = undefined;
    this.#limitBytes = limitBytes;
  }

  get bytes(): Buffer | undefined {
    return this.#buffer;
  }

  get overLimit(): boolean {
    return this.length > this.#limitBytes;
  }

  append(buffer: Buffer, start: number, end: number): void {
    const needed = this.length + end - start;
    if (!this.#buffer || this.#buffer.length < needed) {
      const larger = Buffer.allocUnsafeSlow(Math.max(4096, 2 ** Math.ceil(Math.log2(needed))));
      this.#buffer?.copy(larger, 0, 0, this.length);
      this.#buffer = larger;
    }
    buffer.copy(this.#buffer, this.length, start, end);
    this.length = needed;
  }

  /** Forgets the bytes: from here on the request cannot be repeated. */
  letGo(): void {
    this.whole = false;
    this.length = 0;
    this.#buffer = undefined;
  }
}
