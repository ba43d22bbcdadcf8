import type { Check } from '../core/check.ts';
import type { Clock } from '../core/clock.ts';
import type { ProbeState } from '../core/health.ts';
import type { Random } from '../core/random.ts';
import { formatDuration } from '../core/units.ts';
import { TimingWheel } from '../core/wheel.ts';
import { asksTheSame, CheckTask, combined, Target, type TargetSpec } from './check-task.ts';
import type { ProbeSample, TargetEvidence, VerdictEvidence } from './evidence.ts';
import { DEFAULT_LIMITS, type ProberLimits } from './limits.ts';
import type { CreateProbe } from './probe.ts';
import { Runner, type RunEnd } from './runner.ts';
import { fastTurnMs, FirstTurns, retryTurnMs, steadyTurnMs } from './schedule.ts';
import { SelfWatch, type FreezeEvent } from './self-watch.ts';
import { isSettled, observe, UNPROBED, type ProbeResult, type Standing } from './threshold.ts';

export interface ProberOptions<Key> {
  readonly clock: Clock;
  readonly random: Random;
  readonly createProbe: CreateProbe;
  readonly limits?: Partial<ProberLimits>;
  /** The verdict on an instance has changed; it was `unknown` when tracking began. May call back into the prober. */
  readonly onVerdict: (key: Key, state: ProbeState, evidence: VerdictEvidence) => void;
  /** One probe has ended. Must not throw. */
  readonly onResult?: (sample: ProbeSample<Key>) => void;
  /** The prober doubts itself, or no longer does. To be logged and counted. */
  readonly onFreeze?: (event: FreezeEvent) => void;
  /** `clock.now()` of the latest success of traffic, where somebody keeps it; an alternative to `reportSuccess`. */
  readonly trafficSuccessMs?: (key: Key) => number | undefined;
}

export interface ProberStats {
  readonly targets: number;
  readonly running: number;
  readonly queued: number;
  readonly frozen: boolean;
  /** Freezes begun, ever. */
  readonly freezes: number;
  /** Results that did not count, ever. */
  readonly discarded: number;
}

const TICK_MS = 10;
const FREEZE_QUIET_MS = 1000;
const REPORT_TEXT_CHARACTERS = 200;
/** A check that is new on an instance that is up has to fail before it takes the instance out. */
const PRESUMED_PASSING: Standing = { ...UNPROBED, state: 'passing' };

/** Asks every check of every tracked instance in turn, and tells when the answers change the verdict. */
export class Prober<Key extends number | string> {
  readonly #options: ProberOptions<Key>;
  readonly #clock: Clock;
  readonly #wheel: TimingWheel;
  readonly #watch: SelfWatch;
  readonly #runner: Runner<Key>;
  readonly #firstTurns: FirstTurns;
  #hearing = true;
  readonly #targets = new Map<Key, Target<Key>>();
  readonly #onExpire = (task: CheckTask<Key>, nowMs: number): void => this.#expired(task, nowMs);

  constructor(options: ProberOptions<Key>) {
    this.#options = options;
    const limits = { ...DEFAULT_LIMITS, ...options.limits };
    const { clock, createProbe } = options;
    this.#clock = clock;
    this.#wheel = new TimingWheel({
      clock,
      tickMs: TICK_MS,
      slots: 2048,
      maxPerTurn: 4096,
      onWake: (lateMs, nowMs) => this.#watch.woke(lateMs, nowMs),
    });
    this.#watch = new SelfWatch({
      wheel: this.#wheel,
      maxLagMs: limits.maxLagMs,
      quietMs: FREEZE_QUIET_MS,
      isBusy: () => this.#runner.running > 0,
      onFreeze: (event) => options.onFreeze?.(event),
    });
    this.#runner = new Runner<Key>({
      clock,
      wheel: this.#wheel,
      watch: this.#watch,
      limits,
      createProbe,
      onEnd: (task, end, nowMs) => this.#ended(task, end, nowMs),
    });
    this.#firstTurns = new FirstTurns(limits.firstProbesPerSecond);
  }

  /** Begins to probe an instance, at once; one that is tracked already is updated. */
  track(spec: TargetSpec<Key>): void {
    const known = this.#targets.get(spec.key);
    if (known !== undefined) {
      this.update(spec);
      return;
    }
    const target = new Target(spec);
    this.#targets.set(spec.key, target);
    target.tasks = spec.checks.map((check) =>
      this.#newTask(target, check, spec.restored === true && check.type === 'ttl' ? PRESUMED_PASSING : UNPROBED),
    );
    this.#judge(target, undefined, spec.checks.length === 0 ? 'nothing to check' : 'known from before');
  }

  /**
   * Takes over a changed description. A check that asks the same question of the same address keeps its history, with
   * the new timing. A new question on an instance that is up is presumed to be answered until it has failed as often as
   * its threshold says: a reload must not take a whole fleet out before anybody was asked.
   */
  update(spec: TargetSpec<Key>): void {
    const target = this.#targets.get(spec.key);
    if (target === undefined) return;
    const moved = target.host !== spec.host || target.port !== spec.port || target.instanceId !== spec.instanceId;
    const standing =
      !moved && (target.state === 'passing' || target.state === 'degraded') ? PRESUMED_PASSING : UNPROBED;
    const old = new Map(target.tasks.map((task) => [task.check.name, task]));
    target.service = spec.service;
    target.instanceId = spec.instanceId;
    target.host = spec.host;
    target.port = spec.port;
    target.tasks = spec.checks.map((check) => {
      const task = moved ? undefined : old.get(check.name);
      if (task === undefined || !asksTheSame(task.check, check)) return this.#newTask(target, check, standing);
      old.delete(check.name);
      this.#retime(task, check);
      return task;
    });
    for (const task of old.values()) this.#runner.retire(task);
    this.#judge(target, undefined, moved ? 'it is another instance now' : 'its checks have changed');
  }

  /** Stops probing; no callback about this key comes after it. */
  untrack(key: Key): void {
    const target = this.#targets.get(key);
    if (target === undefined) return;
    this.#targets.delete(key);
    for (const task of target.tasks) this.#runner.retire(task);
  }

  /** Traffic has just succeeded on the instance. */
  reportSuccess(key: Key): void {
    const target = this.#targets.get(key);
    if (target !== undefined) target.trafficMs = this.#clock.now();
  }

  /**
   * Something else has cast doubt on the instance, or says that it may be back: its checks take their turns now, traffic
   * notwithstanding. Many at the same time are spread as first probes are.
   */
  look(key: Key): void {
    const nowMs = this.#clock.now();
    for (const task of this.#targets.get(key)?.tasks ?? []) {
      if (task.check.type === 'ttl' || task.activity !== 'waiting') continue;
      task.skipped = true;
      this.#turn(task, Math.min(task.turnMs, this.#firstTurns.next(nowMs)), false);
    }
  }

  /**
   * The instance reports the result of a `ttl` check by itself. False where there is no such check. The text comes from
   * outside: only its printable beginning is kept.
   */
  accept(key: Key, checkName: string, result: ProbeResult, text: string): boolean {
    const task = this.#targets.get(key)?.tasks.find(({ check }) => check.name === checkName && check.type === 'ttl');
    if (task === undefined) return false;
    const nowMs = this.#clock.now();
    task.startedMs = nowMs;
    const said = text
      .replace(/[^\x20-\x7e]+/g, ' ')
      .trim()
      .slice(0, REPORT_TEXT_CHARACTERS);
    this.#conclude(task, result, said === '' ? `reported ${result}` : `reported ${result}: ${said}`, 0, nowMs);
    return true;
  }

  /**
   * Whether reports reach us. While they do not, silence says nothing; from the moment they do again, every `ttl` check
   * has one whole period.
   */
  set hearing(hearing: boolean) {
    this.#hearing = hearing;
    if (!hearing) return;
    const nowMs = this.#clock.now();
    for (const { tasks } of this.#targets.values()) {
      for (const task of tasks) if (task.check.type === 'ttl') this.#listen(task, nowMs);
    }
  }

  stateOf(key: Key): ProbeState | undefined {
    return this.#targets.get(key)?.state;
  }

  explain(key: Key): TargetEvidence | undefined {
    const target = this.#targets.get(key);
    if (target === undefined) return undefined;
    const nowMs = this.#clock.now();
    return { state: target.state, checks: target.tasks.map((task) => task.evidence(nowMs)) };
  }

  get stats(): ProberStats {
    const { running, queued } = this.#runner;
    const { frozen, freezes, discarded } = this.#watch;
    return { targets: this.#targets.size, running, queued, frozen, freezes, discarded };
  }

  /** Ends every probe and gives up every socket, process and timer. Nothing is called back afterwards. */
  stop(): void {
    this.#runner.stop();
    for (const key of [...this.#targets.keys()]) this.untrack(key);
    this.#wheel.stop();
  }

  #newTask(target: Target<Key>, check: Check, standing: Standing): CheckTask<Key> {
    const task = new CheckTask(target, check, standing, this.#onExpire);
    const nowMs = this.#clock.now();
    task.startedMs = nowMs;
    this.#turn(task, check.type === 'ttl' ? nowMs + check.timeoutMs : this.#firstTurns.next(nowMs), false);
    return task;
  }

  #retime(task: CheckTask<Key>, check: Check): void {
    const same = task.check.intervalMs === check.intervalMs && task.check.timeoutMs === check.timeoutMs;
    task.check = check;
    if (same || task.activity !== 'waiting') return;
    // The turn it was waiting for has not been taken.
    task.onGrid = false;
    this.#scheduleNext(task, this.#clock.now());
  }

  #turn(task: CheckTask<Key>, turnMs: number, onGrid: boolean): void {
    task.turnMs = turnMs;
    task.onGrid = onGrid;
    this.#wheel.schedule(task, turnMs);
  }

  #scheduleNext(task: CheckTask<Key>, nowMs: number): void {
    const { check, phase } = task;
    const { random } = this.#options;
    if (check.type === 'ttl') this.#turn(task, task.startedMs + check.timeoutMs, false);
    else if (!isSettled(task.standing)) this.#turn(task, fastTurnMs(check, task.startedMs, nowMs, random), false);
    else this.#turn(task, steadyTurnMs(check, phase, task.onGrid ? task.turnMs : undefined, nowMs, random), true);
  }

  #expired(task: CheckTask<Key>, nowMs: number): void {
    if (task.running) this.#runner.deadline(task, nowMs);
    else if (task.check.type === 'ttl') this.#silent(task, nowMs);
    else if (!this.#trafficSpeaks(task, nowMs)) this.#runner.offer(task, nowMs);
  }

  /** One whole period from now. */
  #listen(task: CheckTask<Key>, nowMs: number): void {
    task.startedMs = nowMs;
    this.#turn(task, nowMs + task.check.timeoutMs, false);
  }

  #silent(task: CheckTask<Key>, nowMs: number): void {
    if (!this.#hearing) {
      this.#listen(task, nowMs);
      return;
    }
    const { timeoutMs } = task.check;
    const believed = this.#watch.believes(task.startedMs);
    task.startedMs = nowMs;
    if (believed) this.#conclude(task, 'fail', `no report for ${formatDuration(timeoutMs)}`, timeoutMs, nowMs);
    // The report may lie unread in a socket of ours.
    else this.#turn(task, nowMs + Math.min(timeoutMs, FREEZE_QUIET_MS), false);
  }

  /**
   * Whether traffic stands in for this turn: the instance passes and has answered a request since its last probe. The
   * turn is put off to one interval after that answer, and at most once in a row: who is about to stop may still answer
   * on old connections, and refuse new ones.
   */
  #trafficSpeaks(task: CheckTask<Key>, nowMs: number): boolean {
    const { check, target, standing } = task;
    const { trafficSuccessMs } = this.#options;
    if (task.skipped || !(check.trafficAsEvidence ?? check.type === 'tcp')) return false;
    if (standing.state !== 'passing' || !isSettled(standing)) return false;
    // Another port than that of the traffic.
    if (check.port !== undefined && check.port !== target.port) return false;
    const successMs = Math.max(target.trafficMs, trafficSuccessMs?.(target.key) ?? Number.NEGATIVE_INFINITY);
    if (successMs <= task.startedMs || successMs + check.intervalMs <= nowMs) return false;
    task.skipped = true;
    this.#turn(task, Math.min(successMs, nowMs) + check.intervalMs, false);
    return true;
  }

  #ended(task: CheckTask<Key>, end: RunEnd, nowMs: number): void {
    const { outcome, durationMs } = end;
    const { target, check, lagMs } = task;
    this.#options.onResult?.({
      key: target.key,
      service: target.service,
      type: check.type,
      outcome,
      durationMs,
      lagMs,
    });
    if (outcome !== 'discarded') {
      this.#conclude(task, end.result, end.text, durationMs, nowMs);
      return;
    }
    task.discardedText = end.text;
    this.#turn(task, retryTurnMs(check, nowMs, this.#options.random), false);
  }

  #conclude(task: CheckTask<Key>, result: ProbeResult, text: string, durationMs: number, nowMs: number): void {
    const before = task.standing;
    task.standing = observe(before, result, task.check);
    task.note(result, text, this.#clock.wall(), durationMs);
    this.#scheduleNext(task, nowMs);
    if (before.state !== task.standing.state) this.#judge(task.target, task.check.name, task.summary);
  }

  /** Tells the verdict where it has changed. Last in its turn: the callback may untrack the instance. */
  #judge(target: Target<Key>, check: string | undefined, text: string): void {
    const from = target.state;
    const state = combined(target.tasks);
    if (state === from) return;
    target.state = state;
    this.#options.onVerdict(target.key, state, { from, check, text });
  }
}
