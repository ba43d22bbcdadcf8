/** What the prober may use at most. */
export interface ProberLimits {
  /**
   * Probes under way at once, scripts aside. A black hole holds its place until the timeout: 5,000 of them a second
   * with a timeout of 2 s take 10,000 places. Too low: probes start late (`probe_lag_seconds`).
   */
  readonly concurrency: number;
  /**
   * Probes under way at once on one host. Too low: a host with many instances that hang is probed late, and so are the
   * others on it.
   */
  readonly perHost: number;
  /** Script probes under way at once: each is a process. */
  readonly scripts: number;
  /**
   * Probes begun in 10 ms: a burst must not block the loop by which the prober measures others. A turn of starts ends
   * after 5 ms in any case.
   */
  readonly startsPerTick: number;
  /** New checks asked per second when thousands arrive together; the first hundred of a burst are asked at once. */
  readonly firstProbesPerSecond: number;
  /** Lag of the event loop, in milliseconds, from which on negative results do not count. */
  readonly maxLagMs: number;
}

export const DEFAULT_LIMITS: ProberLimits = {
  concurrency: 16_384,
  perHost: 4096,
  scripts: 8,
  startsPerTick: 500,
  firstProbesPerSecond: 5000,
  maxLagMs: 100,
};
