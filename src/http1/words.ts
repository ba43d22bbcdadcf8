/**
 * Bytes looked at four at a time: where a head is long, that is where the time goes. One word of memory, whatever its
 * alignment, and arithmetic on all of its bytes at once.
 */

let viewed: Uint8Array | undefined;
let view: DataView = new DataView(new ArrayBuffer(0));

/** The buffer by words. Nearly always it is the one read buffer: the last one is remembered, and kept alive by it. */
export function wordsOf(buffer: Uint8Array): DataView {
  if (buffer !== viewed) {
    viewed = buffer;
    view = new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
  }
  return view;
}

/**
 * Skips what may stand in a field value, by fours: returns the offset of the first four bytes of which one is a control
 * character, tab among them, or of which not all come before `end`. Bytes above 127 are none.
 */
export function skipPlain(words: DataView, start: number, end: number): number {
  let at = start;
  while (at + 4 <= end) {
    const four = words.getInt32(at, true);
    const zeroForDel = four ^ 0x7f7f7f7f;
    // The high bit of each byte that is below 0x20, and below 1. A borrow can only raise the alarm above one that is.
    const controls = ((four - 0x20202020) & ~four) | ((zeroForDel - 0x01010101) & ~zeroForDel);
    if ((controls & 0x80808080) !== 0) break;
    at += 4;
  }
  return at;
}
