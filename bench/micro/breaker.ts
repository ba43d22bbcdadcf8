/**
 * Cost of one attempt through a breaker on the closed path: `node --expose-gc bench/micro/breaker.ts`.
 * Goal: ≤ 0.8 µs and ≤ 400 B of garbage per `admit` + `settle`.
 */
import { BreakerColumns } from '../../src/breaker/columns.ts';
import { BreakerGate } from '../../src/breaker/gate.ts';
import { createBreaker } from '../../src/breaker/instance-breaker.ts';
import { systemClock } from '../../src/core/clock.ts';
import type { BreakerPolicy } from '../../src/core/policy.ts';
import { measure, retainedBytes } from './measure.ts';

const policy: BreakerPolicy = {
  enabled: true,
  consecutiveFailures: 5,
  failureRate: 0.5,
  minimumAttempts: 20,
  windowMs: 10_000,
  openMs: 5_000,
  maxOpenMs: 60_000,
  failureStatuses: new Set([502, 503, 504]),
};
const columns = new BreakerColumns(1);
const create = () =>
  createBreaker({
    policy,
    clock: systemClock,
    columns,
    slot: 0,
    trialLimitMs: 60_000,
    mayOpen: () => false,
    onTransition: () => undefined,
    onTrialReturned: () => undefined,
  });

const breaker = create();
const gate = new BreakerGate(columns, systemClock, 1, {
  failed: (_, circuit, outcome) => {
    breaker.failed(circuit, outcome);
  },
  trialTaken: (_, circuit) => {
    breaker.trialTaken(circuit);
  },
  trialEnded: (_, circuit, outcome) => {
    breaker.trialEnded(circuit, outcome);
  },
});
const admit = () => gate.admit(0, policy);
await measure('admit + success', () => admit()?.settle('success'));
await measure('admit + cancelled', () => admit()?.settle('cancelled'));
await measure('admit + failure, cap reached', () => admit()?.settle('timeout'));
const overlapping = Array.from({ length: 64 }, () => admit());
let next = 0;
await measure('admit + success, 64 at once', () => {
  next = (next + 1) % 64;
  overlapping[next]?.settle('success');
  overlapping[next] = admit();
});
console.log(`memory of one closed breaker: ${retainedBytes(2000, create).toFixed(0)} B`);
