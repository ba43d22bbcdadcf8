import type { Check, CheckKind, CheckTiming, HttpCheck } from '../../src/core/check.ts';
import type { Clock } from '../../src/core/clock.ts';
import type { CreateProbe, Probe, ProbeAnswer, ProbeTarget, Report } from '../../src/health/probe.ts';
import type { TargetSpec } from '../../src/health/targets.ts';
import { Alarm, TimingWheel } from '../../src/core/wheel.ts';

export const TIMING: CheckTiming = {
  intervalMs: 5000,
  timeoutMs: 2000,
  healthyThreshold: 2,
  unhealthyThreshold: 3,
  fastIntervalMs: 1000,
  jitter: 0.2,
};

export function tcpCheck(part: Partial<CheckTiming> & { name?: string; port?: number } = {}): Check {
  return { type: 'tcp', name: 'tcp', port: undefined, ...TIMING, ...part };
}

export function httpCheck(
  part: Partial<Extract<CheckKind, { type: 'http' | 'https' }> & CheckTiming> & { name?: string; port?: number } = {},
): Check & HttpCheck {
  return {
    type: 'http',
    name: 'http',
    port: undefined,
    path: '/health',
    method: 'GET',
    statuses: [[200, 399]],
    headers: [],
    bodyContains: undefined,
    host: undefined,
    verifyTls: true,
    ...TIMING,
    ...part,
  };
}

export function target(
  key: number,
  part: Partial<ProbeTarget> & Partial<Pick<TargetSpec, 'checks' | 'restored'>> = {},
): TargetSpec {
  const { checks = [tcpCheck()], restored = false, ...place } = part;
  return {
    key,
    instance: { service: 'web', id: `web-${key}`, host: '10.0.0.1', port: 8080, ...place },
    checks,
    restored,
  };
}

/** How a simulated instance takes a probe: an answer after a while, or undefined for never. */
export type Behaviour = (
  target: ProbeTarget,
  check: Check,
  nowMs: number,
) => { afterMs: number; answer: ProbeAnswer } | undefined;

export const PASS: ProbeAnswer = { result: 'pass', text: 'fine' };
export const REFUSED: ProbeAnswer = { result: 'fail', text: 'connection refused' };

export interface Start {
  readonly atMs: number;
  readonly instanceId: string;
  readonly check: string;
}

/** Probes of simulated instances on a clock, with a record of every start and what is under way. */
export class SimulatedProbes {
  behaviour: Behaviour;
  readonly starts: Start[] = [];
  runningNow = 0;
  mostRunning = 0;
  closed = 0;
  created = 0;
  readonly #clock: Clock;
  readonly #wheel: TimingWheel;

  constructor(clock: Clock, behaviour: Behaviour) {
    this.#clock = clock;
    this.#wheel = new TimingWheel({ clock, tickMs: 1, slots: 4096, maxPerTurn: 1_000_000 });
    this.behaviour = behaviour;
  }

  readonly create: CreateProbe = (to: ProbeTarget, check: Check, report: Report): Probe => {
    this.created++;
    const change = (by: number): void => {
      this.runningNow += by;
      this.mostRunning = Math.max(this.mostRunning, this.runningNow);
    };
    let underWay = false;
    let answer: ProbeAnswer = PASS;
    const wheel = this.#wheel;
    const entry = new Alarm(() => {
      underWay = false;
      change(-1);
      report(answer);
    });
    const end = (): void => {
      wheel.cancel(entry);
      if (underWay) change(-1);
      underWay = false;
    };
    return {
      start: () => {
        if (underWay) throw new Error('a run was started while another was under way');
        underWay = true;
        change(1);
        const nowMs = this.#clock.now();
        this.starts.push({ atMs: nowMs, instanceId: to.id, check: check.name });
        const next = this.behaviour(to, check, nowMs);
        if (next === undefined) return;
        answer = next.answer;
        if (next.afterMs > 0) wheel.schedule(entry, nowMs + next.afterMs);
        else entry.expire(nowMs);
      },
      abort: () => {
        end();
        return 'no answer';
      },
      close: () => {
        end();
        this.closed++;
      },
    };
  };
}

/** A clock whose event loop can be blocked: time passes, and timers that fell due meanwhile all run late. */
export class StallingClock implements Clock {
  #nowMs = 0;
  #sequence = 0;
  #tasks: { dueMs: number; sequence: number; task: () => void }[] = [];

  now(): number {
    return this.#nowMs;
  }

  wall(): number {
    return 1_700_000_000_000 + this.#nowMs;
  }

  after(delayMs: number, task: () => void): () => void {
    const entry = { dueMs: this.#nowMs + delayMs, sequence: this.#sequence++, task };
    this.#tasks.push(entry);
    return () => {
      this.#tasks = this.#tasks.filter((other) => other !== entry);
    };
  }

  get pending(): number {
    return this.#tasks.length;
  }

  /** Time passes with a free event loop. */
  advance(byMs: number): void {
    const endMs = this.#nowMs + byMs;
    while (true) {
      const next = this.#tasks
        .filter(({ dueMs }) => dueMs <= endMs)
        .sort((a, b) => a.dueMs - b.dueMs || a.sequence - b.sequence)[0];
      if (next === undefined) break;
      this.#tasks = this.#tasks.filter((other) => other !== next);
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      next.task();
    }
    this.#nowMs = endMs;
  }

  /** Time passes while the event loop is blocked; then everything that fell due meanwhile runs, late. */
  stall(byMs: number): void {
    this.#nowMs += byMs;
    this.advance(0);
  }
}
