const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/;
const SIZE = /^(\d+)(B|KiB|MiB|GiB)?$/;
const DURATION_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
const SIZE_BYTES: Readonly<Record<string, number>> = { B: 1, KiB: 1024, MiB: 1_048_576, GiB: 1_073_741_824 };

export const DURATION_RULE = 'a duration such as 250ms, 5s, 1m or 2h';
export const SIZE_RULE = 'a size such as 512B, 16KiB or 1MiB';

/** Milliseconds, or undefined where the text is no duration. */
export function parseDuration(text: string): number | undefined {
  const match = DURATION.exec(text);
  return match ? Number(match[1]) * (DURATION_MS[match[2] ?? ''] ?? Number.NaN) : undefined;
}

/** Bytes, or undefined where the text is no size. A bare number is bytes. */
export function parseSize(text: string): number | undefined {
  const match = SIZE.exec(text);
  return match ? Number(match[1]) * (SIZE_BYTES[match[2] ?? 'B'] ?? Number.NaN) : undefined;
}

/** The shortest exact form: 90000 → "90s", 1500 → "1500ms". */
export function formatDuration(durationMs: number): string {
  for (const [unit, size] of [
    ['h', 3_600_000],
    ['m', 60_000],
    ['s', 1000],
  ] as const) {
    if (durationMs >= size && durationMs % size === 0) return `${durationMs / size}${unit}`;
  }
  return `${durationMs}ms`;
}
