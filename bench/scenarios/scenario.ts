import type { Lab, RunningPeer } from '../lab/lab.ts';

/** One number per key of the scenario's columns; a key that does not apply to a peer is left out. */
export type Figures = Readonly<Record<string, number>>;

export interface Column {
  readonly key: string;
  readonly header: string;
  readonly unit: string;
  readonly decimals: number;
  /** The table shows the median alone; the file has every sample. */
  readonly medianOnly?: true;
}

/** A promise of docs/performance.md: median of the column, or its ratio to another peer's median, at most so much. */
export interface Goal {
  readonly column: string;
  /** Only this case; undefined = every case. */
  readonly caseName?: string;
  /** Undefined = `atMost` is in the column's own unit. */
  readonly against?: string;
  readonly atMost: number;
}

export interface Case {
  readonly name: string;
  readonly payloadBytes: number;
  readonly connections: number;
}

export interface Settings {
  readonly rounds: number;
  /** Of one measured turn, the warm-up before it not counted. */
  readonly durationMs: number;
  /** Connections of the closed loop, and the most at once of the open one. */
  readonly connections: number;
  /** Requests per second of the open loop; undefined = the scenario's own. */
  readonly ratePerS: number | undefined;
  /** Instances of the scenarios about many of them; undefined = the scenario's own. */
  readonly instances?: number | undefined;
}

/** One peer's turn in one round. */
export interface Turn {
  readonly lab: Lab;
  readonly peer: RunningPeer;
  readonly caseIndex: number;
  readonly round: number;
  readonly settings: Settings;
}

export interface Scenario {
  readonly name: string;
  readonly title: string;
  /** The first one is the primary figure: compared with HAProxy in the table, drawn in the chart. Lower is better. */
  readonly columns: readonly [Column, ...Column[]];
  readonly goals: readonly Goal[];
  /** Start every peer anew for each turn, where what it did before would show. */
  readonly freshPeers: boolean;
  /** Peers without a meaning here. */
  readonly without: readonly string[];
  readonly maxConnections: number;
  /** Of each peer; undefined = one. */
  readonly threads?: number;
  cases(settings: Settings): readonly Case[];
  /** Before the first round; what it returns is passed to every turn as its settings. */
  prepare?(lab: Lab, settings: Settings): Promise<Settings>;
  measure(turn: Turn): Promise<Figures>;
  /** Why the medians of a case, by peer and column, say more about the bench than about the peers. */
  doubt?(median: (peer: string, column: string) => number | undefined): string | undefined;
  /** Figures that need another peer's of the same round, by peer name. */
  relate?(round: ReadonlyMap<string, Figures>): ReadonlyMap<string, Figures>;
}
