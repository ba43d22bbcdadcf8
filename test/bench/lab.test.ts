import { describe, expect, it } from 'vitest';
import { parseCoreList } from '../../bench/lab/cores.ts';
import { cpuSeconds, processTree, residentBytes, threadSeconds } from '../../bench/lab/proc.ts';
import { runQueueOf } from '../../bench/lab/run-queue.ts';

describe('what the kernel says', () => {
  it.each([
    ['0', [0]],
    ['0-3', [0, 1, 2, 3]],
    ['0-1,4,6-7\n', [0, 1, 4, 6, 7]],
  ])('the cores %j are read as %j', (list, cores) => {
    expect(parseCoreList(list)).toEqual(cores);
  });
});

describe.runIf(process.platform === 'linux')('what a process has used', () => {
  it('is its CPU time, by thread the same as in all', () => {
    const endMs = performance.now() + 50;
    while (performance.now() < endMs) performance.now();
    const before = cpuSeconds([process.pid]);
    const { control, data, runtime } = threadSeconds(process.pid);
    const after = cpuSeconds([process.pid]);
    expect(control).toBeGreaterThan(0);
    // Threads that have ended are in the first figure only; each of the others is rounded to a hundredth.
    expect(control + data + runtime).toBeLessThanOrEqual(after + 0.5);
    expect(after).toBeGreaterThanOrEqual(before);
  });

  it('is its memory, and its place among the processes', () => {
    expect(residentBytes([process.pid])).toBeGreaterThan(10e6);
    expect(processTree(process.ppid)).toContain(process.pid);
  });

  it('is how long its threads ran, and how long they waited for a core', () => {
    const before = runQueueOf([process.pid]);
    const endMs = performance.now() + 50;
    while (performance.now() < endMs) performance.now();
    const after = runQueueOf([process.pid]);
    const passedMs = after.runMs - before.runMs + (after.waitMs - before.waitMs);
    expect(passedMs).toBeGreaterThan(40);
    expect(after.turns).toBeGreaterThanOrEqual(before.turns);
  });

  it('cannot be told of one that is no more', () => {
    expect(() => cpuSeconds([2 ** 22 + 1])).toThrow('ended while it was measured');
  });
});
