/**
 * A body made as its client reads it, so that a registry of any size does not hold up everything else: each part is at
 * most a few milliseconds of work. A single part is sent as the text that it is.
 */
export function inSlices(parts: Iterable<string>): string | ReadableStream<Uint8Array> {
  const iterator = parts[Symbol.iterator]();
  const first = iterator.next();
  if (first.done === true) return '';
  let next = iterator.next();
  if (next.done === true) return first.value;
  let pending: string | undefined = first.value;
  return new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        if (pending !== undefined) {
          controller.enqueue(Buffer.from(pending));
          pending = undefined;
          return;
        }
        if (next.done === true) {
          controller.close();
          return;
        }
        controller.enqueue(Buffer.from(next.value));
        next = iterator.next();
      },
    },
    { highWaterMark: 0 },
  );
}

/** Texts put together at a time. */
const SLICE = 200;

/** Many small texts as few large ones. */
export function* joined(texts: Iterable<string>): Generator<string> {
  let slice: string[] = [];
  for (const text of texts) {
    slice.push(text);
    if (slice.length < SLICE) continue;
    yield slice.join('');
    slice = [];
  }
  if (slice.length > 0) yield slice.join('');
}

/** The members with commas between them: a list or an object of JSON. */
export function enclosed(opening: string, members: Iterable<string>, closing: string): Iterable<string> {
  const parts = function* (): Generator<string> {
    yield opening;
    let comma = '';
    for (const member of members) {
      yield `${comma}${member}`;
      comma = ',';
    }
    yield closing;
  };
  return joined(parts());
}
