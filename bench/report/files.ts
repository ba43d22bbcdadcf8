import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { renderChart } from './chart.ts';
import type { ScenarioResult } from './result.ts';

const ROUNDS_TO_PUBLISH = 5;
/** One-minute load average before the run. */
const LOAD_TO_PUBLISH = 0.7;
const DURATION_MS_TO_PUBLISH = 5000;

/** Why the result is not fit to be shown to anyone; undefined = it is. */
export function whyLocal(result: ScenarioResult, everyPeer: boolean): string | undefined {
  if (result.settings.rounds < ROUNDS_TO_PUBLISH) return `fewer than ${ROUNDS_TO_PUBLISH} rounds`;
  if (result.settings.durationMs < DURATION_MS_TO_PUBLISH) return `turns shorter than ${DURATION_MS_TO_PUBLISH} ms`;
  if (!everyPeer) return 'not every peer took part';
  if (result.checkout.dirty) return 'the sources differ from the commit';
  if (result.machine.loadBefore > LOAD_TO_PUBLISH) {
    return `the machine had other work (load ${result.machine.loadBefore.toFixed(1)})`;
  }
  return result.cases.find(({ doubt }) => doubt !== undefined)?.doubt;
}

/**
 * Writes `DATE-SCENARIO.json` and `SCENARIO.svg`; with `local-` before the name, which git ignores, where the result is
 * not fit to be published, so that a quick trial never replaces the chart of the README. Returns the paths.
 */
export function writeResult(dir: string, result: ScenarioResult, local: boolean): string[] {
  mkdirSync(dir, { recursive: true });
  const prefix = local ? 'local-' : '';
  const json = join(dir, `${prefix}${result.date.slice(0, 10)}-${result.scenario}.json`);
  const chart = join(dir, `${prefix}${result.scenario}.svg`);
  writeFileSync(json, `${JSON.stringify(result, undefined, 2)}\n`);
  writeFileSync(chart, renderChart(result));
  return [json, chart];
}
