/**
 * An iteration that ends, without an error, when the signal aborts or its reader calls `return()`, even in the middle
 * of a `next()`: a bare generator would only look up after whatever it is waiting for.
 *
 * `run` must end soon after its signal aborts, by returning or throwing.
 */
export function stoppable<T>(
  signal: AbortSignal,
  run: (signal: AbortSignal) => AsyncGenerator<T, void, undefined>,
): AsyncIterable<T> {
  return { [Symbol.asyncIterator]: () => iterate(signal, run) };
}

function iterate<T>(
  outer: AbortSignal,
  run: (signal: AbortSignal) => AsyncGenerator<T, void, undefined>,
): AsyncIterator<T, undefined, undefined> {
  const controller = new AbortController();
  const isStopped = (): boolean => controller.signal.aborted;
  const onAbort = (): void => controller.abort(outer.reason);
  const release = (): void => {
    outer.removeEventListener('abort', onAbort);
    controller.abort();
  };
  if (outer.aborted) onAbort();
  else outer.addEventListener('abort', onAbort, { once: true });
  const items = run(controller.signal);
  return {
    async next() {
      try {
        if (isStopped()) await items.return();
        const next = await items.next();
        if (next.done !== true) return next;
      } catch (error) {
        // A stopped iteration may end in whatever its sockets say when they are torn down.
        if (!isStopped()) {
          release();
          throw error;
        }
      }
      release();
      return DONE;
    },
    async return() {
      release();
      await items.return();
      return DONE;
    },
  };
}

const DONE = { done: true, value: undefined } as const;
