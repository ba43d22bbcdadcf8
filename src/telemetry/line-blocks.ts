/** Lines side by side in one buffer, on their way out. */
export interface LineBlock {
  readonly bytes: Buffer;
  used: number;
  /** Bytes of `used` that are already out. */
  written: number;
  lines: number;
}

/** Emptied blocks kept for the next lines: enough for a steady flow, while a burst gives its memory back. */
const SPARE_BLOCKS = 2;

/** The bounded memory of a `LineSink`: a block being filled, and full ones in order. */
export class LineBlocks {
  readonly #blockBytes: number;
  readonly #maxBlocks: number;
  readonly #full: LineBlock[] = [];
  readonly #spare: LineBlock[] = [];
  #filling: LineBlock | undefined;
  /** Taken and not given back. */
  #out = 0;

  constructor({ blockBytes, maxBlocks }: { readonly blockBytes: number; readonly maxBlocks: number }) {
    this.#blockBytes = blockBytes;
    this.#maxBlocks = maxBlocks;
  }

  get hasFull(): boolean {
    return this.#full.length > 0;
  }

  get isEmpty(): boolean {
    return !this.hasFull && !this.#filling;
  }

  /** Copies the first `length` bytes of a line. False: there is no room for it. */
  add(line: Buffer, length: number): boolean {
    const block = this.#blockFor(length);
    if (!block) return false;
    line.copy(block.bytes, block.used, 0, length);
    block.used += length;
    block.lines++;
    return true;
  }

  /** The oldest block, be it full or not. Give it back with `release`. */
  take(): LineBlock | undefined {
    const block = this.#full.shift() ?? this.#filling;
    if (block === this.#filling) this.#filling = undefined;
    if (block) this.#out++;
    return block;
  }

  release(block: LineBlock): void {
    this.#out--;
    if (this.#spare.length >= SPARE_BLOCKS) return;
    block.used = 0;
    block.written = 0;
    block.lines = 0;
    this.#spare.push(block);
  }

  #blockFor(bytes: number): LineBlock | undefined {
    const filling = this.#filling;
    if (filling && filling.used + bytes <= this.#blockBytes) return filling;
    const held = this.#full.length + this.#out + (filling ? 1 : 0);
    if (bytes > this.#blockBytes || held >= this.#maxBlocks) return undefined;
    if (filling) this.#full.push(filling);
    this.#filling = this.#spare.pop() ?? {
      bytes: Buffer.allocUnsafeSlow(this.#blockBytes),
      used: 0,
      written: 0,
      lines: 0,
    };
    return this.#filling;
  }
}
