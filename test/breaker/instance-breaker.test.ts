import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Permit } from '../../src/breaker/breaker.ts';
import type { BreakerOptions } from '../../src/breaker/instance-breaker.ts';
import { BreakerColumns } from '../../src/breaker/columns.ts';
import { BreakerGate } from '../../src/breaker/gate.ts';
import { createBreaker } from '../../src/breaker/instance-breaker.ts';
import { ManualClock } from '../../src/core/clock.ts';
import type { Outcome } from '../../src/core/outcome.ts';
import { OUTCOMES } from '../../src/core/outcome.ts';
import type { BreakerPolicy } from '../../src/core/policy.ts';

const POLICY: BreakerPolicy = {
  enabled: true,
  consecutiveFailures: 5,
  failureRate: 0.5,
  minimumAttempts: 20,
  windowMs: 10_000,
  openMs: 5_000,
  maxOpenMs: 60_000,
  failureStatuses: new Set([502, 503, 504]),
};

function setup(options: Partial<BreakerOptions> = {}) {
  const clock = new ManualClock();
  const columns = new BreakerColumns(4);
  const log: string[] = [];
  const decider = createBreaker({
    policy: POLICY,
    clock,
    columns,
    slot: 2,
    trialLimitMs: 30_000,
    mayOpen: () => true,
    onTransition: (from, to, cause) => log.push(`${from} > ${to}: ${cause}`),
    onTrialReturned: (cause) => log.push(`returned: ${cause}`),
    ...options,
  });
  const gate = new BreakerGate(columns, clock, 1, {
    failed: (_, circuit, outcome) => {
      decider.failed(circuit, outcome);
    },
    trialTaken: (_, circuit) => {
      decider.trialTaken(circuit);
    },
    trialEnded: (_, circuit, outcome) => {
      decider.trialEnded(circuit, outcome);
    },
  });
  const breaker = {
    get state() {
      return decider.state;
    },
    get openUntilMs() {
      return decider.openUntilMs;
    },
    get counts() {
      return decider.counts;
    },
    get trialReady() {
      return columns.trialReady(2);
    },
    admit: () => gate.admit(2, POLICY),
    trip: (cause: string, unreachable?: boolean) => decider.trip(cause, unreachable),
    reached: (beganMs: number) => decider.reached('a probe passed', beganMs),
    due: () => {
      decider.due('its probes pass again');
    },
    lose: () => {
      decider.trialLost();
    },
    close: () => {
      decider.close();
    },
  };
  const admit = (): Permit => {
    const permit = breaker.admit();
    if (!permit) throw new Error(`not admitted while ${breaker.state}`);
    return permit;
  };
  const attempt = (...outcomes: Outcome[]): void => {
    for (const outcome of outcomes) admit().settle(outcome);
  };
  const fail = (times: number): void => attempt(...new Array<Outcome>(times).fill('timeout'));
  const open = (): void => {
    fail(5);
    expect(breaker.state).toBe('open');
  };
  const halfOpen = (): void => {
    open();
    clock.advance(5_000);
    expect(breaker.state).toBe('half-open');
  };
  return { clock, columns, log, breaker, admit, attempt, fail, open, halfOpen };
}

describe('a closed breaker', () => {
  it('opens at the fifth failure in a row, before `settle` returns', () => {
    const { breaker, attempt, fail, log, columns } = setup();
    fail(4);
    attempt('success');
    fail(4);
    expect(breaker.state).toBe('closed');
    expect(breaker.counts).toEqual({ successes: 1, failures: 8, consecutiveFailures: 4 });
    attempt('connect-failed');
    expect(breaker.state).toBe('open');
    expect(columns.states[2]).toBe(1);
    expect(breaker.admit()).toBeUndefined();
    expect(log).toEqual(['closed > open: 5 failures in a row, the last: connect-failed']);
  });

  it.each(OUTCOMES)('takes %s for what it is', (outcome) => {
    const { breaker, attempt } = setup();
    attempt(outcome);
    const failed = outcome !== 'success' && outcome !== 'cancelled';
    expect(breaker.counts).toEqual({
      successes: outcome === 'success' ? 1 : 0,
      failures: failed ? 1 : 0,
      consecutiveFailures: failed ? 1 : 0,
    });
  });

  it('opens when half of twenty attempts have failed, and not of nineteen', () => {
    const { breaker, attempt, log } = setup();
    for (let pair = 0; pair < 9; pair++) attempt('success', 'bad-status');
    attempt('bad-status');
    expect(breaker.state).toBe('closed');
    attempt('bad-status');
    expect(breaker.state).toBe('open');
    expect(log).toEqual(['closed > open: 11 of 20 attempts failed within 10s, the last: bad-status']);
  });

  it('opens at exactly the failure rate', () => {
    const { breaker, attempt } = setup();
    for (let pair = 0; pair < 10; pair++) attempt('success', 'bad-status');
    expect(breaker.state).toBe('open');
  });

  it('stays closed below the failure rate, however many attempts', () => {
    const { breaker, attempt } = setup();
    for (let round = 0; round < 200; round++) attempt('success', 'success', 'bad-status', 'success', 'bad-status');
    expect(breaker.state).toBe('closed');
  });

  it('lets failures of long ago count for nothing', () => {
    const { breaker, attempt, clock } = setup();
    for (let pair = 0; pair < 9; pair++) attempt('success', 'bad-status');
    clock.advance(10_000);
    for (let pair = 0; pair < 9; pair++) attempt('success', 'bad-status');
    expect(breaker.state).toBe('closed');
  });

  it('counts cancelled attempts in neither direction', () => {
    const { breaker, attempt } = setup();
    for (let round = 0; round < 4; round++) attempt('timeout', 'cancelled', 'cancelled');
    expect(breaker.counts).toEqual({ successes: 0, failures: 4, consecutiveFailures: 4 });
    for (let round = 0; round < 100; round++) attempt('cancelled');
    expect(breaker.state).toBe('closed');
    attempt('timeout');
    expect(breaker.state).toBe('open');
  });

  it('does not let cancelled attempts dilute the failures', () => {
    const { breaker, attempt } = setup();
    for (let pair = 0; pair < 10; pair++) attempt('success', 'cancelled', 'cancelled', 'cancelled', 'reset');
    expect(breaker.state).toBe('open');
  });

  it('stays closed while the cap forbids opening, and opens at the next failure once it may', () => {
    let may = false;
    const { breaker, fail, log } = setup({ mayOpen: () => may });
    fail(9);
    expect(breaker.state).toBe('closed');
    expect(log).toEqual([]);
    may = true;
    fail(1);
    expect(breaker.state).toBe('open');
  });

  it('follows a policy that changes under it', () => {
    const policy: { -readonly [Key in keyof BreakerPolicy]: BreakerPolicy[Key] } = { ...POLICY };
    const { breaker, fail } = setup({ policy });
    fail(2);
    policy.consecutiveFailures = 3;
    fail(1);
    expect(breaker.state).toBe('open');
  });

  it('takes the second settlement of a permit for none', () => {
    const { breaker, admit } = setup();
    const permit = admit();
    for (let time = 0; time < 9; time++) permit.settle('timeout');
    expect(breaker.counts.failures).toBe(1);
  });

  it('hands out a permit that can be awaited without harm', async () => {
    const { breaker, admit } = setup();
    const permit = await Promise.resolve(admit());
    permit.settle('timeout');
    expect(breaker.counts.failures).toBe(1);
  });
});

describe('an open breaker', () => {
  it('half-opens after its open time, not before', () => {
    const { breaker, open, clock, log, columns } = setup();
    open();
    expect(breaker.openUntilMs).toBe(5_000);
    clock.advance(4_999);
    expect(breaker.state).toBe('open');
    clock.advance(1);
    expect(breaker.state).toBe('half-open');
    expect(breaker.openUntilMs).toBeUndefined();
    expect(columns.states[2]).toBe(2);
    expect(log.at(-1)).toBe('open > half-open: was open for 5s');
  });

  it.each(OUTCOMES)('ignores a straggler that ends with %s', (outcome) => {
    const { breaker, admit, open } = setup();
    const straggler = admit();
    open();
    const counts = breaker.counts;
    straggler.settle(outcome);
    expect(breaker.state).toBe('open');
    expect(breaker.counts).toEqual(counts);
  });
});

describe('a half-open breaker', () => {
  it('admits exactly one trial', () => {
    const { breaker, admit, halfOpen } = setup();
    halfOpen();
    expect(breaker.trialReady).toBe(true);
    expect(admit().trial).toBe(true);
    expect(breaker.trialReady).toBe(false);
    expect(breaker.admit()).toBeUndefined();
  });

  it('closes when the trial succeeds, with a clean record', () => {
    const { breaker, attempt, fail, halfOpen, columns, log } = setup();
    halfOpen();
    attempt('success');
    expect(breaker.state).toBe('closed');
    expect(columns.states[2]).toBe(0);
    expect(log.at(-1)).toBe('half-open > closed: the trial succeeded');
    fail(4);
    expect(breaker.state).toBe('closed');
    expect(breaker.counts).toEqual({ successes: 1, failures: 4, consecutiveFailures: 4 });
  });

  it('opens again when the trial fails, for twice as long each time, up to the most', () => {
    const { breaker, attempt, open, clock } = setup();
    open();
    for (const openMs of [5_000, 10_000, 20_000, 40_000, 60_000, 60_000]) {
      expect(breaker.openUntilMs! - clock.now()).toBe(openMs);
      clock.advance(openMs - 1);
      expect(breaker.state).toBe('open');
      clock.advance(1);
      attempt('connect-failed');
      expect(breaker.state).toBe('open');
    }
  });

  it('does not ask the cap before it opens again', () => {
    let may = true;
    const { breaker, attempt, halfOpen } = setup({ mayOpen: () => may });
    halfOpen();
    may = false;
    attempt('timeout');
    expect(breaker.state).toBe('open');
  });

  it('starts over at the shortest time once it has stayed closed for as long as it was open', () => {
    const { breaker, attempt, open, clock } = setup();
    open();
    clock.advance(5_000);
    attempt('timeout');
    clock.advance(10_000);
    attempt('success');
    clock.advance(9_999);
    open();
    expect(breaker.openUntilMs! - clock.now()).toBe(10_000);
    clock.advance(10_000);
    attempt('success');
    clock.advance(10_000);
    open();
    expect(breaker.openUntilMs! - clock.now()).toBe(5_000);
  });

  it.each(OUTCOMES)('ignores a straggler that ends with %s, before and during the trial', (outcome) => {
    const { breaker, admit, halfOpen } = setup();
    const stragglers = [admit(), admit()];
    halfOpen();
    stragglers[0]!.settle(outcome);
    expect(breaker.state).toBe('half-open');
    const trial = admit();
    stragglers[1]!.settle(outcome);
    expect(breaker.state).toBe('half-open');
    trial.settle('success');
    expect(breaker.state).toBe('closed');
  });

  it('ignores a straggler even after it has closed again', () => {
    const { breaker, admit, attempt, halfOpen } = setup();
    const straggler = admit();
    halfOpen();
    attempt('success');
    straggler.settle('timeout');
    expect(breaker.counts).toEqual({ successes: 1, failures: 0, consecutiveFailures: 0 });
  });

  it('gives a cancelled trial to the next attempt', () => {
    const { breaker, attempt, admit, halfOpen, log, clock } = setup();
    halfOpen();
    attempt('cancelled', 'cancelled');
    expect(breaker.state).toBe('half-open');
    expect(breaker.trialReady).toBe(true);
    expect(clock.pending).toBe(0);
    expect(log.slice(-2)).toEqual(['returned: the trial was cancelled', 'returned: the trial was cancelled']);
    expect(admit().trial).toBe(true);
    expect(breaker.admit()).toBeUndefined();
  });

  it('gives up a trial that never ends, and does not listen to it later', () => {
    const { breaker, admit, halfOpen, clock, log } = setup();
    halfOpen();
    const lost = admit();
    clock.advance(29_999);
    expect(breaker.trialReady).toBe(false);
    clock.advance(1);
    expect(breaker.trialReady).toBe(true);
    expect(log.at(-1)).toBe('returned: the trial did not end within 30s');
    const next = admit();
    lost.settle('cancelled');
    expect(breaker.trialReady).toBe(false);
    next.settle('success');
    expect(breaker.state).toBe('closed');
  });

  it('gives the trial of a thread that died to the next attempt', () => {
    const { breaker, admit, halfOpen, log } = setup();
    halfOpen();
    const lost = admit();
    breaker.lose();
    expect(breaker.trialReady).toBe(true);
    expect(log.at(-1)).toBe('returned: the thread that made the trial is gone');
    lost.settle('success');
    expect(breaker.state).toBe('half-open');
    admit().settle('success');
    expect(breaker.state).toBe('closed');
  });

  it.each(OUTCOMES)('does not listen to a trial that was given up when it ends with %s', (outcome) => {
    const { breaker, admit, halfOpen, clock } = setup();
    halfOpen();
    const lost = admit();
    clock.advance(30_000);
    lost.settle(outcome);
    expect(breaker.state).toBe('half-open');
    expect(breaker.trialReady).toBe(true);
    expect(clock.pending).toBe(0);
  });
});

describe('a breaker that somebody else trips', () => {
  it('opens without a failure of its own, for the usual time, and recovers by a trial', () => {
    const { breaker, clock, attempt, log } = setup();
    expect(breaker.trip('it hangs')).toBe(true);
    expect(breaker.openUntilMs).toBe(5_000);
    clock.advance(5_000);
    attempt('success');
    expect(breaker.state).toBe('closed');
    expect(log[0]).toBe('closed > open: it hangs');
  });

  it('stays closed where the cap forbids it, and does not open later for the same cause', () => {
    let may = false;
    const { breaker, attempt } = setup({ mayOpen: () => may });
    expect(breaker.trip('it hangs')).toBe(false);
    may = true;
    attempt('timeout');
    expect(breaker.state).toBe('closed');
  });

  it('says that it is out already, and does not begin its open time anew', () => {
    const { breaker, open, clock } = setup();
    open();
    clock.advance(1_000);
    expect(breaker.trip('it hangs')).toBe(true);
    expect(breaker.openUntilMs).toBe(5_000);
    const second = setup();
    second.halfOpen();
    expect(second.breaker.trip('it hangs')).toBe(true);
    expect(second.breaker.state).toBe('half-open');
  });

  it('does nothing once it is closed for good', () => {
    const { breaker } = setup();
    breaker.close();
    expect(breaker.trip('it hangs')).toBe(false);
  });
});

describe('the breaker and its surroundings', () => {
  it('leaves no timer behind, whatever state it is closed in', () => {
    const prepare: ((part: ReturnType<typeof setup>) => void)[] = [
      () => undefined,
      (part) => part.open(),
      (part) => part.halfOpen(),
      (part) => {
        part.halfOpen();
        part.admit();
      },
    ];
    for (const act of prepare) {
      const part = setup();
      const permit = part.admit();
      act(part);
      part.breaker.close();
      expect(part.clock.pending).toBe(0);
      permit.settle('success');
    }
  });

  describe('under Node', () => {
    const rejections: unknown[] = [];
    const note = (reason: unknown): void => void rejections.push(reason);
    beforeEach(() => process.on('unhandledRejection', note));
    afterEach(() => process.off('unhandledRejection', note));

    it('never causes an unhandled rejection', async () => {
      const { attempt, halfOpen, breaker } = setup();
      halfOpen();
      attempt('timeout');
      breaker.close();
      breaker.admit();
      await new Promise((resolve) => setImmediate(resolve));
      expect(rejections).toEqual([]);
    });
  });

  it('keeps its promises under any sequence of events', () => {
    const event = fc.oneof(
      { weight: 4, arbitrary: fc.constant('admit' as const) },
      { weight: 6, arbitrary: fc.record({ settle: fc.nat(), outcome: fc.constantFrom(...OUTCOMES) }) },
      { weight: 2, arbitrary: fc.record({ waitMs: fc.nat(3_000) }) },
    );
    fc.assert(
      fc.property(fc.array(event, { maxLength: 200, size: 'max' }), (events) => {
        const trialLimitMs = 5_000;
        const policy = { ...POLICY, consecutiveFailures: 2, openMs: 1_000, maxOpenMs: 4_000 };
        const { breaker, clock, columns, log } = setup({ policy, trialLimitMs });
        const out: Permit[] = [];
        const trials: { permit: Permit; begunMs: number }[] = [];
        for (const each of events) {
          const before = breaker.state;
          if (each === 'admit') {
            const permit = breaker.admit();
            expect(permit === undefined && before === 'closed').toBe(false);
            expect(permit !== undefined && before === 'open').toBe(false);
            expect(permit?.trial ?? false).toBe(permit !== undefined && before === 'half-open');
            if (permit) out.push(permit);
            if (permit?.trial) trials.push({ permit, begunMs: clock.now() });
          } else if ('waitMs' in each) {
            clock.advance(each.waitMs);
          } else if (out.length > 0) {
            const permit = out.splice(each.settle % out.length, 1)[0]!;
            permit.settle(each.outcome);
            const at = trials.findIndex((trial) => trial.permit === permit);
            if (at >= 0) trials.splice(at, 1);
            // Only a failure opens, only a trial closes.
            if (before === 'closed' && breaker.state !== 'closed')
              expect(['success', 'cancelled']).not.toContain(each.outcome);
            if (before !== 'closed' && breaker.state === 'closed')
              expect(permit.trial && each.outcome === 'success').toBe(true);
          }
          const young = trials.filter(({ begunMs }) => clock.now() - begunMs < trialLimitMs);
          if (breaker.state === 'half-open') expect(young.length).toBe(breaker.trialReady ? 0 : 1);
          expect(columns.states[2]).toBe({ closed: 0, open: 1, 'half-open': 2 }[breaker.state]);
          expect((breaker.openUntilMs ?? -1) > clock.now()).toBe(breaker.state === 'open');
          expect(clock.pending).toBeLessThanOrEqual(1);
        }
        for (const [at, entry] of log.filter((line) => line.includes('>')).entries()) {
          expect(entry).toMatch(
            at === 0 ? /^closed > open/ : /^(closed > open|open > half-open|half-open > (open|closed))/,
          );
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('a breaker that was tripped because nobody listened', () => {
  it('is tried as soon as somebody who set out since has reached the instance', () => {
    const { breaker, clock, log, attempt } = setup();
    breaker.trip('refused', true);
    clock.advance(100);
    expect(breaker.reached(clock.now())).toBe(true);
    expect(breaker.state).toBe('half-open');
    expect(breaker.trialReady).toBe(true);
    expect(breaker.openUntilMs).toBeUndefined();
    attempt('success');
    expect(breaker.state).toBe('closed');
    clock.advance(10_000);
    expect(log).toEqual([
      'closed > open: refused',
      'open > half-open: a probe passed',
      'half-open > closed: the trial succeeded',
    ]);
  });

  it('is not tried for what was found out before', () => {
    const { breaker, clock } = setup();
    clock.advance(100);
    breaker.trip('refused', true);
    clock.advance(100);
    expect(breaker.reached(50)).toBe(false);
    expect(breaker.state).toBe('open');
  });

  it('stays so while trials fail to connect, and no longer once one failed otherwise', () => {
    const { breaker, clock, attempt } = setup();
    breaker.trip('refused', true);
    clock.advance(5000);
    attempt('connect-failed');
    clock.advance(1);
    expect(breaker.reached(clock.now())).toBe(true);
    attempt('timeout');
    clock.advance(1);
    expect(breaker.reached(clock.now())).toBe(false);
    expect(breaker.state).toBe('open');
  });

  it.each(['hanging', 'failing'] as const)('is another one than one that opened for %s', (why) => {
    const { breaker, clock, open } = setup();
    breaker.trip('refused', true);
    breaker.reached(clock.now());
    breaker.admit()?.settle('success');
    if (why === 'hanging') breaker.trip('hangs');
    else open();
    clock.advance(1);
    expect(breaker.reached(clock.now())).toBe(false);
  });
});

describe('a breaker whose instance is well again, as far as others can tell', () => {
  it('is tried at once, whatever has opened it, and opens for longer where that fails', () => {
    const { breaker, clock, log, attempt } = setup();
    breaker.trip('hangs');
    clock.advance(100);
    breaker.due();
    expect(breaker.state).toBe('half-open');
    breaker.due();
    attempt('timeout');
    expect(breaker.openUntilMs).toBe(clock.now() + 10_000);
    breaker.due();
    attempt('success');
    breaker.due();
    expect(breaker.state).toBe('closed');
    expect(log.filter((line) => line.includes('its probes pass again'))).toHaveLength(2);
  });
});
