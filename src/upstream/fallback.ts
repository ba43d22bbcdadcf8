import { addressOf, instance, type Instance } from '../core/instance.ts';
import type { ServicePolicy } from '../core/policy.ts';

/** Ids of registered instances are names, in which there is no colon: the two can never be taken for each other. */
const PREFIX = 'fallback:';

export function isFallback({ id }: Pick<Instance, 'id'>): boolean {
  return id.startsWith(PREFIX);
}

/** The instances that the operator has named to stand in for those of a service. */
export function fallbackInstances(service: string, { fallback }: Pick<ServicePolicy, 'fallback'>): Instance[] {
  return fallback.map(({ host, port }) =>
    instance({ id: `${PREFIX}${addressOf({ host, port })}`, service, host, port }),
  );
}
