import { readdirSync, readFileSync } from 'node:fs';

/** Sum of the series of `/metrics` whose name and labels begin so; 0 where there is none. */
export async function metric(gateway: { readonly admin: string }, series: string): Promise<number> {
  const text = await (await fetch(`${gateway.admin}/metrics`)).text();
  let sum = 0;
  for (const line of text.split('\n'))
    if (line.startsWith(series)) sum += Number(line.slice(line.lastIndexOf(' ') + 1));
  return sum;
}

export const clientConnections = (gateway: { readonly admin: string }): Promise<number> =>
  metric(gateway, 'fairlead_connections{side="downstream"');

export function openFiles(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** The soft limit of open files of a process, as the kernel tells it. */
export function openFilesLimit(pid: number | 'self'): number {
  return Number(/^Max open files\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/limits`, 'utf8'))?.[1] ?? 1024);
}

/** Seconds of CPU, user and system, that a process has used. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  // USER_HZ is 100 wherever Linux runs.
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

export function residentBytes(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]) * 4096;
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
