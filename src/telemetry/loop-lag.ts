import type { Clock } from '../core/clock.ts';

const SAMPLE_MS = 100;

/**
 * Tells ten times a second how late a timer fired: what the event loop of this thread makes everything wait. Returns
 * a function that ends it.
 */
export function watchLoopLag(clock: Clock, record: (lagMs: number) => void): () => void {
  let cancel = (): void => undefined;
  const arm = (): void => {
    const dueMs = clock.now() + SAMPLE_MS;
    cancel = clock.after(SAMPLE_MS, () => {
      record(Math.max(0, clock.now() - dueMs));
      arm();
    });
  };
  arm();
  return () => {
    cancel();
  };
}
