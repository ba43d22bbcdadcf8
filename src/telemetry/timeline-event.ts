type TimelineKind =
  | 'registered'
  | 'deregistered'
  // The gates of an instance, as the fleet calls them.
  | 'drain'
  | 'ejection'
  | 'breaker'
  | 'probe'
  /** An instance does clearly worse than its peers, and is not ejected for it. */
  | 'outlier'
  /** Of a whole service: panic begins or ends. */
  | 'panic'
  /** Of a whole service: its fallback instances come into use, or are needed no longer. */
  | 'fallback'
  /** Of a registry: lost, back, resynced, a change held back. */
  | 'registry'
  /** Of a data-plane thread: it has died, and another takes its place. */
  | 'thread'
  | 'config';

/** One change, and why it came. */
export interface TimelineEvent {
  /** Counts up by one; a gap means that events have been forgotten. */
  readonly sequence: number;
  /** Milliseconds since the epoch. */
  readonly wall: number;
  readonly kind: TimelineKind;
  /** undefined: the event is not about one service. */
  readonly service: string | undefined;
  /** undefined: the event is about the whole service. */
  readonly instance: string | undefined;
  readonly from: string | undefined;
  readonly to: string;
  /** Who or what decided: "3 probes in a row failed", "operator". */
  readonly cause: string;
  /** What was seen: "connect ECONNREFUSED 10.0.0.7:80". */
  readonly evidence: string | undefined;
}
