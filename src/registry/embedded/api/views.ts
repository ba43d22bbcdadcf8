import { formatDuration } from '../../../core/units.ts';
import type { Entry } from '../table.ts';

/** What the gateway makes of an instance, beyond what is registered. */
export interface InstanceStatus {
  /** One word: `up`, `down`, `draining`, … */
  readonly status: string;
  /** Whether it gets traffic: what `?healthy=true` asks for. */
  readonly healthy: boolean;
  readonly reason: string | undefined;
}

export type StatusOf = (service: string, id: string) => InstanceStatus | undefined;

/** The gateway's word on an instance; before it has one, the registry's. */
export function statusOf({ instance }: Readonly<Entry>, ask: StatusOf | undefined): InstanceStatus {
  return (
    ask?.(instance.service, instance.id) ?? {
      status: instance.state,
      healthy: instance.state !== 'down',
      reason: instance.stateReason,
    }
  );
}

/** One instance, as every answer of the native API shows it. Headers of its check may be secret and are left out. */
export function instanceView(entry: Readonly<Entry>, { status, reason }: InstanceStatus): Record<string, unknown> {
  const { instance, registration, index } = entry;
  return {
    id: instance.id,
    service: instance.service,
    host: instance.host,
    port: instance.port,
    status,
    reason,
    weight: instance.weight,
    zone: instance.zone,
    version: instance.version,
    metadata: Object.fromEntries(instance.metadata),
    ttl: ttlView(registration.ttlMs),
    index,
  };
}

/** `null`: no heartbeat is expected. */
export function ttlView(ttlMs: number | undefined): string | null {
  return ttlMs === undefined ? null : formatDuration(ttlMs);
}
