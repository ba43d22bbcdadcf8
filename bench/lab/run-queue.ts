import { readdirSync, readFileSync } from 'node:fs';

/** What the kernel says of threads since they began (schedstat of proc(5)): how much of a delay is the scheduler's. */
export interface RunQueue {
  /** They ran. */
  readonly runMs: number;
  /** They could have run, and waited for a core. */
  readonly waitMs: number;
  /** How often they were given one. */
  readonly turns: number;
}

/** Of all threads that there are now; one that has ended meanwhile is left out. */
export function runQueueOf(pids: readonly number[]): RunQueue {
  const sum = { runMs: 0, waitMs: 0, turns: 0 };
  for (const pid of pids) {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const [run = 0, wait = 0, turns = 0] = fieldsOf(`/proc/${pid}/task/${thread}/schedstat`);
      sum.runMs += run / 1e6;
      sum.waitMs += wait / 1e6;
      sum.turns += turns;
    }
  }
  return sum;
}

function fieldsOf(path: string): number[] {
  try {
    return readFileSync(path, 'utf8').split(' ').map(Number);
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
    throw error;
  }
}
