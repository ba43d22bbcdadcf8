import { getOnce } from './get-once.ts';

/** Of 10,000 services, on a machine that has other work. */
const TIMEOUT_MS = 20_000;

/** What one scrape said. */
export interface Scrape {
  /** `performance.now()` at its end. */
  readonly atMs: number;
  /** Of a series over all labels, or over those whose text holds `label`. */
  sum(name: string, label?: string): number;
  /** Upper bounds of a histogram, as they are written, ascending. */
  bounds(histogram: string): string[];
}

/** Rejects where there is no answer: a figure that is missing must not look like 0. */
export async function readMetrics(adminPort: number): Promise<Scrape> {
  const { status, body } = await getOnce(adminPort, '/metrics', 'localhost', TIMEOUT_MS);
  if (status !== 200) throw new Error(`the admin port answers /metrics with status ${status}`);
  const lines = body.split('\n');
  const of = (name: string): string[] =>
    lines.filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
  return {
    atMs: performance.now(),
    sum: (name, label = '') =>
      of(name)
        .filter((line) => line.includes(label))
        .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0),
    bounds: (histogram) =>
      of(`${histogram}_bucket`).flatMap((line) => {
        const bound = /le="([^"]+)"/.exec(line)?.[1];
        return bound === undefined ? [] : [bound];
      }),
  };
}
