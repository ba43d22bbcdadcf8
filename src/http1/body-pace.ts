export interface PaceLimits {
  /** A request body may rest for this long, while it is not we who hold it back. */
  readonly bodyIdleMs: number;
  /** After `bodyGraceMs`, a body must have come at this rate on average; 0 = at any. */
  readonly bodyMinBytesPerSecond: number;
  readonly bodyGraceMs: number;
}

/**
 * Whether a request body comes fast enough. RFC 9110 does not bound how slow one may be; Slowloris' sisters live on that.
 * Looked at from time to time, so that its bytes cost nothing. One object serves many bodies in turn.
 */
export class BodyPace {
  readonly #limits: PaceLimits;
  /** Moved on by the time for which the body was held back. */
  #beganMs = 0;
  #seenBytes = 0;
  #seenMs = 0;
  #pausedMs = 0;

  constructor(limits: PaceLimits) {
    this.#limits = limits;
  }

  /** A body begins. Returns when to look at it. */
  begin(nowMs: number): number {
    this.#beganMs = nowMs;
    this.#seenBytes = 0;
    this.#seenMs = nowMs;
    return this.#firstLook(nowMs);
  }

  /** We hold it back from now on, which must not count against the client. */
  pause(nowMs: number): void {
    this.#pausedMs = nowMs;
  }

  /** Returns when to look at it. */
  resume(nowMs: number): number {
    this.#beganMs += nowMs - this.#pausedMs;
    this.#seenMs = nowMs;
    return this.#firstLook(nowMs);
  }

  /** `bytes` of content have come. Returns when to look again; undefined where it is too slow. */
  look(nowMs: number, bytes: number, paused: boolean): number | undefined {
    const { bodyIdleMs, bodyMinBytesPerSecond, bodyGraceMs } = this.#limits;
    if (bytes !== this.#seenBytes) {
      this.#seenBytes = bytes;
      this.#seenMs = nowMs;
    }
    if (paused) return this.#firstLook(nowMs);
    const ageMs = nowMs - this.#beganMs;
    const tooSlow = ageMs >= bodyGraceMs && bytes < (bodyMinBytesPerSecond * ageMs) / 1000;
    const restingMs = nowMs - this.#seenMs;
    if (tooSlow || restingMs >= bodyIdleMs) return undefined;
    return nowMs + Math.min(bodyIdleMs - restingMs, bodyGraceMs);
  }

  #firstLook(nowMs: number): number {
    return nowMs + Math.min(this.#limits.bodyIdleMs, this.#limits.bodyGraceMs);
  }
}
