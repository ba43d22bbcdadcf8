const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1000],
] as const;

/** How long, in the largest unit that fits: `12 s`, `3 min`, `450 ms`. */
export function ageText(elapsedMs: number): string {
  for (const [unit, size] of UNITS) if (elapsedMs >= size) return `${Math.floor(elapsedMs / size)} ${unit}`;
  return `${Math.max(0, Math.round(elapsedMs))} ms`;
}
