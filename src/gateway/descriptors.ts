import { readFileSync } from 'node:fs';

/** How many files and sockets this process may have open, as the kernel says; undefined where it does not say so here. */
export function descriptorLimit(read: () => string = readLimits): number | undefined {
  let text: string;
  try {
    text = read();
  } catch {
    // Not Linux, or no /proc: nothing is known, and whoever asks has a default.
    return undefined;
  }
  // Node raises the soft limit to the hard one before anything of ours runs.
  const soft = /^Max open files\s+(\d+|unlimited)\s/m.exec(text)?.[1];
  if (soft === undefined) return undefined;
  return soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft);
}

function readLimits(): string {
  return readFileSync('/proc/self/limits', 'latin1');
}
