import type { Checkout, Machine } from '../lab/machine.ts';
import type { Case, Column, Figures, Goal, Settings } from '../scenarios/scenario.ts';

/** Over the rounds of one run; the samples are kept, so that nobody has to trust the summary. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly samples: readonly number[];
}

/** By column key. */
export type PeerResult = Readonly<Record<string, Spread>>;

export interface GoalResult extends Goal {
  readonly caseName: string;
  /** NaN, written as null, where a peer it needs did not take part. */
  readonly value: number;
  readonly met: boolean | undefined;
}

export interface CaseResult extends Case {
  readonly peers: Readonly<Record<string, PeerResult>>;
  readonly goals: readonly GoalResult[];
  /** Why these figures are not to be believed; left out where nothing speaks against them. */
  readonly doubt?: string;
}

/** What a result file holds. */
export interface ScenarioResult {
  readonly scenario: string;
  readonly title: string;
  readonly command: string;
  readonly date: string;
  readonly checkout: Checkout;
  readonly node: string;
  readonly machine: Machine;
  readonly cores: string;
  readonly generator: string;
  readonly settings: Settings;
  readonly versions: Readonly<Record<string, string>>;
  readonly columns: readonly Column[];
  readonly cases: readonly CaseResult[];
}

export function spreadOf(samples: readonly number[]): Spread {
  const sorted = [...samples].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  const lower = sorted.length % 2 === 1 ? upper : (sorted[middle - 1] ?? Number.NaN);
  return { median: (lower + upper) / 2, min: sorted[0] ?? Number.NaN, max: sorted.at(-1) ?? Number.NaN, samples };
}

/** One peer's figures of all rounds, turned into a spread for each column that has any. */
export function summarise(columns: readonly Column[], rounds: readonly Figures[]): PeerResult {
  const result: Record<string, Spread> = {};
  for (const { key } of columns) {
    const samples = rounds.map((figures) => figures[key]).filter((value) => value !== undefined);
    if (samples.length > 0) result[key] = spreadOf(samples);
  }
  return result;
}

/** What the gateway promises; judged on medians of one run. */
export function judge(goals: readonly Goal[], caseName: string, peers: CaseResult['peers']): GoalResult[] {
  const ours = peers['fairlead'];
  const asked = goals.filter((goal) => goal.caseName === undefined || goal.caseName === caseName);
  return asked.map((goal) => {
    const value = ours?.[goal.column]?.median ?? Number.NaN;
    const base = goal.against === undefined ? 1 : (peers[goal.against]?.[goal.column]?.median ?? Number.NaN);
    const ratio = value / base;
    return { ...goal, caseName, value: ratio, met: Number.isNaN(ratio) ? undefined : ratio <= goal.atMost };
  });
}
