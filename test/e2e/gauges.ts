import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { expect } from 'vitest';
import { eventually, type GatewayProcess } from './world.ts';

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

/** Waits until no client is connected and no connection to an instance is kept; then nothing may be in flight. */
export async function atRest(gateway: GatewayProcess, service: string): Promise<void> {
  await eventually('no client is connected', async () => (await clientConnections(gateway)) === 0);
  await eventually('no connection to an instance is left', async () => {
    return (await metric(gateway, 'fairlead_connections{side="upstream"')) === 0;
  });
  const { instances } = await gateway.explain(service);
  expect(instances.map(({ inflight }) => inflight)).toEqual(instances.map(() => 0));
}

/** TCP connections of a process that the other side has closed and it has not: CLOSE_WAIT, 08 in the kernel's table. */
export function closeWaiting(pid: number): number {
  const own = new Set<string>();
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    try {
      const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1];
      if (inode !== undefined) own.add(inode);
    } catch (error) {
      // Closed since it was listed.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
  let count = 0;
  for (const table of ['tcp', 'tcp6'])
    for (const line of readFileSync(`/proc/${pid}/net/${table}`, 'latin1').split('\n').slice(1)) {
      const fields = line.trim().split(/\s+/);
      if (fields[3] === '08' && own.has(fields[9] ?? '')) count++;
    }
  return count;
}
