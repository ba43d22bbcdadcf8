import type { CheckKind } from '../core/check.ts';
import { WheelEntry } from '../core/wheel.ts';
import type { Job } from './dispatcher.ts';
import type { Probe, ProbeTarget } from './probe.ts';

export type Activity = 'waiting' | 'queued' | 'running';

/**
 * One check of one instance from its turn to its result, and beyond where its probe keeps a connection: whoever merely
 * waits is a row of the table, and nothing else. As an entry of the wheel it is the deadline of its run.
 */
export class CheckTask extends WheelEntry implements Job {
  readonly row: number;
  readonly instance: ProbeTarget;
  readonly type: CheckKind['type'];
  activity: Activity = 'waiting';
  /** Its row belongs to it no more. */
  retired = false;
  probe: Probe | undefined = undefined;
  /** When its turn was, where it is queued or runs. */
  turnMs = 0;
  lagMs = 0;
  /** Its deadline has come, and was moved by one tick to let an answer in that may lie unread. */
  graced = false;
  suspect = false;
  queued = false;
  lane: 'steady' | 'suspect' = 'steady';
  readonly #onDeadline: (task: CheckTask, nowMs: number) => void;

  constructor(
    row: number,
    instance: ProbeTarget,
    type: CheckKind['type'],
    onDeadline: (task: CheckTask, nowMs: number) => void,
  ) {
    super();
    this.row = row;
    this.instance = instance;
    this.type = type;
    this.#onDeadline = onDeadline;
  }

  get host(): string {
    return this.instance.host;
  }

  get running(): boolean {
    return this.activity === 'running';
  }

  get wanted(): boolean {
    return this.activity === 'queued';
  }

  expire(nowMs: number): void {
    this.#onDeadline(this, nowMs);
  }
}
