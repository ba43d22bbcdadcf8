import type { Clock } from '../../core/clock.ts';
import type { LockOwner } from './data-lock.ts';
import type { Disk } from './disk.ts';
import type { JournalFigures } from './journal.ts';
import type { RegistryLimits } from './plan.ts';
import type { RegistryLog } from './report.ts';

export interface EmbeddedRegistryOptions {
  /** Created when missing. One gateway at a time. undefined = in memory alone: nothing survives a restart. */
  readonly dataDir: string | undefined;
  readonly owner: LockOwner;
  readonly clock: Clock;
  readonly log: RegistryLog;
  /** Default 200,000 instances of 20,000 services. Above it registrations are refused. */
  readonly limits?: Partial<RegistryLimits>;
  /** How long a service stays known after its last instance has gone. Default 10 min; 0 = not at all. */
  readonly keepEmptyMs?: number;
  /** Blocking queries at a time. Default 4096. */
  readonly waiters?: number;
  /** Changes remembered for watchers that come back. Default 4096. */
  readonly history?: number;
  /** A disk slower than this counts as failing. Default 10 s. */
  readonly commitTimeoutMs?: number;
  /** In a storm of changes those of so many milliseconds go to the disk together. Default 0 = whatever is waiting. */
  readonly commitEveryMs?: number;
  /** Smaller logs are never rewritten. Default 4 MiB. */
  readonly compactAboveBytes?: number;
  /** Default: the machine's. */
  readonly disk?: Disk;
}

export interface RegistryFigures extends JournalFigures {
  readonly instances: number;
  readonly services: number;
  readonly leases: number;
  readonly waiters: number;
  /** Changes waiting for the disk. */
  readonly pending: number;
  /** False from a failed write until one succeeds. */
  readonly diskHealthy: boolean;
  /** Found at the start: stretches of the log that could not be read, and bytes cut off its end. */
  readonly corruptRecords: number;
  readonly tornBytes: number;
}

export const DEFAULT_LIMITS: RegistryLimits = { instances: 200_000, services: 20_000 };
