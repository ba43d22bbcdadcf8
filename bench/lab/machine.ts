import { cpus, loadavg, release, totalmem } from 'node:os';
import { textOf } from './commands.ts';

/** What a reader must know about where a figure comes from. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  /** One-minute load average before the first scenario: what else the machine had to do. */
  readonly loadBefore: number;
}

export function describeMachine(): Machine {
  const all = cpus();
  return {
    cpu: all[0]?.model.trim() ?? 'unknown',
    cores: all.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    loadBefore: loadavg()[0] ?? 0,
  };
}

export interface Checkout {
  readonly commit: string;
  /** Sources differ from the commit. */
  readonly dirty: boolean;
}

export function describeCheckout(): Checkout {
  return {
    commit: textOf('git', 'rev-parse', '--short=12', 'HEAD'),
    dirty:
      textOf('git', 'status', '--porcelain', '--', 'src', 'bin', 'bench', 'package-lock.json', ':!bench/results') !==
      '',
  };
}
