import type { FailureKind } from '../core/failure.ts';
import { METHODS, type RequestHead } from '../http1/request-head.ts';
import { METHODS as METER_METHODS, type MethodIndex } from '../telemetry/closed-sets.ts';
import { AccessEntry } from './access-entry.ts';
import type { Attempt } from './attempt.ts';
import type { ProxyContext, Route } from './context.ts';

const METER_INDEX: readonly number[] = METHODS.map((name) => METER_METHODS.indexOf(name));

/** What one request took and came to, for meters and access log. */
export class Account {
  /** `clock.now()` of its head. */
  beganMs = 0;
  /** That the client got; 0 = none yet. */
  status = 0;
  bytesIn = 0;
  bytesOut = 0;
  readonly #context: ProxyContext;
  readonly #attempt: Attempt;
  #access: AccessEntry | undefined;
  #durationMs = 0;
  #overheadMs = 0;

  constructor(context: ProxyContext, attempt: Attempt) {
    this.#context = context;
    this.#attempt = attempt;
  }

  begin(nowMs: number): void {
    this.beganMs = nowMs;
    this.status = 0;
    this.bytesIn = 0;
    this.bytesOut = 0;
  }

  /** Takes down what the log will say of the head. */
  capture(head: RequestHead, buffer: Buffer): void {
    if (!this.#context.accessLog) return;
    (this.#access ??= new AccessEntry()).capture(head, buffer, this.#context.clock.wall());
  }

  /** There was no readable head. */
  captureNone(): void {
    if (!this.#context.accessLog) return;
    (this.#access ??= new AccessEntry()).clear(this.#context.clock.wall());
  }

  /** `method`: index into METHODS. `streamed`: the body came in pieces. */
  close(route: Route | undefined, method: number, streamed: boolean, nowMs: number): void {
    this.#durationMs = nowMs - this.beganMs;
    // What neither instance nor client took. Of a body that came in pieces only they know how long it took.
    this.#overheadMs = streamed ? 0 : Math.max(0, this.#durationMs - this.#attempt.upstreamMs);
    const meters = route?.meters ?? this.#context.strayMeters;
    meters.request(METER_INDEX[method] as MethodIndex, this.status, this.#durationMs, this.#overheadMs);
  }

  /** Obligation: after `close`, and only where there is an access log. */
  log(client: string, requestId: string, route: Route | undefined, failure: FailureKind | undefined): void {
    const { fleet, accessLog } = this.#context;
    const attempt = this.#attempt;
    const access = this.#access;
    if (!access) return;
    access.complete(client, requestId, {
      route,
      instance: attempt.slot < 0 ? undefined : fleet.members[attempt.slot]?.instance.id,
      status: this.status,
      failure,
      attempts: attempt.count,
      durationMs: this.#durationMs,
      upstreamMs: attempt.upstreamMs,
      overheadMs: this.#overheadMs,
      bytesIn: this.bytesIn,
      bytesOut: this.bytesOut,
    });
    accessLog?.write(access.record);
  }
}
