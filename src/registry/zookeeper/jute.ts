/** Bytes that are no message of ZooKeeper's. The connection they came over is of no use any more. */
export class MalformedJute extends Error {
  override readonly name = 'MalformedJute';
}

/** Jute, ZooKeeper's serialization (zookeeper.jute): big-endian numbers, texts and buffers with their length in front. */
export class JuteWriter {
  readonly #parts: Buffer[] = [];

  int(value: number): this {
    const part = Buffer.allocUnsafe(4);
    part.writeInt32BE(value);
    this.#parts.push(part);
    return this;
  }

  long(value: bigint): this {
    const part = Buffer.allocUnsafe(8);
    part.writeBigInt64BE(value);
    this.#parts.push(part);
    return this;
  }

  bool(value: boolean): this {
    this.#parts.push(Buffer.of(value ? 1 : 0));
    return this;
  }

  buffer(value: Buffer): this {
    this.int(value.length);
    this.#parts.push(value);
    return this;
  }

  text(value: string): this {
    return this.buffer(Buffer.from(value, 'utf8'));
  }

  done(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

/** Reads one message; every read that does not fit throws `MalformedJute`. */
export class JuteReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  int(): number {
    return this.#bytes.readInt32BE(this.#take(4));
  }

  long(): bigint {
    return this.#bytes.readBigInt64BE(this.#take(8));
  }

  bool(): boolean {
    return this.#bytes[this.#take(1)] !== 0;
  }

  /** A view of the message, not a copy. A null buffer (length -1) reads as an empty one. */
  buffer(): Buffer {
    const length = this.int();
    if (length === -1) return Buffer.alloc(0);
    const from = this.#take(length);
    return this.#bytes.subarray(from, from + length);
  }

  text(): string {
    return this.buffer().toString('utf8');
  }

  texts(): string[] {
    const count = this.int();
    if (count === -1) return [];
    // Each takes four bytes at least: no count can make us allocate more than was sent.
    if (count < 0 || count * 4 > this.left) throw new MalformedJute(`a list of ${count} in ${this.left} bytes`);
    return Array.from({ length: count }, () => this.text());
  }

  #take(length: number): number {
    if (length < 0 || length > this.left) throw new MalformedJute(`${length} bytes wanted, ${this.left} left`);
    const from = this.#at;
    this.#at += length;
    return from;
  }
}
