import type { Entry } from '../table.ts';
import { type StatusOf, instanceView, statusOf } from './views.ts';

/** Instances put into words at a time: a service of any size must not hold up everything else. */
const SLICE = 500;

/** The instances as a JSON array, made as the client reads it. */
export function instanceList(
  entries: readonly Readonly<Entry>[],
  options: { readonly statusOf: StatusOf | undefined; readonly healthyOnly: boolean },
): string | ReadableStream<Uint8Array> {
  const render = (from: number): string[] =>
    entries.slice(from, from + SLICE).flatMap((entry) => {
      const status = statusOf(entry, options.statusOf);
      return status.healthy || !options.healthyOnly ? [JSON.stringify(instanceView(entry, status))] : [];
    });
  if (entries.length <= SLICE) return `[${render(0).join(',')}]`;
  let at = 0;
  let opening = '[';
  return new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        const texts = render(at);
        at += SLICE;
        const last = at >= entries.length;
        // Also where nothing is shown: a pull that brings nothing is not repeated.
        controller.enqueue(Buffer.from(`${texts.length > 0 ? opening : ''}${texts.join(',')}${last ? '' : '\n'}`));
        if (texts.length > 0) opening = ',';
        if (!last) return;
        controller.enqueue(Buffer.from(opening === '[' ? '[]' : ']'));
        controller.close();
      },
    },
    { highWaterMark: 0 },
  );
}
