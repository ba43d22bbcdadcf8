import type { Instance } from '../core/instance.ts';
import type { Change } from '../registry/embedded/changes.ts';
import type { DeregistrationReason } from '../telemetry/closed-sets.ts';

/** The oldest goes: some are never asked for, where another registry has the instance too. */
const MOST = 10_000;

/** Why instances went, from their departure from an embedded registry to that from the fleet, which the guard may delay. */
export class DepartureReasons {
  readonly #reasons = new Map<string, DeregistrationReason>();

  /** `names`: what the pool has of the instance that has changed. Who comes back has not gone. */
  note(change: Exclude<Change, { kind: 'absent' }>, names: () => readonly Instance[]): void {
    if (change.kind === 'upsert' && this.#reasons.size === 0) return;
    for (const { service, id } of names()) {
      const key = `${service}/${id}`;
      this.#reasons.delete(key);
      if (change.kind === 'upsert') continue;
      this.#reasons.set(key, change.reason);
      const [oldest] = this.#reasons.keys();
      if (this.#reasons.size > MOST && oldest !== undefined) this.#reasons.delete(oldest);
    }
  }

  /** Once per departure. */
  take(service: string, id: string): DeregistrationReason | undefined {
    const key = `${service}/${id}`;
    const reason = this.#reasons.get(key);
    this.#reasons.delete(key);
    return reason;
  }
}
