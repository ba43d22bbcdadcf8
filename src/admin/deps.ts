import type { RegistryTable } from './registry-diff.ts';
import type { Clock } from '../core/clock.ts';
import type { TargetEvidence } from '../health/evidence.ts';
import type { Origin } from '../registry/merge.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Timeline } from '../telemetry/timeline.ts';
import type { Member } from '../upstream/directory.ts';
import type { Figures } from '../upstream/figures.ts';
import type { Fleet } from '../upstream/fleet.ts';

/** What the admin API reads and may do. Getters answer from memory, at once. */
export interface AdminDeps {
  readonly clock: Clock;
  readonly build: BuildInfo;
  /** Asked for by everything but /healthz and /readyz; undefined: by nothing. */
  readonly token: string | undefined;
  /** Names, besides IP addresses and localhost, by which this listener may be addressed to change something. */
  readonly hostNames: readonly string[];
  readonly metrics: Pick<Metrics, 'contentType' | 'scrape' | 'totals' | 'vitals'>;
  readonly timeline: Timeline;
  readonly fleet: Pick<Fleet, 'services' | 'explain' | 'drain' | 'undrain' | 'columns'>;
  readonly figures: Figures;
  /** What stands in the way of readiness; empty = ready. */
  notReady(): readonly NotReady[];
  /** The service a request with this host (lower case, without port) would go to. */
  resolveHost(host: string): string | undefined;
  /** undefined: nothing probes the instance. */
  probesOf(member: Member): TargetEvidence | undefined;
  /** What each registry says of the instance. */
  originsOf(service: string, instance: string): readonly Origin[];
  registries(): readonly RegistryReport[];
  /** What one registry has, in our names; undefined: there is none of this name. */
  registryTable(name: string): RegistryTable | undefined;
  /** Reads the configuration anew. Never rejects for what the file holds. */
  reload(): Promise<ReloadOutcome>;
  /** Starts this program anew from what is on disk, and leaves it everything. Resolves when it serves. */
  upgrade(): Promise<UpgradeOutcome>;
  /** A request of the API failed for a bug of ours. */
  onBug(error: unknown): void;
}

export interface BuildInfo {
  readonly version: string;
  readonly node: string;
}

export interface NotReady {
  /** `gateway`, or the name of a registry. */
  readonly component: string;
  readonly reason: string;
}

/** One registry as seen from here. Ages and pauses in milliseconds. */
export interface RegistryReport {
  readonly name: string;
  readonly type: string;
  /** `stale`: lost, and the last good set is in use. */
  readonly state: 'init' | 'synced' | 'stale' | 'failed';
  readonly endpoint?: string | undefined;
  readonly leader?: string | undefined;
  readonly revision?: string | undefined;
  /** Since it was last heard from. */
  readonly ageMs?: number | undefined;
  /** Until the next attempt to reach it. */
  readonly retryInMs?: number | undefined;
  readonly lastError?: { readonly message: string; readonly wallMs: number } | undefined;
  readonly services: number;
  readonly instances: number;
  /** Losses that the guard does not believe yet. */
  readonly held: readonly { readonly service: string; readonly instances: number; readonly forMs: number }[];
}

export type ReloadOutcome =
  | { readonly ok: true; readonly changes: readonly string[] }
  | { readonly ok: false; readonly issues: readonly ReloadIssue[] };

export type UpgradeOutcome =
  { readonly ok: true; readonly pid: number } | { readonly ok: false; readonly reason: string };

export interface ReloadIssue {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly path: string;
  readonly message: string;
}
