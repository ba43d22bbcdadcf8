import { parseArgs } from 'node:util';
import { parseDuration } from '../src/core/units.ts';
import { allPeers } from './peers/index.ts';
import type { Peer } from './peers/peer.ts';
import { allScenarios } from './scenarios/index.ts';
import type { Scenario, Settings } from './scenarios/scenario.ts';

export interface BenchOptions {
  readonly scenarios: readonly Scenario[];
  readonly peers: readonly Peer[];
  readonly settings: Settings;
  /** Run before all other work of the machine. */
  readonly raised: boolean;
  /** Folder of the result files. */
  readonly out: string;
}

export const USAGE = `npm run bench -- [SCENARIO…] [options]

Scenarios (all without a name):
${allScenarios.map(({ name, title }) => `  ${name.padEnd(6)} ${title}`).join('\n')}

Options:
  --rounds N          every peer takes its turn N times, A B C A B C …   (5)
  --duration TIME     of one measured turn                               (5s)
  --connections N     of the closed loop; the most at once of the open   (64)
  --only A,B          just these of ${allPeers.map(({ name }) => name).join(', ')}
  --rate N            requests per second of the open loop (s2: 30 % of what HAProxy can do)
  --instances N       of the scenarios about many instances             (100000)
  --raise             run before all other work of the machine (root), where others cannot be stopped
  --out DIR           where the result files go                          (bench/results)`;

/** Throws an Error that says what to write instead. */
export function parseOptions(argv: readonly string[], resultsDir: string): BenchOptions | 'help' {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      rounds: { type: 'string', default: '5' },
      duration: { type: 'string', default: '5s' },
      connections: { type: 'string', default: '64' },
      only: { type: 'string' },
      rate: { type: 'string' },
      instances: { type: 'string' },
      out: { type: 'string', default: resultsDir },
      raise: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return 'help';
  if (values.raise && process.getuid?.() !== 0) throw new Error('--raise: only root may');
  const durationMs = parseDuration(values.duration);
  if (durationMs === undefined || durationMs < 1000) throw new Error('--duration: a time of at least 1s, such as 5s');
  const settings: Settings = {
    rounds: count('--rounds', values.rounds, 100),
    durationMs,
    connections: count('--connections', values.connections, 1000),
    ratePerS: values.rate === undefined ? undefined : count('--rate', values.rate, 1_000_000),
    instances: values.instances === undefined ? undefined : count('--instances', values.instances, 1_000_000),
  };
  const scenarios = positionals.length === 0 ? allScenarios : named('scenario', positionals, allScenarios);
  const peers = values.only === undefined ? allPeers : named('peer', values.only.split(','), allPeers);
  return { scenarios, peers, settings, raised: values.raise, out: values.out };
}

function count(option: string, text: string, most: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > most)
    throw new Error(`${option}: a whole number from 1 to ${most}`);
  return value;
}

function named<T extends { readonly name: string }>(what: string, names: readonly string[], all: readonly T[]): T[] {
  const known = all.map(({ name }) => name);
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) throw new Error(`no ${what} is called ${unknown}; there are ${known.join(', ')}`);
  return all.filter(({ name }) => names.includes(name));
}
