import type { Check } from '../core/check.ts';
import type { Clock } from '../core/clock.ts';
import { formatDuration } from '../core/units.ts';
import type { TimingWheel } from '../core/wheel.ts';
import type { CheckTable } from './check-table.ts';
import { CheckTask, type Activity } from './check-task.ts';
import { Dispatcher } from './dispatcher.ts';
import type { ProbeOutcome } from './evidence.ts';
import type { CreateProbe, ProbeAnswer, ProbeTarget } from './probe.ts';
import type { ProberLimits } from './limits.ts';
import type { SelfWatch } from './self-watch.ts';
import type { ProbeResult } from './threshold.ts';

/** How one run ended. `discarded` results say nothing about the instance. */
export interface RunEnd {
  readonly result: ProbeResult;
  readonly text: string;
  readonly outcome: ProbeOutcome;
  readonly durationMs: number;
  /** From its turn to its start. */
  readonly lagMs: number;
}

export interface RunnerOptions {
  readonly checks: CheckTable;
  readonly clock: Clock;
  readonly wheel: TimingWheel;
  readonly watch: SelfWatch;
  readonly limits: ProberLimits;
  readonly createProbe: CreateProbe;
  readonly instanceOf: (row: number) => ProbeTarget;
  /** The run is over, whatever it came to. May retire the check. */
  readonly onResult: (row: number, end: RunEnd) => void;
  /** The check waits: give it its next turn. Follows upon `onResult`, unless that has retired it. */
  readonly onEnd: (row: number, end: RunEnd, nowMs: number) => void;
}

/** After so many runs in a row without a local port or address, that is the fault of this instance's address after all. */
const MAX_UNABLE = 30;

/** Runs checks: each within the bounds, each until its answer or its deadline, whichever comes first. */
export class Runner {
  readonly #options: RunnerOptions;
  readonly #network: Dispatcher<CheckTask>;
  readonly #scripts: Dispatcher<CheckTask>;
  /** By row: those that are queued, run, or keep something for the next run. */
  readonly #tasks = new Map<number, CheckTask>();

  constructor(options: RunnerOptions) {
    this.#options = options;
    const { clock, wheel, limits } = options;
    const { concurrency, perHost, scripts, startsPerTick } = limits;
    const begin = (task: CheckTask): void => this.#begin(task);
    this.#network = new Dispatcher(clock, wheel, { concurrency, perHost, startsPerTick }, begin);
    this.#scripts = new Dispatcher(
      clock,
      wheel,
      { concurrency: scripts, perHost: scripts, startsPerTick: scripts },
      begin,
    );
  }

  get running(): number {
    return this.#network.running + this.#scripts.running;
  }

  get queued(): number {
    return this.#network.queued + this.#scripts.queued;
  }

  /** The turn of a waiting check has come, which was to be at `turnMs`. */
  offer(row: number, turnMs: number, nowMs: number): void {
    const task = this.#taskOf(row);
    task.activity = 'queued';
    task.turnMs = turnMs;
    task.suspect = this.#options.checks.standingOf(row).fails > 0;
    this.#dispatcherOf(task).offer(task, nowMs);
  }

  activityOf(row: number): Activity {
    return this.#tasks.get(row)?.activity ?? 'waiting';
  }

  /** Begins nothing any more. */
  stop(): void {
    this.#network.stop();
    this.#scripts.stop();
  }

  /** Ends whatever the check is doing, for good. */
  retire(row: number): void {
    const task = this.#tasks.get(row);
    if (task === undefined) return;
    this.#tasks.delete(row);
    const wasRunning = task.running;
    task.activity = 'waiting';
    task.retired = true;
    this.#options.wheel.cancel(task);
    task.probe?.close();
    if (wasRunning) this.#dispatcherOf(task).ended(task);
  }

  #taskOf(row: number): CheckTask {
    let task = this.#tasks.get(row);
    if (task === undefined) {
      const { checks, instanceOf } = this.#options;
      task = new CheckTask(row, instanceOf(row), checks.checkOf(row).type, this.#deadline);
      this.#tasks.set(row, task);
    }
    return task;
  }

  readonly #deadline = (task: CheckTask, nowMs: number): void => {
    if (!task.graced) {
      // Timers run before sockets are read: an answer that has arrived already must be seen before it is judged late.
      task.graced = true;
      this.#options.wheel.schedule(task, nowMs);
      return;
    }
    const waitedFor = task.probe?.abort() ?? 'no start';
    const { timeoutMs } = this.#options.checks.checkOf(task.row);
    this.#end(task, 'fail', `${waitedFor} within ${formatDuration(timeoutMs)}`, 'timeout');
  };

  #begin(task: CheckTask): void {
    const { checks, clock, wheel, watch, createProbe } = this.#options;
    const { row } = task;
    const check = checks.checkOf(row);
    const nowMs = clock.now();
    watch.begun(nowMs);
    task.activity = 'running';
    task.graced = false;
    checks.skipped[row] = 0;
    checks.startedMs[row] = nowMs;
    task.lagMs = Math.max(0, nowMs - task.turnMs);
    wheel.schedule(task, nowMs + check.timeoutMs);
    try {
      task.probe ??= createProbe(targetOf(task.instance, check), check, (answer) => this.#report(task, answer));
      task.probe.start();
    } catch (error) {
      // It had reported already: the error is that of whoever was told.
      if (!task.running) throw error;
      // Whatever state it is in now, the next run gets a new one.
      task.probe?.close();
      task.probe = undefined;
      this.#report(task, {
        result: 'fail',
        text: `cannot probe: ${error instanceof Error ? error.message : 'unknown error'}`,
      });
    }
  }

  #report(task: CheckTask, answer: ProbeAnswer): void {
    if (!task.running) return;
    if (answer.result !== 'unable') {
      this.#options.checks.unable[task.row] = 0;
      this.#end(task, answer.result, answer.text, answer.result);
      return;
    }
    const { checks, watch, clock } = this.#options;
    if (answer.everywhere === true) {
      watch.ranOut(answer.text, clock.now());
      watch.discard();
      this.#dispatcherOf(task).shrink();
      this.#end(task, 'fail', answer.text, 'discarded');
      return;
    }
    // An instance that has never answered may simply have an address that no local one can reach.
    const { state } = checks.standingOf(task.row);
    const excused = (state === 'passing' || state === 'degraded') && this.#excuses(task.row);
    if (excused) {
      watch.discard();
      watch.cutOff(task.host, answer.text, clock.now());
    }
    this.#end(task, 'fail', answer.text, excused ? 'discarded' : 'fail');
  }

  #excuses(row: number): boolean {
    const { unable } = this.#options.checks;
    const before = unable[row] as number;
    if (before >= MAX_UNABLE) return false;
    unable[row] = before + 1;
    return true;
  }

  #end(task: CheckTask, result: ProbeResult, text: string, outcome: ProbeOutcome): void {
    const { checks, clock, wheel, watch, onResult, onEnd } = this.#options;
    const { row, lagMs } = task;
    const nowMs = clock.now();
    const startedMs = checks.startedMs[row] as number;
    task.activity = 'waiting';
    if (task.probe?.keepsNothing === true) task.probe = undefined;
    const believed = result !== 'fail' || outcome === 'discarded' || watch.believes(startedMs);
    const end = { result, text, outcome: believed ? outcome : 'discarded', durationMs: nowMs - startedMs, lagMs };
    try {
      onResult(row, end);
      if (!task.retired) onEnd(row, end, nowMs);
    } finally {
      wheel.cancel(task);
      if (task.probe === undefined && this.#tasks.get(row) === task) this.#tasks.delete(row);
      this.#dispatcherOf(task).ended(task);
    }
  }

  #dispatcherOf(task: CheckTask): Dispatcher<CheckTask> {
    return task.type === 'script' ? this.#scripts : this.#network;
  }
}

function targetOf(instance: ProbeTarget, check: Check): ProbeTarget {
  if (check.port === undefined || check.port === instance.port) return instance;
  const { service, id, host } = instance;
  return { service, id, host, port: check.port };
}
