import type { Check } from '../core/check.ts';
import type { Clock } from '../core/clock.ts';
import type { ProbeState } from '../core/health.ts';
import type { Random } from '../core/random.ts';
import { formatDuration } from '../core/units.ts';
import { TimingWheel } from '../core/wheel.ts';
import { CheckTable } from './check-table.ts';
import type { ProbeSample, TargetEvidence, VerdictEvidence } from './evidence.ts';
import { DEFAULT_LIMITS, type ProberLimits } from './limits.ts';
import type { CreateProbe, ProbeTarget } from './probe.ts';
import { asksTheSame } from './question.ts';
import { Runner, type RunEnd } from './runner.ts';
import { fastTurnMs, FirstTurns, phaseOf, retryTurnMs, steadyTurnMs } from './schedule.ts';
import { SelfWatch, type FreezeEvent } from './self-watch.ts';
import { Targets, type TargetSpec } from './targets.ts';
import { isSettled, observe, UNPROBED, type ProbeResult, type Standing } from './threshold.ts';
import { Turns } from './turns.ts';

export interface ProberOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly createProbe: CreateProbe;
  readonly limits?: Partial<ProberLimits>;
  /** The verdict on an instance has changed; it was `unknown` when tracking began. May call back into the prober. */
  readonly onVerdict: (key: number, state: ProbeState, evidence: VerdictEvidence) => void;
  /** One probe has ended. Must not throw. */
  readonly onResult?: (sample: ProbeSample) => void;
  /** The prober doubts itself, or no longer does. To be logged and counted. */
  readonly onFreeze?: (event: FreezeEvent) => void;
  /** `clock.now()` of the latest success of traffic, where there was any. */
  readonly trafficSuccessMs?: (key: number) => number | undefined;
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
export class Prober {
  readonly #options: ProberOptions;
  readonly #clock: Clock;
  readonly #wheel: TimingWheel;
  readonly #watch: SelfWatch;
  readonly #runner: Runner;
  readonly #firstTurns: FirstTurns;
  #hearing = true;
  readonly #targets = new Targets();
  readonly #checks = new CheckTable();
  readonly #turns: Turns;

  constructor(options: ProberOptions) {
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
    this.#turns = new Turns(this.#wheel, TICK_MS, (row, nowMs) => this.#turnCame(row, nowMs));
    this.#watch = new SelfWatch({
      wheel: this.#wheel,
      maxLagMs: limits.maxLagMs,
      quietMs: FREEZE_QUIET_MS,
      isBusy: () => this.#runner.running > 0,
      onFreeze: (event) => options.onFreeze?.(event),
    });
    this.#runner = new Runner({
      clock,
      wheel: this.#wheel,
      watch: this.#watch,
      limits,
      createProbe,
      checks: this.#checks,
      instanceOf: (row) => this.#instanceOf(row),
      onResult: (row, end) => this.#tell(row, end),
      onEnd: (row, end, nowMs) => this.#ended(row, end, nowMs),
    });
    this.#firstTurns = new FirstTurns(limits.firstProbesPerSecond);
  }

  /** Begins to probe an instance, at once; one that is tracked already is updated. */
  track(spec: TargetSpec): void {
    const { key, instance, checks, restored } = spec;
    if (this.#targets.get(key) !== undefined) {
      this.update(spec);
      return;
    }
    this.#targets.set(key, instance);
    const rows = checks.map((check) =>
      this.#newRow(key, check, restored === true && check.type === 'ttl' ? PRESUMED_PASSING : UNPROBED),
    );
    this.#targets.setFirstRow(key, this.#checks.chain(rows));
    this.#judge(key, undefined, checks.length === 0 ? 'nothing to check' : 'known from before');
  }

  /**
   * Takes over a changed description. A check that asks the same question of the same address keeps its history, with
   * the new timing. A new question on an instance that is up is presumed to be answered until it has failed as often as
   * its threshold says: a reload must not take a whole fleet out before anybody was asked.
   */
  update(spec: TargetSpec): void {
    const { key, instance } = spec;
    const before = this.#targets.get(key);
    if (before === undefined) return;
    const moved = before.host !== instance.host || before.port !== instance.port || before.id !== instance.id;
    const state = this.#targets.stateOf(key);
    const standing = !moved && (state === 'passing' || state === 'degraded') ? PRESUMED_PASSING : UNPROBED;
    const old = new Map(this.#rowsOf(key).map((row) => [this.#checks.checkOf(row).name, row]));
    this.#targets.set(key, instance);
    const gone = new Set(this.#rowsOf(key));
    const rows = spec.checks.map((check) => {
      const row = moved ? undefined : old.get(check.name);
      if (row === undefined || !gone.has(row) || !asksTheSame(this.#checks.checkOf(row), check))
        return this.#newRow(key, check, standing);
      gone.delete(row);
      this.#retime(row, check);
      return row;
    });
    this.#targets.setFirstRow(key, this.#checks.chain(rows));
    for (const row of gone) this.#retire(row);
    this.#judge(key, undefined, moved ? 'it is another instance now' : 'its checks have changed');
  }

  /** Stops probing; no callback about this key comes after it. */
  untrack(key: number): void {
    const rows = this.#rowsOf(key);
    this.#targets.delete(key);
    for (const row of rows) this.#retire(row);
  }

  /**
   * Something else has cast doubt on the instance, or says that it may be back: its checks take their turns now, traffic
   * notwithstanding. Many at the same time are spread as first probes are.
   */
  look(key: number): void {
    const nowMs = this.#clock.now();
    for (const row of this.#rowsOf(key)) {
      if (this.#checks.checkOf(row).type === 'ttl' || this.#runner.activityOf(row) !== 'waiting') continue;
      this.#checks.skipped[row] = 1;
      this.#turn(row, Math.min(this.#turns.at(row), this.#firstTurns.next(nowMs)), false);
    }
  }

  /**
   * The instance reports the result of a `ttl` check by itself. False where there is no such check. The text comes from
   * outside: only its printable beginning is kept.
   */
  accept(key: number, checkName: string, result: ProbeResult, text: string): boolean {
    const row = this.#rowsOf(key).find((each) => {
      const check = this.#checks.checkOf(each);
      return check.name === checkName && check.type === 'ttl';
    });
    if (row === undefined) return false;
    const nowMs = this.#clock.now();
    this.#checks.startedMs[row] = nowMs;
    const said = text
      .replace(/[^\x20-\x7e]+/g, ' ')
      .trim()
      .slice(0, REPORT_TEXT_CHARACTERS);
    this.#conclude(row, result, said === '' ? `reported ${result}` : `reported ${result}: ${said}`, 0, nowMs);
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
    for (const key of this.#targets.keys()) {
      for (const row of this.#rowsOf(key)) if (this.#checks.checkOf(row).type === 'ttl') this.#listen(row, nowMs);
    }
  }

  stateOf(key: number): ProbeState | undefined {
    return this.#targets.stateOf(key);
  }

  explain(key: number): TargetEvidence | undefined {
    const state = this.#targets.stateOf(key);
    if (state === undefined) return undefined;
    const nowMs = this.#clock.now();
    const checks = this.#rowsOf(key).map((row) =>
      this.#checks.evidence(row, this.#runner.activityOf(row), Math.max(0, this.#turns.at(row) - nowMs)),
    );
    return { state, checks };
  }

  get stats(): ProberStats {
    const { running, queued } = this.#runner;
    const { frozen, freezes, discarded } = this.#watch;
    return { targets: this.#targets.count, running, queued, frozen, freezes, discarded };
  }

  /** Ends every probe and gives up every socket, process and timer. Nothing is called back afterwards. */
  stop(): void {
    this.#runner.stop();
    for (const key of [...this.#targets.keys()]) this.untrack(key);
    this.#wheel.stop();
  }

  #rowsOf(key: number): number[] {
    return this.#checks.chained(this.#targets.firstRow(key));
  }

  #instanceOf(row: number): ProbeTarget {
    const instance = this.#targets.get(this.#checks.keys[row] as number);
    if (instance === undefined) throw new Error('a check has outlived its instance');
    return instance;
  }

  #newRow(key: number, check: Check, standing: Standing): number {
    const nowMs = this.#clock.now();
    const { service, id } = this.#targets.get(key) as ProbeTarget;
    const row = this.#checks.take(key, check, standing, phaseOf(`${service}/${id}/${check.name}`), nowMs);
    this.#turn(row, check.type === 'ttl' ? nowMs + check.timeoutMs : this.#firstTurns.next(nowMs), false);
    return row;
  }

  #retire(row: number): void {
    this.#turns.cancel(row);
    this.#runner.retire(row);
    this.#checks.give(row);
  }

  #retime(row: number, check: Check): void {
    const { intervalMs, timeoutMs } = this.#checks.checkOf(row);
    this.#checks.setCheck(row, check);
    const same = intervalMs === check.intervalMs && timeoutMs === check.timeoutMs;
    if (same || this.#runner.activityOf(row) !== 'waiting') return;
    // The turn it was waiting for has not been taken.
    this.#checks.onGrid[row] = 0;
    this.#scheduleNext(row, this.#clock.now());
  }

  #turn(row: number, turnMs: number, onGrid: boolean): void {
    this.#checks.onGrid[row] = onGrid ? 1 : 0;
    this.#turns.schedule(row, turnMs);
  }

  #scheduleNext(row: number, nowMs: number): void {
    const { onGrid, startedMs } = this.#checks;
    const { random } = this.#options;
    const check = this.#checks.checkOf(row);
    const begunMs = startedMs[row] as number;
    if (check.type === 'ttl') this.#turn(row, begunMs + check.timeoutMs, false);
    else if (!isSettled(this.#checks.standingOf(row)))
      this.#turn(row, fastTurnMs(check, begunMs, nowMs, random), false);
    else {
      const turnMs = onGrid[row] === 1 ? this.#turns.at(row) : undefined;
      this.#turn(row, steadyTurnMs(check, this.#checks.phaseOf(row), turnMs, nowMs, random), true);
    }
  }

  #turnCame(row: number, nowMs: number): void {
    if (this.#checks.checkOf(row).type === 'ttl') this.#silent(row, nowMs);
    else if (!this.#trafficSpeaks(row, nowMs)) this.#runner.offer(row, this.#turns.at(row), nowMs);
  }

  /** One whole period from now. */
  #listen(row: number, nowMs: number): void {
    this.#checks.startedMs[row] = nowMs;
    this.#turn(row, nowMs + this.#checks.checkOf(row).timeoutMs, false);
  }

  #silent(row: number, nowMs: number): void {
    if (!this.#hearing) {
      this.#listen(row, nowMs);
      return;
    }
    const { timeoutMs } = this.#checks.checkOf(row);
    const believed = this.#watch.believes(this.#checks.startedMs[row] as number);
    this.#checks.startedMs[row] = nowMs;
    if (believed) this.#conclude(row, 'fail', `no report for ${formatDuration(timeoutMs)}`, timeoutMs, nowMs);
    // The report may lie unread in a socket of ours.
    else this.#turn(row, nowMs + Math.min(timeoutMs, FREEZE_QUIET_MS), false);
  }

  /**
   * Whether traffic stands in for this turn: the instance passes and has answered a request since its last probe. The
   * turn is put off to one interval after that answer, and at most once in a row: who is about to stop may still answer
   * on old connections, and refuse new ones.
   */
  #trafficSpeaks(row: number, nowMs: number): boolean {
    const { keys, skipped, startedMs } = this.#checks;
    const check = this.#checks.checkOf(row);
    if (skipped[row] === 1 || !(check.trafficAsEvidence ?? check.type === 'tcp')) return false;
    const standing = this.#checks.standingOf(row);
    if (standing.state !== 'passing' || !isSettled(standing)) return false;
    // Another port than that of the traffic.
    if (check.port !== undefined && check.port !== this.#instanceOf(row).port) return false;
    const successMs = this.#options.trafficSuccessMs?.(keys[row] as number) ?? Number.NEGATIVE_INFINITY;
    if (successMs <= (startedMs[row] as number) || successMs + check.intervalMs <= nowMs) return false;
    skipped[row] = 1;
    this.#turn(row, Math.min(successMs, nowMs) + check.intervalMs, false);
    return true;
  }

  #tell(row: number, { outcome, durationMs, lagMs }: RunEnd): void {
    const { type } = this.#checks.checkOf(row);
    const { service } = this.#instanceOf(row);
    this.#options.onResult?.({ key: this.#checks.keys[row] as number, service, type, outcome, durationMs, lagMs });
  }

  #ended(row: number, { outcome, result, text, durationMs }: RunEnd, nowMs: number): void {
    if (outcome !== 'discarded') {
      this.#conclude(row, result, text, durationMs, nowMs);
      return;
    }
    this.#checks.discarded.set(row, text);
    this.#turn(row, retryTurnMs(this.#checks.checkOf(row), nowMs, this.#options.random), false);
  }

  #conclude(row: number, result: ProbeResult, text: string, durationMs: number, nowMs: number): void {
    const check = this.#checks.checkOf(row);
    const before = this.#checks.standingOf(row);
    const after = observe(before, result, check);
    this.#checks.note(row, after, result, text, this.#clock.wall(), durationMs);
    this.#scheduleNext(row, nowMs);
    if (before.state !== after.state)
      this.#judge(this.#checks.keys[row] as number, check.name, this.#checks.summary(row));
  }

  /** Tells the verdict where it has changed. Last in its turn: the callback may untrack the instance. */
  #judge(key: number, check: string | undefined, text: string): void {
    const from = this.#targets.stateOf(key);
    const state = this.#checks.combined(this.#targets.firstRow(key));
    // Gone meanwhile, where a callback about another one has taken it away.
    if (from === undefined || state === from) return;
    this.#targets.setState(key, state);
    this.#options.onVerdict(key, state, { from, check, text });
  }
}
