/** Whose attempt awaits a response head. */
export interface Waiter {
  /** Slot of the instance. */
  readonly waitingOn: number;
  readonly attemptBeganMs: number;
  /** False while its own request is still being sent: it is not the instance that is late. */
  readonly answerDue: boolean;
  /** A breaker waits for this very attempt. */
  readonly isTrial: boolean;
  /** Where it is in the list; -1 = in none. Written by the list alone. */
  waitingAt: number;
}

/** Those who wait, of one thread: so that looking after them costs nothing for connections that are idle. */
export class WaitingList<W extends Waiter> {
  readonly #waiters: W[] = [];
  /** By slot: when that answered attempt began which began last. Time only moves on, so that rows need no clearing. */
  readonly answeredBeganMs: Float64Array;

  /** `capacity`: number of slots. */
  constructor(capacity: number) {
    this.answeredBeganMs = new Float64Array(capacity);
  }

  get all(): readonly W[] {
    return this.#waiters;
  }

  add(waiter: W): void {
    waiter.waitingAt = this.#waiters.push(waiter) - 1;
  }

  /** Does nothing where it does not wait. */
  remove(waiter: W): void {
    const at = waiter.waitingAt;
    if (at < 0) return;
    waiter.waitingAt = -1;
    const last = this.#waiters.pop();
    if (last === undefined || last === waiter) return;
    this.#waiters[at] = last;
    last.waitingAt = at;
  }

  /** Its response head has come. */
  answered(waiter: W): void {
    this.remove(waiter);
    const { waitingOn: slot, attemptBeganMs } = waiter;
    if (attemptBeganMs > (this.answeredBeganMs[slot] as number)) this.answeredBeganMs[slot] = attemptBeganMs;
  }
}
