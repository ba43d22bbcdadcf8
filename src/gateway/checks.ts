import type { Check, CheckOverride } from '../core/check.ts';
import type { Instance } from '../core/instance.ts';

/** What a registration may not ask for: it would run a program of its choice here. */
const NEVER_FROM_OUTSIDE: ReadonlySet<string> = new Set(['script']);

/**
 * The checks of one instance: its own where it brought some, completed by the service's policy, else the service's.
 * Checks of the `ttl` type are kept by the registry that has the lease.
 */
export function checksOf(instance: Instance, policy: readonly Check[]): readonly Check[] {
  const own = (instance.checks ?? []).filter(({ type }) => !NEVER_FROM_OUTSIDE.has(type) && type !== 'ttl');
  const [first] = own;
  if (!first) return policy;
  return own.map((override, at) => complete(override, policy, at));
}

function complete(override: CheckOverride, policy: readonly Check[], at: number): Check {
  const base = policy.find(({ type }) => type === override.type) ?? policy[0];
  const timing = {
    intervalMs: override.intervalMs ?? base?.intervalMs ?? 5000,
    timeoutMs: override.timeoutMs ?? base?.timeoutMs ?? 2000,
    healthyThreshold: override.healthyThreshold ?? base?.healthyThreshold ?? 2,
    unhealthyThreshold: override.unhealthyThreshold ?? base?.unhealthyThreshold ?? 3,
    fastIntervalMs: override.fastIntervalMs ?? base?.fastIntervalMs ?? 1000,
    jitter: override.jitter ?? base?.jitter ?? 0.2,
    name: override.name ?? `${override.type}-${at + 1}`,
    port: override.port,
    trafficAsEvidence: base?.type === override.type ? base.trafficAsEvidence : undefined,
  };
  switch (override.type) {
    case 'http':
    case 'https': {
      const same = base?.type === 'http' || base?.type === 'https' ? base : undefined;
      return {
        ...timing,
        type: override.type,
        path: override.path ?? same?.path ?? '/',
        method: override.method ?? same?.method ?? 'GET',
        statuses: override.statuses ?? same?.statuses ?? [[200, 399]],
        headers: override.headers ?? same?.headers ?? [],
        bodyContains: override.bodyContains ?? same?.bodyContains,
        host: override.host ?? same?.host,
        verifyTls: override.verifyTls ?? same?.verifyTls ?? true,
        caFile: same?.caFile,
      };
    }
    case 'grpc': {
      const same = base?.type === 'grpc' ? base : undefined;
      return {
        ...timing,
        type: 'grpc',
        grpcService: override.grpcService ?? same?.grpcService ?? '',
        tls: override.tls ?? same?.tls ?? false,
        host: override.host ?? same?.host,
        verifyTls: override.verifyTls ?? same?.verifyTls,
        caFile: same?.caFile,
      };
    }
    case 'tcp':
    case 'script':
    case 'ttl':
      return { ...timing, type: 'tcp' };
  }
}
