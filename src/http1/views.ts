/** What is larger is rare, and not worth keeping. */
const KEPT_BYTES = 16_384;

interface View {
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
  readonly bytes: Uint8Array;
}

/** Messages of the same length come at the same places again and again, and making a view costs more than finding it. */
const views: (View | undefined)[] = new Array<View | undefined>(256).fill(undefined);

/** `buffer[start, end)` as an array of its own over the same memory. */
export function viewOf(buffer: Buffer, start: number, end: number): Uint8Array {
  const at = ((start >>> 3) ^ (end * 7)) & 255;
  const known = views[at];
  if (known !== undefined && known.buffer === buffer && known.start === start && known.end === end) return known.bytes;
  const bytes = new Uint8Array(buffer.buffer, buffer.byteOffset + start, end - start);
  if (end - start <= KEPT_BYTES) views[at] = { buffer, start, end, bytes };
  return bytes;
}

/** The memory is not used any more: it must not be kept alive from here. */
export function forgetViews(): void {
  views.fill(undefined);
}
