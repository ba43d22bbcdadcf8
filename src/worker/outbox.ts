import type { BreakerReports } from '../breaker/gate.ts';
import type { BreakerReport, FromThread } from './messages.ts';

/** What happens too often for a message each is sent once per turn, or a few times a second. */
export class Outbox {
  readonly #send: (message: FromThread) => void;
  #reports: BreakerReport[] = [];
  #refused = new Map<string, number>();

  constructor(send: (message: FromThread) => void) {
    this.#send = send;
  }

  readonly breakers: BreakerReports = {
    failed: (...report) => {
      this.#report(['failed', ...report]);
    },
    trialTaken: (...report) => {
      this.#report(['trialTaken', ...report, 'success']);
    },
    trialEnded: (...report) => {
      this.#report(['trialEnded', ...report]);
    },
  };

  /** A malformed request was turned away; `reason` is of a closed set. */
  refused(reason: string): void {
    this.#refused.set(reason, (this.#refused.get(reason) ?? 0) + 1);
  }

  /** Sends what waits for a better moment. */
  flush(): void {
    if (this.#refused.size === 0) return;
    const counts = [...this.#refused];
    this.#refused = new Map();
    this.#send({ type: 'refused', counts });
  }

  #report(report: BreakerReport): void {
    this.#reports.push(report);
    if (this.#reports.length > 1) return;
    // After everything of this turn, and before the next read.
    queueMicrotask(() => {
      const reports = this.#reports;
      this.#reports = [];
      this.#send({ type: 'breakers', reports });
    });
  }
}
