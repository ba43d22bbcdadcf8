/**
 * The wire format of protocol buffers (protobuf.dev/programming-guides/encoding), as far as etcd's messages need it:
 * varints, and length-delimited bytes, texts and messages.
 */
export class ProtoWriter {
  readonly #chunks: Uint8Array[] = [];

  /** int64, uint64, enum, or bool as 0 and 1. The default, 0, is left out, as proto3 does. */
  varint(field: number, value: bigint | number | boolean): this {
    const wide = BigInt.asUintN(64, BigInt(value));
    if (wide !== 0n) this.#chunks.push(varintBytes(BigInt(field << 3)), varintBytes(wide));
    return this;
  }

  bytes(field: number, value: Uint8Array | string): this {
    const bytes = typeof value === 'string' ? Buffer.from(value, 'utf8') : value;
    return bytes.length === 0 ? this : this.#delimited(field, bytes);
  }

  /** Written even if empty: which member of a oneof is set is told by its presence. */
  message(field: number, value: ProtoWriter): this {
    return this.#delimited(field, value.finish());
  }

  finish(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  #delimited(field: number, bytes: Uint8Array): this {
    this.#chunks.push(varintBytes(BigInt((field << 3) | 2)), varintBytes(BigInt(bytes.length)), bytes);
    return this;
  }
}

function varintBytes(value: bigint): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}

/** The bytes are not what they should be: another protocol, or a broken server. */
export class MalformedMessage extends Error {
  override readonly name = 'MalformedMessage';
}

/**
 * Walks over the fields of one message. After `next()` exactly one of the readers, or `skip()`, takes the value.
 * Every length is checked against the end of the message before it is believed.
 */
export class ProtoReader {
  readonly #buffer: Buffer;
  readonly #end: number;
  #at: number;
  #wireType = 0;
  field = 0;

  constructor(buffer: Buffer, start = 0, end = buffer.length) {
    this.#buffer = buffer;
    this.#at = start;
    this.#end = end;
  }

  /** false at the end of the message. */
  next(): boolean {
    if (this.#at >= this.#end) return false;
    const tag = this.#length();
    this.field = tag >>> 3;
    this.#wireType = tag & 7;
    if (this.field === 0) throw new MalformedMessage('a field has the number 0');
    return true;
  }

  uint64(): bigint {
    this.#expect(0);
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    throw new MalformedMessage('a number is longer than 10 bytes');
  }

  int64(): bigint {
    return BigInt.asIntN(64, this.uint64());
  }

  bool(): boolean {
    return this.uint64() !== 0n;
  }

  /** A view of the message's memory, not a copy: it keeps all of it alive. */
  bytes(): Buffer {
    const [start, end] = this.#delimited();
    return this.#buffer.subarray(start, end);
  }

  text(): string {
    const [start, end] = this.#delimited();
    return this.#buffer.toString('utf8', start, end);
  }

  message(): ProtoReader {
    const [start, end] = this.#delimited();
    return new ProtoReader(this.#buffer, start, end);
  }

  /** Passes over a field that nobody asked for: later versions of etcd add some. */
  skip(): void {
    switch (this.#wireType) {
      case 0:
        for (let count = 0; this.#byte() >= 0x80; count += 1) {
          if (count === 9) throw new MalformedMessage('a number is longer than 10 bytes');
        }
        return;
      case 1:
        this.#advance(8);
        return;
      case 2:
        this.#delimited();
        return;
      case 5:
        this.#advance(4);
        return;
      default:
        throw new MalformedMessage(`a field has the unknown wire type ${this.#wireType}`);
    }
  }

  #delimited(): readonly [start: number, end: number] {
    this.#expect(2);
    const length = this.#length();
    const start = this.#at;
    this.#advance(length);
    return [start, this.#at];
  }

  #expect(wireType: number): void {
    if (this.#wireType !== wireType) throw new MalformedMessage(`field ${this.field} has wire type ${this.#wireType}`);
  }

  #advance(by: number): void {
    if (by > this.#end - this.#at) throw new MalformedMessage('a field ends beyond its message');
    this.#at += by;
  }

  #byte(): number {
    if (this.#at >= this.#end) throw new MalformedMessage('a number ends beyond its message');
    const byte = this.#buffer[this.#at] ?? 0;
    this.#at += 1;
    return byte;
  }

  /** A tag or a length: 31 bits are enough for both, and bigints are not needed. */
  #length(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.#byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) {
        if (value > 0x7fff_ffff) break;
        return value;
      }
    }
    throw new MalformedMessage('a length is beyond 2 GiB');
  }
}
