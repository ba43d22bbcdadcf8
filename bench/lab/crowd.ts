import { join } from 'node:path';
import { untilReady, type Child } from './children.ts';
import type { Lab } from './lab.ts';
import type { TargetOptions } from './probe-targets.ts';

const READY_TIMEOUT_MS = 10_000;
const PROGRAM = join(import.meta.dirname, 'probe-targets.ts');

export interface Targets {
  /** In the order of the hosts. */
  readonly ports: readonly number[];
  readonly child: Child;
}

/** Starts a process of instances that answer, or of black holes; it is ended with the run. */
export async function startTargets(lab: Lab, options: TargetOptions): Promise<Targets> {
  const launch = { name: 'targets', command: process.execPath, args: [PROGRAM, JSON.stringify(options)] };
  const child = lab.start({ ...launch, role: 'origin' });
  await untilReady(child, () => Promise.resolve(/^\{"ports":/m.test(child.output())), READY_TIMEOUT_MS);
  const { ports } = JSON.parse(/^\{"ports":.*$/m.exec(child.output())?.[0] ?? '') as { ports: number[] };
  return { ports, child };
}
