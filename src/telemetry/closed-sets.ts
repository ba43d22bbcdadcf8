import type { CheckKind } from '../core/check.ts';
import type { BreakerState } from '../core/health.ts';

/** Label values are closed sets: what comes from outside is mapped onto them, so that no client can make series. */
export const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'other'] as const;
export type MethodIndex = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7;

/** Methods are case-sensitive (RFC 9110, section 9.1): `get` is `other`. */
export function methodIndex(method: string): MethodIndex {
  switch (method) {
    case 'GET':
      return 0;
    case 'HEAD':
      return 1;
    case 'POST':
      return 2;
    case 'PUT':
      return 3;
    case 'DELETE':
      return 4;
    case 'PATCH':
      return 5;
    case 'OPTIONS':
      return 6;
    default:
      return 7;
  }
}

/** Why another attempt was made. */
export const RETRY_REASONS = [
  'connect-failed',
  'reset',
  'timeout',
  'protocol-error',
  'bad-status',
  /** The instance was ejected while the attempt waited on it, or was found to hang. */
  'ejected',
  /** It had waited for long, and nobody could tell whether the instance hangs. */
  'unanswered',
] as const;
export type RetryReason = (typeof RETRY_REASONS)[number];

/** Why a request that found every instance at its limit was turned away: nobody else could wait, or it had for too long. */
export const QUEUE_REJECTIONS = ['full', 'timeout'] as const;
export type QueueRejection = (typeof QUEUE_REJECTIONS)[number];

/** In the order of their values in `Figures.breaker` and `fairlead_breaker_state`. */
export const BREAKER_STATES: readonly BreakerState[] = ['closed', 'open', 'half-open'];

/** What an instance was compared by. */
export const OUTLIER_KINDS = ['success-rate', 'latency'] as const;

/** `capped`: it would have been ejected, but for the ejection cap. */
export const OUTLIER_RESULTS = ['eject', 'observe', 'capped'] as const;
export type OutlierResult = (typeof OUTLIER_RESULTS)[number];

export const PROBE_TYPES: readonly CheckKind['type'][] = ['tcp', 'http', 'https', 'grpc', 'script', 'ttl'];

/** `discarded`: negative, and not believed, or the gateway was unable to ask. */
export const PROBE_RESULTS = ['pass', 'degraded', 'fail', 'timeout', 'discarded'] as const;
export type ProbeResult = (typeof PROBE_RESULTS)[number];

/** Why a registration ended. */
export const DEREGISTRATION_REASONS = ['deregistered', 'expired', 'replaced'] as const;
export type DeregistrationReason = (typeof DEREGISTRATION_REASONS)[number];

export const REGISTRY_EVENT_KINDS = ['reset', 'upsert', 'remove', 'absent', 'synced'] as const;
export type RegistryEventKind = (typeof REGISTRY_EVENT_KINDS)[number];

/** Why everything of a registry was read anew: how the watch before ended. */
export const RESYNC_REASONS = ['error', 'refused', 'ended', 'sync-deadline', 'silence', 'drift', 'requested'] as const;
export type ResyncReason = (typeof RESYNC_REASONS)[number];
