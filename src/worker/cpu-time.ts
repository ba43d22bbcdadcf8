import { readFileSync, readlinkSync } from 'node:fs';

/** The kernel's number of the calling thread; 0 where it does not say. */
export function ownThreadId(): number {
  try {
    return Number(readlinkSync('/proc/thread-self').split('/').at(-1)) || 0;
  } catch {
    // Not Linux.
    return 0;
  }
}

/** The kernel counts in these, whatever its own clock does (USER_HZ). */
const TICK_MS = 10;

/** CPU time of a thread of this process, in milliseconds; undefined where it cannot be known. proc_pid_stat(5). */
export function cpuMsOf(threadId: number): number | undefined {
  if (threadId === 0) return undefined;
  try {
    const text = readFileSync(`/proc/self/task/${threadId}/stat`, 'latin1');
    // The name in parentheses may hold anything.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
  } catch {
    // It has just ended.
    return undefined;
  }
}
