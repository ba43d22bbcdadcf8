import { availableParallelism } from 'node:os';
import type { Config } from '../config/config.ts';
import { loadConfigFile } from '../config/load.ts';
import { worstCaseDetectionMs, type Check } from '../core/check.ts';
import type { ServicePolicy } from '../core/policy.ts';
import { formatDuration } from '../core/units.ts';
import { planWorkers } from '../gateway/worker-plan.ts';
import { CONFIG_FLAG, configFile, issueLine } from './run-options.ts';
import { parseFlags, type Verb } from './verb.ts';

export const check: Verb = {
  name: 'check',
  usage: '[-c FILE]',
  summary: 'validate the configuration, and say how soon each service notices a dead instance',
  async run(ctx, args) {
    const { values } = parseFlags(args, CONFIG_FLAG, { positionals: 0 });
    const { file, path } = configFile(ctx, values.config);
    const result = await loadConfigFile(path, { file, env: ctx.env });
    if (!result.ok) {
      for (const issue of result.issues) ctx.stdout.write(`${issueLine(issue)}\n`);
      return 1;
    }
    const { shortage } = await planWorkers(result.config, availableParallelism());
    const warning = shortage === undefined ? '' : `warning: ${shortage}\n`;
    ctx.stdout.write(`${file} is valid\n${warning}\n${detectionReport(result.config)}`);
    return 0;
  },
};

function detectionReport(config: Config): string {
  const policies: [string, ServicePolicy][] = [['defaults', config.defaultPolicy], ...config.services];
  const rows = policies.map(([name, { checks }]) => ({
    name,
    within: checks.length === 0 ? 'never' : formatDuration(Math.max(...checks.map(promisedMs))),
    how:
      checks.length === 0
        ? 'nothing is checked: the registry and the breaker alone decide'
        : checks
            .map((each) => describe(each) + (checks.length > 1 ? ` (${formatDuration(promisedMs(each))})` : ''))
            .join('; '),
  }));
  const width = (column: 'name' | 'within'): number => Math.max(...rows.map((row) => row[column].length)) + 2;
  const [nameWidth, withinWidth] = [width('name'), width('within')];
  const lines = rows.map(({ name, within, how }) => `${name.padEnd(nameWidth)}${within.padEnd(withinWidth)}${how}\n`);
  return `Worst-case detection: an instance that stops answering gets no more traffic after\n${lines.join('')}`;
}

/**
 * interval × unhealthyThreshold + timeout, whole milliseconds. Checks are quicker than that by their fast interval,
 * unless settings leave no room for jitter and slow answers: then what is promised is what is true.
 */
export function promisedMs(check: Check): number {
  const worstMs = worstCaseDetectionMs(check);
  if (check.type === 'ttl') return Math.ceil(worstMs);
  return Math.ceil(Math.max(check.intervalMs * check.unhealthyThreshold + check.timeoutMs, worstMs));
}

function describe(check: Check): string {
  const [interval, timeout] = [formatDuration(check.intervalMs), formatDuration(check.timeoutMs)];
  if (check.type === 'ttl') return `ttl: ${times(check.unhealthyThreshold, 'silence', 'silences')} of ${timeout}`;
  const what =
    check.type === 'http' || check.type === 'https' ? `${check.type} ${check.method} ${check.path}` : check.type;
  return `${what}: every ${interval}, ${times(check.unhealthyThreshold, 'failure', 'failures')}, timeout ${timeout}`;
}

function times(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}
