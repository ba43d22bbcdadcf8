/** What one health check does. The words of `services.*.health` and of a registration's `check`. */
export type CheckKind =
  | { readonly type: 'tcp' }
  | HttpCheck
  | {
      readonly type: 'grpc';
      /** The `service` field of `grpc.health.v1.HealthCheckRequest`; empty asks for the whole server. */
      readonly grpcService: string;
      readonly tls: boolean;
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
  };

/** What a registration may say: any part; what is missing comes from the service's policy. */
export type CheckOverride = { readonly type: CheckKind['type'] } & Partial<Omit<HttpCheck, 'type'>> &
  Partial<CheckTiming> & { readonly name?: string; readonly port?: number; readonly grpcService?: string; readonly tls?: boolean };
