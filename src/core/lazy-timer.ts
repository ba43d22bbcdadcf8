import { type TimingWheel, WheelEntry } from './wheel.ts';

/**
 * A deadline that is set and cleared far more often than it passes. Clearing only forgets the time, and setting a later
 * one only writes it: the wheel is touched once per period, not once per request.
 */
export abstract class LazyTimer extends WheelEntry {
  readonly #wheel: TimingWheel;
  /** 0 = none. */
  #deadlineMs = 0;

  constructor(wheel: TimingWheel) {
    super();
    this.#wheel = wheel;
  }

  /** `onDeadline` follows at `atMs` (on the wheel's clock, above 0) unless cleared or set anew. */
  setDeadline(atMs: number): void {
    this.#deadlineMs = atMs;
    if (!this.scheduled || atMs < this.dueMs) this.#wheel.schedule(this, atMs);
  }

  clearDeadline(): void {
    this.#deadlineMs = 0;
  }

  /** For good: also takes the entry out of the wheel, so that nothing holds it. */
  releaseTimer(): void {
    this.#deadlineMs = 0;
    this.#wheel.cancel(this);
  }

  override expire(nowMs: number): void {
    if (this.#deadlineMs === 0) return;
    if (nowMs < this.#deadlineMs) {
      this.#wheel.schedule(this, this.#deadlineMs);
      return;
    }
    this.#deadlineMs = 0;
    this.onDeadline(nowMs);
  }

  protected abstract onDeadline(nowMs: number): void;
}
