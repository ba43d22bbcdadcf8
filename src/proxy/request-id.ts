import type { Random } from '../core/random.ts';
import type { RequestIdSource } from './headers.ts';

const DIGITS = Buffer.from('0123456789abcdef');

/** Ids that are unique over processes by 64 random bits, and within one by counting. */
export class RequestIds implements RequestIdSource {
  readonly prefix: Buffer;
  #high = 0;
  #low = 0;

  constructor(random: Random) {
    const hex = (): string =>
      Math.floor(random() * 0x1_0000_0000)
        .toString(16)
        .padStart(8, '0');
    this.prefix = Buffer.from(`${hex()}${hex()}-`);
  }

  writeCount(into: Buffer, at: number): number {
    this.#low = (this.#low + 1) >>> 0;
    if (this.#low === 0) this.#high = (this.#high + 1) & 0xffff;
    let end = at;
    for (let shift = 12; shift >= 0; shift -= 4) into[end++] = DIGITS[(this.#high >>> shift) & 15] as number;
    for (let shift = 28; shift >= 0; shift -= 4) into[end++] = DIGITS[(this.#low >>> shift) & 15] as number;
    return end;
  }

  next(): string {
    const count = Buffer.alloc(12);
    this.writeCount(count, 0);
    return this.prefix.toString('latin1') + count.toString('latin1');
  }
}
