/** What had left for the instance when the attempt failed. */
export type Sent = 'nothing' | 'partial' | 'complete';

/** What makes a request one that can be sent again. */
export interface Repeatable {
  /** RFC 9110 section 9.2.2: doing it twice is doing it once. */
  readonly idempotent: boolean;
  /** All of the body that was taken from the client is still here. */
  readonly bodyReplayable: boolean;
}

export interface FailedAttempt extends Repeatable {
  readonly sent: Sent;
  /** Some byte of a response has come: whatever it was to be, the request was at least begun. */
  readonly responseBegan: boolean;
  readonly attemptsLeft: number;
}

/** Whether another attempt, on another instance, can do no harm. The only place that decides this; the budget is apart. */
export function mayRetry(attempt: FailedAttempt): boolean {
  if (attempt.attemptsLeft <= 0 || attempt.responseBegan || !attempt.bodyReplayable) return false;
  return attempt.sent === 'nothing' || attempt.idempotent;
}

/** Seconds of deposits that can be saved up. */
const SAVED_SECONDS = 10;
/** Over this long the minimum is compared with what requests have deposited. */
const FILL_MS = 1000;

/**
 * Retries as a share of requests, so that a failing fleet is not also trampled (Finagle's retry budget): each request
 * deposits a fraction of a retry, and each retry withdraws one. Time deposits what requests leave open to a minimum, and
 * nothing on top of it: over any time the attempts of a busy service stay within `1 + share` of its requests.
 */
export class RetryBudget {
  readonly #share: number;
  readonly #perMs: number;
  readonly #capacity: number;
  #tokens: number;
  #filledMs: number;
  /** By requests, since then. */
  #deposited = 0;

  constructor(share: number, minPerSecond: number, nowMs: number) {
    this.#share = share;
    this.#perMs = minPerSecond / 1000;
    this.#capacity = Math.max(1, minPerSecond * SAVED_SECONDS) + share * 1000;
    this.#tokens = Math.max(1, minPerSecond * SAVED_SECONDS);
    this.#filledMs = nowMs;
  }

  deposit(): void {
    this.#deposited += this.#share;
    this.#tokens = Math.min(this.#capacity, this.#tokens + this.#share);
  }

  withdraw(nowMs: number): boolean {
    const elapsedMs = nowMs - this.#filledMs;
    if (elapsedMs >= FILL_MS) {
      const missing = Math.max(0, elapsedMs * this.#perMs - this.#deposited);
      this.#tokens = Math.min(this.#capacity, this.#tokens + missing);
      this.#filledMs = nowMs;
      this.#deposited = 0;
    }
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }

  /** Counts a retry that is made whatever the budget says. */
  charge(): void {
    this.#tokens = Math.max(0, this.#tokens - 1);
  }
}
