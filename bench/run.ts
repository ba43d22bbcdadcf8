// npm run bench -- [SCENARIO…] [options]; --help lists them. docs/performance.md says how to read what it prints.
import { join, relative } from 'node:path';
import { Lab } from './lab/lab.ts';
import { describeMachine } from './lab/machine.ts';
import { parseOptions, USAGE, type BenchOptions } from './options.ts';
import { whyLocal, writeResult } from './report/files.ts';
import { renderTable } from './report/table.ts';
import { runScenario } from './run-scenario.ts';
import { allPeers } from './peers/index.ts';

const argv = process.argv.slice(2);
const say = (line: string): void => void process.stderr.write(`${line}\n`);

async function bench({ scenarios, peers, settings, raised, out }: BenchOptions, signal: AbortSignal): Promise<void> {
  const present = peers.filter((peer) => peer.version() !== undefined);
  for (const { name } of peers.filter((peer) => !present.includes(peer))) say(`${name} is not installed: left out`);
  const machine = describeMachine();
  const command = ['npm run bench --', ...argv].join(' ');
  for (const scenario of scenarios) {
    signal.throwIfAborted();
    const lab = new Lab({ raised, threads: scenario.threads });
    const end = (): void => void lab.close();
    signal.addEventListener('abort', end, { once: true });
    try {
      const result = await runScenario(scenario, { lab, peers: present, settings, command, machine, signal, say });
      process.stdout.write(`\n${renderTable(result)}\n`);
      const reason = whyLocal(result, present.length === allPeers.length);
      const files = writeResult(out, result, reason !== undefined).map((file) => relative(process.cwd(), file));
      say(`\nwritten: ${files.join(', ')}${reason === undefined ? '' : ` (not for publishing: ${reason})`}`);
    } finally {
      signal.removeEventListener('abort', end);
      await lab.close();
    }
  }
}

async function main(): Promise<number> {
  let options: BenchOptions | 'help';
  try {
    options = parseOptions(argv, join(import.meta.dirname, 'results'));
  } catch (error) {
    say(`${(error as Error).message}\n\n${USAGE}`);
    return 2;
  }
  if (options === 'help') {
    process.stdout.write(`${USAGE}\n`);
    return 0;
  }
  const stopping = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const)
    process.once(name, () => stopping.abort(new Error(`stopped by ${name}`)));
  try {
    await bench(options, stopping.signal);
    return 0;
  } catch (error) {
    say(`bench: ${((stopping.signal.reason as Error | undefined) ?? (error as Error)).message}`);
    return stopping.signal.aborted ? 130 : 1;
  }
}

process.exitCode = await main();
