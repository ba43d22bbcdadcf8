import type { ErrorHandler } from 'hono';
import type { AddressPolicy } from '../../../core/address.ts';
import type { Clock } from '../../../core/clock.ts';
import type { Random } from '../../../core/random.ts';
import type { Report } from '../api/queries.ts';
import type { StatusOf } from '../api/views.ts';
import type { EmbeddedRegistry } from '../registry.ts';

export interface ConsulAppDeps {
  readonly registry: EmbeddedRegistry;
  readonly addresses: () => AddressPolicy;
  readonly clock: Clock;
  readonly random: Random;
  readonly statusOf: StatusOf | undefined;
  readonly maxBodyBytes: number;
  readonly bodyTimeoutMs: number;
  readonly onHeartbeat: (service: string, id: string, report: Report) => void;
  readonly onError: ErrorHandler;
}
