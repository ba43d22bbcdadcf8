import type { Clock } from '../core/clock.ts';
import { formatDuration } from '../core/units.ts';
import type { TimingWheel } from '../core/wheel.ts';
import type { CheckTask } from './check-task.ts';
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
}

export interface RunnerOptions<Key> {
  readonly clock: Clock;
  readonly wheel: TimingWheel;
  readonly watch: SelfWatch;
  readonly limits: ProberLimits;
  readonly createProbe: CreateProbe;
  /** The run is over, and the task waits: give it its next turn, which also replaces its deadline. */
  readonly onEnd: (task: CheckTask<Key>, end: RunEnd, nowMs: number) => void;
}

/** After so many runs in a row without a local port or address, that is the fault of this instance's address after all. */
const MAX_UNABLE = 30;

/** Runs checks: each within the bounds, each until its answer or its deadline, whichever comes first. */
export class Runner<Key> {
  readonly #options: RunnerOptions<Key>;
  readonly #network: Dispatcher<CheckTask<Key>>;
  readonly #scripts: Dispatcher<CheckTask<Key>>;

  constructor(options: RunnerOptions<Key>) {
    this.#options = options;
    const { clock, wheel, limits } = options;
    const { concurrency, perHost, scripts, startsPerTick } = limits;
    const begin = (task: CheckTask<Key>): void => this.#begin(task);
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

  /** The turn of a waiting task has come. */
  offer(task: CheckTask<Key>, nowMs: number): void {
    task.activity = 'queued';
    this.#dispatcherOf(task).offer(task, nowMs);
  }

  /** Begins nothing any more. */
  stop(): void {
    this.#network.stop();
    this.#scripts.stop();
  }

  /** Ends whatever the task is doing, for good. */
  retire(task: CheckTask<Key>): void {
    const wasRunning = task.running;
    task.activity = 'retired';
    this.#options.wheel.cancel(task);
    task.probe?.close();
    if (wasRunning) this.#dispatcherOf(task).ended(task);
  }

  /** The deadline of a running task has come. */
  deadline(task: CheckTask<Key>, nowMs: number): void {
    if (!task.graced) {
      // Timers run before sockets are read: an answer that has arrived already must be seen before it is judged late.
      task.graced = true;
      this.#options.wheel.schedule(task, nowMs);
      return;
    }
    const waitedFor = task.probe?.abort() ?? 'no start';
    this.#end(task, 'fail', `${waitedFor} within ${formatDuration(task.check.timeoutMs)}`, 'timeout');
  }

  #begin(task: CheckTask<Key>): void {
    const { clock, wheel, watch, createProbe } = this.#options;
    const nowMs = clock.now();
    watch.begun(nowMs);
    task.activity = 'running';
    task.graced = false;
    task.skipped = false;
    task.startedMs = nowMs;
    task.lagMs = Math.max(0, nowMs - task.turnMs);
    wheel.schedule(task, nowMs + task.check.timeoutMs);
    try {
      task.probe ??= createProbe(targetOf(task), task.check, (answer) => this.#report(task, answer));
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

  #report(task: CheckTask<Key>, answer: ProbeAnswer): void {
    if (!task.running) return;
    if (answer.result !== 'unable') {
      task.unable = 0;
      this.#end(task, answer.result, answer.text, answer.result);
      return;
    }
    const { watch, clock } = this.#options;
    if (answer.everywhere === true) {
      watch.ranOut(answer.text, clock.now());
      watch.discard();
      this.#dispatcherOf(task).shrink();
      this.#end(task, 'fail', answer.text, 'discarded');
      return;
    }
    // An instance that has never answered may simply have an address that no local one can reach.
    const worked = task.standing.state === 'passing' || task.standing.state === 'degraded';
    const excused = worked && ++task.unable <= MAX_UNABLE;
    if (excused) {
      watch.discard();
      watch.cutOff(task.host, answer.text, clock.now());
    }
    this.#end(task, 'fail', answer.text, excused ? 'discarded' : 'fail');
  }

  #end(task: CheckTask<Key>, result: ProbeResult, text: string, outcome: ProbeOutcome): void {
    const { clock, watch, onEnd } = this.#options;
    const nowMs = clock.now();
    task.activity = 'waiting';
    if (task.probe?.keepsNothing === true) task.probe = undefined;
    const believed = result !== 'fail' || outcome === 'discarded' || watch.believes(task.startedMs);
    const durationMs = nowMs - task.startedMs;
    try {
      onEnd(task, { result, text, outcome: believed ? outcome : 'discarded', durationMs }, nowMs);
    } finally {
      this.#dispatcherOf(task).ended(task);
    }
  }

  #dispatcherOf(task: CheckTask<Key>): Dispatcher<CheckTask<Key>> {
    return task.check.type === 'script' ? this.#scripts : this.#network;
  }
}

function targetOf<Key>({ target, check }: CheckTask<Key>): ProbeTarget {
  if (check.port === undefined || check.port === target.port) return target;
  const { service, instanceId, host } = target;
  return { service, instanceId, host, port: check.port };
}
