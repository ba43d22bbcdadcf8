import { describe, expect, it } from 'vitest';
import { RetryBudget } from '../../src/proxy/retry.ts';

/** Every request fails and asks for a retry, over and over; returns the retries of each second. */
function outage(budget: RetryBudget, { perSecond, seconds }: { perSecond: number; seconds: number }): number[] {
  const retries: number[] = [];
  for (let second = 0; second < seconds; second++) {
    let granted = 0;
    for (let i = 0; i < perSecond; i++) {
      budget.deposit();
      const nowMs = second * 1000 + (i * 1000) / perSecond;
      for (let attempt = 0; attempt < 2; attempt++) if (budget.withdraw(nowMs)) granted++;
    }
    retries.push(granted);
  }
  return retries;
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

describe('the retry budget', () => {
  it('grants a busy service its share of requests, and no minimum on top', () => {
    const retries = outage(new RetryBudget(0.2, 3, 0), { perSecond: 300, seconds: 60 });
    // What was saved up at the start is 10 s of the minimum.
    expect(sum(retries)).toBeLessThanOrEqual(30 + 0.2 * 300 * 60);
    expect(sum(retries)).toBeGreaterThan(0.199 * 300 * 60);
  });

  it('grants a quiet service its minimum', () => {
    const retries = outage(new RetryBudget(0.2, 3, 0), { perSecond: 5, seconds: 60 });
    expect(sum(retries.slice(20))).toBeGreaterThanOrEqual(3 * 39);
    expect(sum(retries.slice(20))).toBeLessThanOrEqual(3 * 41);
  });

  it('saves up ten seconds of the minimum and the share of a thousand requests, no more', () => {
    const budget = new RetryBudget(0.2, 3, 0);
    for (let i = 0; i < 100_000; i++) budget.deposit();
    let granted = 0;
    while (budget.withdraw(0)) granted++;
    expect(granted).toBe(230);
  });

  it('grants nothing where share and minimum are 0 but the one it starts with', () => {
    expect(sum(outage(new RetryBudget(0, 0, 0), { perSecond: 100, seconds: 20 }))).toBe(1);
  });
});
