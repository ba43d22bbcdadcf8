import type { Lab, RunningPeer } from './lab/lab.ts';
import { describeCheckout, type Machine } from './lab/machine.ts';
import { closedLoopGenerator } from './load/generators.ts';
import type { Peer } from './peers/peer.ts';
import { judge, summarise, type CaseResult, type ScenarioResult } from './report/result.ts';
import type { Case, Figures, Scenario, Settings } from './scenarios/scenario.ts';

export interface RunOptions {
  readonly lab: Lab;
  readonly peers: readonly Peer[];
  readonly settings: Settings;
  readonly command: string;
  readonly machine: Machine;
  /** Aborted = stop after what is under way; the lab ends that. */
  readonly signal: AbortSignal;
  /** One line per turn. */
  readonly say: (line: string) => void;
}

/** All cases, rounds and peers of one scenario; rejects as soon as one turn cannot be believed. */
export async function runScenario(scenario: Scenario, options: RunOptions): Promise<ScenarioResult> {
  const { lab, say } = options;
  const peers = options.peers.filter(({ name }) => !scenario.without.includes(name));
  const settings = (await scenario.prepare?.(lab, options.settings)) ?? options.settings;
  const rate = settings.ratePerS === undefined ? '' : `, ${settings.ratePerS} requests/s`;
  say(`${scenario.name}: ${scenario.title}${rate}`);

  const running = new Map<string, RunningPeer>();
  const cases: CaseResult[] = [];
  try {
    if (!scenario.freshPeers) {
      for (const peer of peers) running.set(peer.name, await lab.startPeer(peer, scenario.maxConnections));
    }
    const allCases = scenario.cases(settings);
    for (const [caseIndex, each] of allCases.entries()) {
      const rounds = await runCase(scenario, { ...options, peers, settings }, running, caseIndex);
      cases.push(caseResult(scenario, each, peers, rounds));
    }
  } finally {
    await Promise.all([...running.values()].map((peer) => peer.stop()));
  }
  return {
    scenario: scenario.name,
    title: scenario.title,
    command: options.command,
    date: new Date().toISOString(),
    checkout: describeCheckout(),
    node: process.versions.node,
    machine: options.machine,
    cores: lab.cores.description,
    generator: closedLoopGenerator(),
    settings,
    versions: Object.fromEntries(peers.map((peer) => [peer.name, peer.version() ?? ''])),
    columns: scenario.columns,
    cases,
  };
}

type Round = ReadonlyMap<string, Figures>;

async function runCase(
  scenario: Scenario,
  options: RunOptions,
  running: ReadonlyMap<string, RunningPeer>,
  caseIndex: number,
): Promise<Round[]> {
  const { lab, peers, settings, signal, say } = options;
  const rounds: Round[] = [];
  for (let round = 1; round <= settings.rounds; round += 1) {
    const figures = new Map<string, Figures>();
    for (const peer of peers) {
      const { name } = peer;
      signal.throwIfAborted();
      const kept = running.get(name);
      const current = kept ?? (await lab.startPeer(peer, scenario.maxConnections));
      const measured = await scenario.measure({ lab, peer: current, caseIndex, round, settings });
      if (!kept) await current.stop();
      figures.set(name, measured);
      say(`  round ${round}/${settings.rounds}  ${name.padEnd(12)} ${glance(scenario, measured)}`);
    }
    const related = scenario.relate?.(figures);
    rounds.push(new Map([...figures].map(([name, own]) => [name, { ...own, ...related?.get(name) }])));
  }
  return rounds;
}

function glance({ columns }: Scenario, figures: Figures): string {
  const shown = columns.flatMap(({ key, header, unit, decimals }) => {
    const value = figures[key];
    return value === undefined ? [] : [`${header} ${value.toFixed(decimals)} ${unit}`.trimEnd()];
  });
  return shown.slice(0, 4).join(', ');
}

function caseResult(scenario: Scenario, each: Case, peers: readonly Peer[], rounds: readonly Round[]): CaseResult {
  const results = Object.fromEntries(
    peers.map(({ name }) => [
      name,
      summarise(
        scenario.columns,
        rounds.map((round) => round.get(name) ?? {}),
      ),
    ]),
  );
  const goals = judge(scenario.goals, each.name, results);
  const doubt = scenario.doubt?.((peer, column) => results[peer]?.[column]?.median);
  return { ...each, peers: results, goals, ...(doubt === undefined ? {} : { doubt }) };
}
