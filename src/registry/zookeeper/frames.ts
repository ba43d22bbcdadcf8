import { MalformedJute } from './jute.ts';

/** Cuts a stream of bytes into messages, each behind its length in four bytes. */
export class FrameReader {
  readonly #maxBytes: number;
  #parts: Buffer[] = [];
  #size = 0;
  /** Bytes of the frame that is under way, its length field included; 4 while the length itself is not known. */
  #needed = 4;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** The frames that this chunk completes. Throws `MalformedJute` at a length that no ZooKeeper sends. */
  *push(chunk: Buffer): Generator<Buffer, void, undefined> {
    this.#parts.push(chunk);
    this.#size += chunk.length;
    // A large frame comes in many chunks: they are joined once, when all of it is there.
    if (this.#size < this.#needed) return;
    const bytes = this.#parts.length === 1 ? chunk : Buffer.concat(this.#parts, this.#size);
    let at = 0;
    while (true) {
      this.#needed = 4;
      if (bytes.length - at < 4) break;
      const length = bytes.readInt32BE(at);
      if (length < 0 || length > this.#maxBytes) {
        throw new MalformedJute(`a message of ${length} bytes; at most ${this.#maxBytes} are taken`);
      }
      this.#needed = 4 + length;
      if (bytes.length - at < this.#needed) break;
      yield bytes.subarray(at + 4, at + this.#needed);
      at += this.#needed;
    }
    this.#parts = at < bytes.length ? [bytes.subarray(at)] : [];
    this.#size = bytes.length - at;
  }
}

export function frame(message: Buffer): Buffer {
  const length = Buffer.allocUnsafe(4);
  length.writeInt32BE(message.length);
  return Buffer.concat([length, message]);
}
