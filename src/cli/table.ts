/** Control characters would let whoever registers an instance write on the operator's terminal. */
const UNPRINTABLE = /[\p{C}\u2028\u2029]/gu;

/** Text from outside as one harmless line. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, '?');
}

export interface Column {
  readonly title: string;
  /** Numbers. */
  readonly right?: boolean;
}

/** Aligned columns with two spaces between, a line per row. Cells from outside come out printable. */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const cells = [columns.map(({ title }) => title), ...rows.map((row) => row.map(printable))];
  const widths = columns.map((_, at) => Math.max(...cells.map((row) => (row[at] ?? '').length)));
  const line = (row: readonly string[]): string =>
    columns
      .map(({ right }, at) => {
        const cell = row[at] ?? '';
        const width = widths[at] ?? 0;
        return right ? cell.padStart(width) : cell.padEnd(width);
      })
      .join('  ')
      .trimEnd();
  return cells.map((row) => `${line(row)}\n`).join('');
}
