import { RETRY_REASONS } from './closed-sets.ts';
import { DURATION_BUCKETS } from './buckets.ts';
import { ROW, statusOfKey, type RowSum } from './traffic.ts';

/** What a service has counted so far, over all threads: whoever wants rates asks twice. */
export interface ServiceTotals {
  readonly requests: number;
  /** Of these, those the client got a status of 500 or more for. */
  readonly errors: number;
  readonly retries: number;
  readonly retriesForbidden: number;
  /** Requests by duration, by bucket and not cumulated: one more than `DURATION_BOUNDS_MS`. */
  readonly durations: readonly number[];
}

/** Upper bounds, inclusive, ascending. */
export const DURATION_BOUNDS_MS: readonly number[] = DURATION_BUCKETS.boundsMs;

export function totalsOf(sum: RowSum): ServiceTotals {
  let errors = 0;
  for (const [key, count] of sum.codes) if (statusOfKey(key) >= 500) errors += count;
  const durations = Array.from({ length: DURATION_BUCKETS.size }, (_, bucket) => sum.at(ROW.duration + bucket));
  let retries = 0;
  for (let reason = 0; reason < RETRY_REASONS.length; reason++) retries += sum.at(ROW.retries + reason);
  return {
    // Every request has a duration, whatever its code.
    requests: durations.reduce((all, count) => all + count, 0),
    errors,
    retries,
    retriesForbidden: sum.at(ROW.budgetExhausted),
    durations,
  };
}
