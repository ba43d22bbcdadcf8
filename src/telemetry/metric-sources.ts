import type { FleetSource } from './fleet-source.ts';

/** What is read at the moment of a scrape. A part may be missing for as long as its room is not there. */
export interface MetricSources {
  readonly fleet?: FleetSource;
  /** `ageMs`: since the registry last confirmed its data; undefined before its first answer. */
  readonly registries?: () => Iterable<{
    readonly name: string;
    readonly up: boolean;
    readonly ageMs: number | undefined;
  }>;
  readonly connections?: () => ConnectionCounts;
  readonly bounds?: () => Bounds;
  /** Data-plane threads: those that are there, and those that have died so far. */
  readonly threads?: () => ThreadCensus;
  /** Requests refused so far for there being too many under way. */
  readonly refusedRequests?: () => number;
  /** Lines dropped so far, by log. */
  readonly droppedLines?: () => Iterable<readonly [log: string, lines: number]>;
}

export interface ThreadCensus {
  readonly running: number;
  /** As many as `workers` asks for. */
  readonly wanted: number;
  /** Why there can never be as many here, for people. */
  readonly shortage: string | undefined;
  readonly deaths: number;
  /** By thread. */
  readonly connections: readonly number[];
  readonly heapBytes: readonly number[];
  /** Heap and buffers. */
  readonly memoryBytes: readonly number[];
}

export interface Bounds {
  /** By what is bounded. */
  readonly limits: Iterable<readonly [of: string, most: number]>;
  /** So far. */
  readonly refused: Iterable<readonly [side: 'downstream' | 'upstream', reason: string, count: number]>;
}

export interface ConnectionCounts {
  readonly downstreamActive: number;
  readonly downstreamIdle: number;
  readonly upstreamActive: number;
  readonly upstreamIdle: number;
}
