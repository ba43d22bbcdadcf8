import type { CaseResult, ScenarioResult, Spread } from './result.ts';

const WIDTH = 760;
const PADDING = 16;
const LABEL_WIDTH = 110;
const VALUE_WIDTH = 90;
const ROW_HEIGHT = 26;
const BAR_HEIGHT = 16;
const CASE_HEIGHT = 30;
/** Title and the line below it. */
const TOP = 60;
/** The line at the bottom. */
const BOTTOM = 26;

/** The panel brings its own ground: a page may be dark where the reader's system is light, and the text must show on both. */
const STYLE = `
  .panel { fill: #ffffff; stroke: #d1d9e0; }
  text { font: 13px system-ui, -apple-system, 'Segoe UI', sans-serif; fill: #1f2328; }
  .title { font-size: 16px; font-weight: 600; }
  .small { font-size: 12px; fill: #59636e; }
  .bar { fill: #8c959f; }
  .ours { fill: #0969da; }
  .own { font-weight: 600; }
  .whisker { stroke: #1f2328; stroke-width: 1.5; }
  @media (prefers-color-scheme: dark) {
    .panel { fill: #0d1117; stroke: #3d444d; }
    text { fill: #f0f6fc; }
    .small { fill: #9198a1; }
    .bar { fill: #6e7681; }
    .ours { fill: #4493f8; }
    .whisker { stroke: #f0f6fc; }
  }`;

/** Horizontal bars of the scenario's first column: medians, with a line from the least to the greatest round. */
export function renderChart(result: ScenarioResult): string {
  const column = result.columns[0];
  if (!column) throw new Error(`${result.scenario} has no column to draw`);
  const body: string[] = [];
  let y = TOP;
  for (const each of result.cases) {
    const bars = barsOf(each, column.key);
    if (result.cases.length > 1) {
      body.push(text(0, y + 18, 'own', each.name));
      y += CASE_HEIGHT;
    }
    const most = Math.max(...bars.map(({ spread }) => spread.max), 0);
    for (const { name, spread } of bars) {
      body.push(...bar(name, spread, most, y, column.decimals));
      y += ROW_HEIGHT;
    }
  }
  const { cpu, cores } = result.machine;
  const { rounds, durationMs } = result.settings;
  const spread = rounds === 1 ? '1 round' : `median, least and greatest of ${rounds} interleaved rounds`;
  const foot = `${result.date.slice(0, 10)} · ${cpu}, ${cores} cores · ${spread} of ${durationMs / 1000} s`;
  const [width, height] = [WIDTH + 2 * PADDING, y + BOTTOM + 2 * PADDING];
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">
<title>${escape(result.title)}</title>
<style>${STYLE}
</style>
<rect class="panel" x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="6"/>
<g transform="translate(${PADDING} ${PADDING})">
${text(0, 16, 'title', result.title)}
${text(0, 38, 'small', `${column.header}, ${column.unit}; shorter is better`)}
${body.join('\n')}
${text(0, y + BOTTOM - 4, 'small', foot)}
</g>
</svg>
`;
}

interface Bar {
  readonly name: string;
  readonly spread: Spread;
}

function barsOf({ peers }: CaseResult, key: string): Bar[] {
  const bars = Object.entries(peers).flatMap(([name, figures]) => {
    const spread = figures[key];
    return spread ? [{ name, spread }] : [];
  });
  return bars.sort((a, b) => a.spread.median - b.spread.median);
}

function bar(name: string, spread: Spread, most: number, y: number, decimals: number): string[] {
  const scale = most > 0 ? (WIDTH - LABEL_WIDTH - VALUE_WIDTH) / most : 0;
  const x = (value: number): string => (LABEL_WIDTH + Math.max(0, value) * scale).toFixed(1);
  const ours = name === 'fairlead';
  const middle = y + BAR_HEIGHT / 2;
  const width = (Math.max(0, spread.median) * scale).toFixed(1);
  return [
    text(0, y + 13, ours ? 'own' : '', name),
    `<rect class="bar${ours ? ' ours' : ''}" x="${LABEL_WIDTH}" y="${y}" width="${width}" height="${BAR_HEIGHT}" rx="2"/>`,
    `<line class="whisker" x1="${x(spread.min)}" y1="${middle}" x2="${x(spread.max)}" y2="${middle}"/>`,
    text(WIDTH - VALUE_WIDTH + 12, y + 13, ours ? 'own' : '', spread.median.toFixed(decimals)),
  ];
}

function text(x: number, y: number, className: string, content: string): string {
  return `<text x="${x}" y="${y}"${className === '' ? '' : ` class="${className}"`}>${escape(content)}</text>`;
}

function escape(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
