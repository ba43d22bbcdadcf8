import { readFileSync } from 'node:fs';
import { isOnPath } from './commands.ts';

/** Which core each role runs on; a missing role is not pinned. */
export interface CorePlan {
  readonly proxy?: number;
  readonly origin?: number;
  readonly load?: number;
  /** The origin and the load share a core, so the load gives way to the origin. */
  readonly shared: boolean;
  /** The run goes before all other work of the machine. */
  readonly raised: boolean;
  /** For the result file. */
  readonly description: string;
}

export type Role = 'proxy' | 'origin' | 'load';

/** Parses the kernel's list form, such as `0-2,5`. */
export function parseCoreList(list: string): number[] {
  const cores: number[] = [];
  for (const part of list.trim().split(',')) {
    const [first, last = first] = part.split('-').map(Number);
    if (first === undefined || last === undefined || Number.isNaN(first) || Number.isNaN(last)) continue;
    for (let core = first; core <= last; core += 1) cores.push(core);
  }
  return cores;
}

function allowedCores(): number[] {
  const match = /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync('/proc/self/status', 'utf8'));
  return parseCoreList(match?.[1] ?? '');
}

/**
 * The proxy under test has a core of its own, so that what it costs is not blurred by its neighbours. Origin and load
 * share the second one where there are only two.
 */
export function planCores(raised: boolean, threads = 1): CorePlan {
  const priority = raised ? '; above all other work of the machine' : '';
  if (threads > 1) return { shared: true, raised, description: `not pinned: ${threads} threads${priority}` };
  const [proxy, second, third] = allowedCores();
  if (proxy === undefined || second === undefined || !isOnPath('taskset')) {
    return { shared: true, raised, description: `not pinned: fewer than two cores, or no taskset${priority}` };
  }
  if (third === undefined) {
    const description = `proxy on core ${proxy}; origin and load on core ${second}${priority}`;
    return { proxy, origin: second, load: second, shared: true, raised, description };
  }
  const description = `proxy on core ${proxy}; origin on core ${second}; load on core ${third}${priority}`;
  return { proxy, origin: second, load: third, shared: false, raised, description };
}
