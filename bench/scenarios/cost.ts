import { cpuSeconds } from '../lab/proc.ts';
import type { RunningPeer } from '../lab/lab.ts';
import type { Figures } from './scenario.ts';

/** A reply may be missing or broken this often before a turn says nothing about cost. */
const BROKEN_SHARE = 0.001;

interface Outcome {
  readonly replies: number;
  readonly badStatus: number;
  readonly lost: number;
}

/**
 * CPU time that the peer's processes spent during `load`, for each reply: `cpu` in µs, and `busy` as a share of one core
 * in per cent. Rejects where the peer did not really do the work.
 */
export async function withCost<T extends Outcome>(
  peer: RunningPeer,
  load: () => Promise<T>,
): Promise<{ outcome: T; figures: Figures }> {
  const before = peer.processes();
  const cpuBefore = cpuSeconds(before);
  const startMs = performance.now();
  const outcome = await load();
  const seconds = (performance.now() - startMs) / 1000;
  const after = peer.processes();
  if (after.join() !== before.join()) throw new Error(`${peer.name} started or ended a process while it was measured`);
  const cpu = cpuSeconds(after) - cpuBefore;
  refuseBroken(peer.name, outcome);
  if (before.length === 0) return { outcome, figures: {} };
  return { outcome, figures: { cpu: (cpu * 1e6) / outcome.replies, busy: (cpu / seconds) * 100 } };
}

function refuseBroken(name: string, { replies, badStatus, lost }: Outcome): void {
  if (replies === 0) throw new Error(`${name} answered nothing`);
  if (badStatus > 0) throw new Error(`${name}: ${badStatus} of ${replies} replies had another status than 200`);
  if (lost > replies * BROKEN_SHARE) throw new Error(`${name}: ${lost} connections broke over ${replies} replies`);
}
