/** What one health check does. The words of `services.*.health` and of a registration's `check`. */
export type CheckKind =
  | { readonly type: 'tcp' }
  | HttpCheck
  | {
      readonly type: 'grpc';
      /** The `service` field of `grpc.health.v1.HealthCheckRequest`; empty asks for the whole server. */
      readonly grpcService: string;
      readonly tls: boolean;
      /** `:authority` and TLS server name; missing = the instance's own host and port. */
      readonly host?: string | undefined;
      /** With `tls`: whether the certificate must be valid for the name. Missing = true. */
      readonly verifyTls?: boolean | undefined;
      /** With `tls`: file of the authorities (PEM) to trust; missing = the system's. */
      readonly caFile?: string | undefined;
    }
  | {
      /** Only ever from the operator's own configuration file. */
      readonly type: 'script';
      readonly command: readonly string[];
    }
  | {
      /** The instance reports by itself; silence for `timeoutMs` is a failure. */
      readonly type: 'ttl';
    };

export interface HttpCheck {
  readonly type: 'http' | 'https';
  /** Origin form, begins with `/`. */
  readonly path: string;
  readonly method: string;
  /** Ranges, both ends included: `[[200, 399]]`. */
  readonly statuses: readonly (readonly [number, number])[];
  readonly headers: readonly (readonly [string, string])[];
  /** The body (its first 64 KiB) must contain this text. */
  readonly bodyContains: string | undefined;
  /** `Host` header and TLS server name; `undefined` = the instance's own host and port. */
  readonly host: string | undefined;
  /** https: whether the certificate must be valid for the name. */
  readonly verifyTls: boolean;
  /** https: file of the authorities (PEM) to trust; missing = the system's. Only ever from the operator. */
  readonly caFile?: string | undefined;
}

export interface CheckTiming {
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Consecutive successes that turn failing into passing. A new instance needs one only. */
  readonly healthyThreshold: number;
  /** Consecutive failures that turn passing into failing. */
  readonly unhealthyThreshold: number;
  /** Interval while results disagree with the verdict. */
  readonly fastIntervalMs: number;
  /** 0.2 = every interval is drawn from ± 20 %. */
  readonly jitter: number;
}

export type Check = CheckTiming &
  CheckKind & {
    /** Unique among the checks of one instance. */
    readonly name: string;
    /** Probe this port in place of the instance's own. */
    readonly port: number | undefined;
    /**
     * A request that the instance has answered since its last probe stands in for the next one, at most every other
     * time. Missing = for `tcp` alone: what asks for more than a connection, an answer to something else does not prove.
     */
    readonly trafficAsEvidence?: boolean | undefined;
  };

/** What a registration may say: any part; what is missing comes from the service's policy. */
export type CheckOverride = { readonly type: CheckKind['type'] } & Partial<Omit<HttpCheck, 'type' | 'caFile'>> &
  Partial<CheckTiming> & {
    readonly name?: string;
    readonly port?: number;
    readonly grpcService?: string;
    readonly tls?: boolean;
  };

/** The longest pause between probes while results disagree with the verdict: always shorter than a steady one. */
export function longestFastGapMs(timing: CheckTiming): number {
  return Math.min(timing.fastIntervalMs, timing.intervalMs * (1 - timing.jitter));
}

/**
 * Milliseconds from the moment an instance stops answering to the verdict `failing`, at worst: it stops right after a
 * probe, the next turn comes as late as jitter allows, and every probe runs into its deadline.
 *
 *     interval × (1 + jitter) + (unhealthyThreshold − 1) × max(fast gap, timeout) + timeout
 *
 * The fast gap is `longestFastGapMs`. An instance that refuses or answers wrongly is found out sooner: the timeouts
 * fall away. Not included: the lag of the prober itself (`probe_lag_seconds`), and freezes. With an unhealthy threshold
 * of 2 or more and a timeout below `interval × (1 − jitter)` this is at most `interval × unhealthyThreshold + timeout`.
 * A `ttl` check fails after `unhealthyThreshold` silent periods.
 */
export function worstCaseDetectionMs(check: CheckTiming & Pick<CheckKind, 'type'>): number {
  const { intervalMs, jitter, timeoutMs, unhealthyThreshold } = check;
  if (check.type === 'ttl') return timeoutMs * unhealthyThreshold;
  const repeatMs = Math.max(longestFastGapMs(check), timeoutMs);
  return intervalMs * (1 + jitter) + (unhealthyThreshold - 1) * repeatMs + timeoutMs;
}
