import { FAILURES, type FailureKind } from '../core/failure.ts';
import { Field } from '../http1/fields.ts';
import type { RequestHead } from '../http1/request-head.ts';
import { emptyAccessRecord } from '../telemetry/access-log.ts';
import type { Route } from './context.ts';

export interface Ended {
  readonly route: Route | undefined;
  readonly instance: string | undefined;
  readonly status: number;
  readonly failure: FailureKind | undefined;
  readonly attempts: number;
  readonly durationMs: number;
  readonly upstreamMs: number;
  readonly overheadMs: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/** The access record of one exchange: what the head says is taken down at once, since heads do not last. */
export class AccessEntry {
  readonly record = emptyAccessRecord();

  capture(head: RequestHead, buffer: Buffer, wallMs: number): void {
    const { record } = this;
    record.wallMs = wallMs;
    record.method = buffer.toString('latin1', head.methodStart, head.methodEnd);
    record.target = buffer.toString('latin1', head.targetStart, head.targetEnd);
    record.host = buffer.toString('latin1', head.authorityStart, head.authorityEnd);
    record.traceparent = head.text(buffer, Field.traceparent);
    record.userAgent = head.text(buffer, Field.userAgent);
  }

  /** For a request whose head could not be read. */
  clear(wallMs: number): void {
    const { record } = this;
    record.wallMs = wallMs;
    record.method = undefined;
    record.target = undefined;
    record.host = undefined;
    record.traceparent = undefined;
    record.userAgent = undefined;
  }

  complete(client: string, requestId: string, ended: Ended): void {
    const { record } = this;
    record.client = client;
    record.requestId = requestId;
    record.service = ended.route?.service.name;
    record.instance = ended.instance;
    record.status = ended.status;
    record.flag = ended.failure && FAILURES[ended.failure].flag;
    record.attempts = ended.attempts;
    record.panic = ended.route?.service.view.panic ?? false;
    record.durationMs = ended.durationMs;
    record.upstreamMs = ended.upstreamMs;
    record.overheadMs = ended.overheadMs;
    record.bytesIn = ended.bytesIn;
    record.bytesOut = ended.bytesOut;
  }
}
