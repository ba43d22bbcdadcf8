import { describe, expect, it } from 'vitest';
import { RequestCount } from '../../src/worker/request-count.ts';
import { ThreadStatus } from '../../src/worker/status.ts';

function counts(threads: number): {
  status: ThreadStatus;
  of: readonly RequestCount[];
  admit: (thread: number) => boolean;
} {
  const status = new ThreadStatus(threads);
  const of = Array.from({ length: threads }, (_, thread) => new RequestCount(status, thread, 10));
  return {
    status,
    of,
    /** As an exchange does it: counted first, and given back where there are too many. */
    admit: (thread) => {
      const count = of[thread]!;
      count.own++;
      if (count.own <= count.limit) return true;
      count.own--;
      count.refuse();
      return false;
    },
  };
}

describe('the requests of all threads', () => {
  it.each([1, 2, 8])('are never more than the limit, however they come: %i threads', (threads) => {
    const { of, admit, status } = counts(threads);
    let admitted = 0;
    for (let request = 0; request < 100; request++) if (admit((request * 7) % threads)) admitted++;
    expect(admitted).toBe(10);
    expect(status.sum('refusedRequests')).toBe(90);
    of.find(({ own }) => own > 0)!.own--;
    expect(admit(threads - 1)).toBe(true);
    expect(admit(0)).toBe(false);
  });

  it('are looked at only near the limit where there are many threads, and are none too many then', () => {
    const { of, admit } = counts(16);
    for (let thread = 0; thread < 6; thread++) expect(admit(thread)).toBe(true);
    for (const count of of) count.sample();
    let admitted = 6;
    for (let request = 0; request < 100; request++) if (admit(request % 16)) admitted++;
    expect(admitted).toBe(10);
  });

  it('are forgotten of a thread that has ended, but not what it refused', () => {
    const { admit, status } = counts(2);
    for (let request = 0; request < 11; request++) admit(0);
    status.clear(0);
    expect(admit(1)).toBe(true);
    expect(status.sum('refusedRequests')).toBe(1);
  });
});
