import type { ServicePolicy } from '../core/policy.ts';
import type { Figures } from '../upstream/figures.ts';
import { adaptiveLimit } from './adaptive-limit.ts';

type Limits = Pick<ServicePolicy, 'maxInflightPerInstance' | 'adaptiveLimit'>;

export function isLimited(policy: Limits): boolean {
  return policy.maxInflightPerInstance > 0 || policy.adaptiveLimit;
}

/** Requests that may be in flight to the instance at once, by a policy that limits them. */
export function limitOf(policy: Limits, figures: Pick<Figures, 'limit'>, slot: number): number {
  const most = policy.maxInflightPerInstance || Infinity;
  return policy.adaptiveLimit ? Math.min(most, adaptiveLimit(figures, slot)) : most;
}
