import { readdirSync, readFileSync } from 'node:fs';
import { textOf } from './commands.ts';

const TICKS_PER_SECOND = Number(textOf('getconf', 'CLK_TCK')) || 100;
const PAGE_BYTES = Number(textOf('getconf', 'PAGESIZE')) || 4096;

/** The fields of /proc/PID/stat after the command name, which may itself hold spaces and parentheses (proc(5)). */
function statFields(pid: number): string[] | undefined {
  const text = readProc(`/proc/${pid}/stat`);
  return text?.slice(text.lastIndexOf(')') + 2).split(' ');
}

function readProc(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
}

/** The process and all its descendants, parents before children. */
export function processTree(root: number): number[] {
  const childrenOf = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const parent = Number(statFields(pid)?.[1]);
    const siblings = childrenOf.get(parent);
    if (siblings) siblings.push(pid);
    else childrenOf.set(parent, [pid]);
  }
  const tree = [root];
  for (const pid of tree) tree.push(...(childrenOf.get(pid) ?? []));
  return tree;
}

/** User and system time of the processes with all their threads, ended ones too. */
export function cpuSeconds(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    const fields = statFields(pid);
    if (!fields) throw new Error(`process ${pid} ended while it was measured`);
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / TICKS_PER_SECOND;
}

/** User and system time of a gateway's threads since they began, in seconds, by what they do. */
export interface ThreadSeconds {
  readonly control: number;
  readonly data: number;
  /** Of the runtime: collector and compiler threads, file system calls. */
  readonly runtime: number;
}

/** Of one Node process, whose first thread is the control thread and whose data-plane threads are named so. */
export function threadSeconds(pid: number): ThreadSeconds {
  const sums = { control: 0, data: 0, runtime: 0 };
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const text = readProc(`/proc/${pid}/task/${thread}/stat`);
    // One that has ended meanwhile was not one of those that matter.
    if (text === undefined) continue;
    const name = text.slice(text.indexOf('(') + 1, text.lastIndexOf(')'));
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const role = Number(thread) === pid ? 'control' : name.startsWith('data ') ? 'data' : 'runtime';
    sums[role] += (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  }
  return sums;
}

/** Resident memory of the processes, shared pages counted once for each. */
export function residentBytes(pids: readonly number[]): number {
  let pages = 0;
  for (const pid of pids) pages += Number(readProc(`/proc/${pid}/statm`)?.split(' ')[1] ?? 0);
  return pages * PAGE_BYTES;
}
