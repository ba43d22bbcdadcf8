/**
 * One iteration out of several, each item as it comes. Every source is asked for its next item only after its last one
 * was taken, so a slow reader slows them all down. The first error ends the whole; the caller stops the sources then.
 */
export async function* interleave<T>(
  ...sources: readonly AsyncIterator<T, unknown>[]
): AsyncGenerator<T, void, undefined> {
  const arrivals: Arrival<T>[] = [];
  let wake: (() => void) | undefined;
  const arrive = (arrival: Arrival<T>): void => {
    arrivals.push(arrival);
    wake?.();
  };
  const ask = (source: AsyncIterator<T, unknown>): void => {
    source.next().then(
      (result) => arrive({ source, result }),
      (error: unknown) => arrive({ source, error }),
    );
  };
  sources.forEach(ask);
  for (let open = sources.length; open > 0;) {
    const arrival = arrivals.shift();
    if (!arrival) {
      await new Promise<void>((resolve) => (wake = resolve));
      continue;
    }
    if ('error' in arrival) throw arrival.error;
    if (arrival.result.done === true) {
      open -= 1;
      continue;
    }
    yield arrival.result.value;
    ask(arrival.source);
  }
}

type Arrival<T> = { readonly source: AsyncIterator<T, unknown> } & (
  { readonly result: IteratorResult<T, unknown> } | { readonly error: unknown }
);
