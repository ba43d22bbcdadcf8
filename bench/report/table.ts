import type { Column } from '../scenarios/scenario.ts';
import type { CaseResult, GoalResult, ScenarioResult, Spread } from './result.ts';

const REFERENCE = 'haproxy';

/** The result as text for a terminal: medians, in parentheses the least and the greatest round. */
export function renderTable(result: ScenarioResult): string {
  const lines = [`${result.scenario}: ${result.title}`];
  for (const each of result.cases) {
    lines.push('', `${each.name}, ${each.connections} connections`, ...renderCase(result.columns, each));
    if (each.doubt !== undefined) lines.push(`not to be believed: ${each.doubt}`);
    lines.push(...each.goals.filter(({ met }) => met !== undefined).map((goal) => renderGoal(result.columns, goal)));
  }
  return lines.join('\n');
}

function renderCase(columns: readonly Column[], { peers }: CaseResult): string[] {
  const primary = columns[0]?.key ?? '';
  const reference = peers[REFERENCE]?.[primary]?.median;
  const header = [
    '',
    ...columns.map(({ header: text, unit }) => (unit === '' ? text : `${text}, ${unit}`)),
    `× ${REFERENCE}`,
  ];
  const rows = Object.entries(peers).map(([name, figures]) => {
    const median = figures[primary]?.median;
    const ratio = median === undefined || reference === undefined ? '–' : (median / reference).toFixed(2);
    return [name, ...columns.map((column) => renderSpread(column, figures[column.key])), ratio];
  });
  return align([header, ...rows]);
}

function renderSpread({ decimals, medianOnly }: Column, spread: Spread | undefined): string {
  if (!spread) return '–';
  const [median, min, max] = [spread.median, spread.min, spread.max].map((value) => value.toFixed(decimals));
  return spread.samples.length === 1 || medianOnly === true ? (median ?? '') : `${median} (${min}–${max})`;
}

function renderGoal(columns: readonly Column[], { column: key, against, atMost, value, met }: GoalResult): string {
  const column = columns.find((each) => each.key === key);
  const unit = against === undefined ? (column?.unit ?? '') : `× ${against}`;
  return `goal: ${column?.header ?? key} ≤ ${atMost} ${unit}: ${value.toFixed(2)}, ${met === true ? 'met' : 'MISSED'}`;
}

function align(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, index) => Math.max(...rows.map((row) => row[index]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, index) => (index === 0 ? cell.padEnd(widths[index] ?? 0) : cell.padStart(widths[index] ?? 0)))
      .join('  '),
  );
}
