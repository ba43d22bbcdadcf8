import type { Check, CheckKind } from '../core/check.ts';
import type { ProbeState } from '../core/health.ts';
import { WheelEntry } from '../core/wheel.ts';
import type { Job } from './dispatcher.ts';
import type { CheckEvidence } from './evidence.ts';
import type { Probe, ProbeTarget } from './probe.ts';
import { phaseOf } from './schedule.ts';
import type { ProbeResult, Standing } from './threshold.ts';

/** What a prober needs to know of an instance. */
export interface TargetSpec<Key> {
  /** Unique within the prober; comes back in every callback. */
  readonly key: Key;
  readonly service: string;
  readonly instanceId: string;
  /** IP address (IPv6 without brackets) or host name. */
  readonly host: string;
  readonly port: number;
  /** None = nothing to ask: passing. */
  readonly checks: readonly Check[];
  /** Known from before a restart: its `ttl` checks count as passing, and have one whole period to report. */
  readonly restored?: boolean;
}

/** One tracked instance with its checks. Flat, and with exact arrays: there may be 100,000. */
export class Target<Key> implements ProbeTarget {
  readonly key: Key;
  service: string;
  instanceId: string;
  host: string;
  port: number;
  tasks: readonly CheckTask<Key>[] = [];
  state: ProbeState = 'unknown';
  /** `clock.now()` of the latest success of real traffic. */
  trafficMs = Number.NEGATIVE_INFINITY;

  constructor({ key, service, instanceId, host, port }: TargetSpec<Key>) {
    this.key = key;
    this.service = service;
    this.instanceId = instanceId;
    this.host = host;
    this.port = port;
  }
}

export type Activity = 'waiting' | 'queued' | 'running' | 'retired';

/**
 * One check of one instance. Its single wheel entry is the next turn while it waits, and the deadline while it runs.
 * Holds what is known; the prober decides.
 */
export class CheckTask<Key> extends WheelEntry implements Job {
  readonly target: Target<Key>;
  readonly host: string;
  check: Check;
  readonly phase: number;
  standing: Standing;
  activity: Activity = 'waiting';
  probe: Probe | undefined = undefined;
  /** When its turn is or was. */
  turnMs = 0;
  /** Whether that turn is on the grid of its phase. */
  onGrid = false;
  startedMs = 0;
  lagMs = 0;
  /** Its deadline has come, and was moved by one tick to let an answer in that may lie unread. */
  graced = false;
  /** Runs in a row for which the gateway lacked something on the way to this address. */
  unable = 0;
  /** Its last turn was answered by traffic: the next one is a real probe. */
  skipped = false;
  /** The latest result that counted; undefined before the first. */
  lastResult: ProbeResult | undefined = undefined;
  lastText = 'not probed yet';
  lastWallMs = 0;
  lastDurationMs = 0;
  discardedText: string | undefined = undefined;
  queued = false;
  lane: 'steady' | 'suspect' = 'steady';
  readonly #onExpire: (task: CheckTask<Key>, nowMs: number) => void;

  constructor(
    target: Target<Key>,
    check: Check,
    standing: Standing,
    onExpire: (task: CheckTask<Key>, nowMs: number) => void,
  ) {
    super();
    this.target = target;
    this.host = target.host;
    this.check = check;
    this.standing = standing;
    this.phase = phaseOf(`${target.service}/${target.instanceId}/${check.name}`);
    this.#onExpire = onExpire;
  }

  get suspect(): boolean {
    return this.standing.fails > 0;
  }

  get running(): boolean {
    return this.activity === 'running';
  }

  get wanted(): boolean {
    return this.activity === 'queued';
  }

  expire(nowMs: number): void {
    this.#onExpire(this, nowMs);
  }

  note(result: ProbeResult, text: string, atWallMs: number, durationMs: number): void {
    this.lastResult = result;
    this.lastText = text;
    this.lastWallMs = atWallMs;
    this.lastDurationMs = durationMs;
    this.discardedText = undefined;
  }

  /** The latest result in one line: `http: status 503, expected 200-399 (3 in a row)`. */
  get summary(): string {
    const { fails, passes, notPassed } = this.standing;
    const inRow = fails > 0 ? fails : passes > 0 ? passes : notPassed;
    return `${this.check.name}: ${this.lastText}${inRow > 1 ? ` (${inRow} in a row)` : ''}`;
  }

  evidence(nowMs: number): CheckEvidence {
    const { check, standing, activity, lastResult, lastText, lastWallMs, lastDurationMs } = this;
    return {
      name: check.name,
      type: check.type,
      state: standing.state,
      last:
        lastResult === undefined
          ? undefined
          : { result: lastResult, text: lastText, atWallMs: lastWallMs, durationMs: lastDurationMs },
      consecutiveSuccesses: standing.alive,
      consecutiveFailures: standing.fails,
      healthyThreshold: check.healthyThreshold,
      unhealthyThreshold: check.unhealthyThreshold,
      nextInMs: activity === 'waiting' ? Math.max(0, this.dueMs - nowMs) : undefined,
      activity: activity === 'retired' ? 'waiting' : activity,
      discarded: this.discardedText,
    };
  }
}

/** The instance as a whole: as bad as the worst of its checks, where never having answered is worse than a warning. */
export function combined(tasks: readonly { readonly standing: Standing }[]): ProbeState {
  let worst = 0;
  for (const { standing } of tasks) worst = Math.max(worst, SEVERITY[standing.state]);
  return BY_SEVERITY[worst] ?? 'unknown';
}

const BY_SEVERITY: readonly ProbeState[] = ['passing', 'degraded', 'unknown', 'failing'];
const SEVERITY: Readonly<Record<ProbeState, number>> = { passing: 0, degraded: 1, unknown: 2, failing: 3 };

/** Whether two checks ask the same question, however often and with whatever thresholds. */
export function asksTheSame(one: Check, other: Check): boolean {
  if (one === other) return true;
  return questionOf(one) === questionOf(other);
}

function questionOf(check: Check): string {
  return JSON.stringify([check.port ?? 0, ...kindOf(check)]);
}

function kindOf(check: CheckKind): readonly unknown[] {
  switch (check.type) {
    case 'tcp':
    case 'ttl':
      return [check.type];
    case 'http':
    case 'https':
      return [
        check.type,
        check.path,
        check.method,
        check.statuses,
        check.headers,
        check.bodyContains,
        check.host,
        check.verifyTls,
        check.caFile,
      ];
    case 'grpc':
      return [check.type, check.grpcService, check.tls, check.host, check.verifyTls ?? true, check.caFile];
    case 'script':
      return [check.type, check.command];
  }
}
