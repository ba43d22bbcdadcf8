/** Whether `slot` is among the first `count` entries. `tried` holds the few attempts of one request. */
export function wasTried(slot: number, tried: Int32Array, count: number): boolean {
  for (let at = 0; at < count; at++) {
    if (tried[at] === slot) return true;
  }
  return false;
}

/**
 * Index of the first slot from `start` on, going round, that was not tried and is not at `except`; -1 where none is
 * left. For when drawing has failed a bounded number of times: few candidates, most of them tried.
 */
export function nextUntried(slots: Int32Array, start: number, tried: Int32Array, count: number, except = -1): number {
  const length = slots.length;
  let at = start;
  for (let step = 0; step < length; step++) {
    if (at >= length) at = 0;
    // Typed arrays are dense: `at` is within bounds.
    if (at !== except && !wasTried(slots[at] as number, tried, count)) return at;
    at++;
  }
  return -1;
}
