import type { CheckTiming } from '../core/check.ts';
import { FAILURES, type FailureKind } from '../core/failure.ts';
import type { Outcome } from '../core/outcome.ts';
import type { View } from '../upstream/view.ts';

export interface Reply {
  readonly kind: FailureKind;
  /** In place of the kind's own status: refusals have one each. */
  readonly status?: number | undefined;
  /** One sentence for people; part of the body. */
  readonly detail: string;
  readonly requestId: string;
  /** Seconds; sent with 503. */
  readonly retryAfterSeconds?: number;
  readonly close: boolean;
  /** The answer to HEAD: everything but the body. */
  readonly omitBody: boolean;
  readonly keepAliveForOldClient?: boolean;
}

const REASONS: ReadonlyMap<number, string> = new Map([
  [400, 'Bad Request'],
  [404, 'Not Found'],
  [405, 'Method Not Allowed'],
  [408, 'Request Timeout'],
  [413, 'Content Too Large'],
  [414, 'URI Too Long'],
  [417, 'Expectation Failed'],
  [431, 'Request Header Fields Too Large'],
  [501, 'Not Implemented'],
  [502, 'Bad Gateway'],
  [503, 'Service Unavailable'],
  [504, 'Gateway Timeout'],
  [505, 'HTTP Version Not Supported'],
]);

/** A whole answer of the gateway itself: problem+json (RFC 9457) with `Proxy-Status` (RFC 9209). */
export function renderReply(reply: Reply): Buffer {
  const meaning = FAILURES[reply.kind];
  const status = reply.status ?? meaning.status;
  const body = `${JSON.stringify({
    type: 'about:blank',
    title: meaning.title,
    status,
    detail: reply.detail,
    flag: meaning.flag,
    requestId: reply.requestId,
  })}\n`;
  const lines = [
    `HTTP/1.1 ${status} ${REASONS.get(status) ?? 'Error'}`,
    'Content-Type: application/problem+json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Cache-Control: no-store',
    `Proxy-Status: fairlead; error=${meaning.proxyError}`,
    `X-Request-Id: ${reply.requestId}`,
  ];
  if (status === 503) lines.push(`Retry-After: ${reply.retryAfterSeconds ?? 1}`);
  if (status === 405) lines.push('Allow: GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS');
  if (reply.close) lines.push('Connection: close');
  else if (reply.keepAliveForOldClient) lines.push('Connection: keep-alive');
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n${reply.omitBody ? '' : body}`, 'latin1');
}

interface Told {
  readonly kind: FailureKind;
  readonly detail: string;
}

/** What a client is told when no instance could be picked. */
export function unpicked({ empty }: Pick<View, 'empty'>): Told {
  if (empty === 'none-registered') return { kind: 'no-instance', detail: 'no instance is registered' };
  if (empty === 'none-available')
    return { kind: 'no-instance', detail: 'no registered instance is healthy and in rotation' };
  return { kind: 'overloaded', detail: 'every instance that could serve is out by its breaker or by ejection' };
}

/** What a client is told of a failed attempt that nobody could make good. */
export function failureOf(outcome: Outcome, reason: string): Told {
  switch (outcome) {
    case 'connect-failed':
      return { kind: 'connect-failed', detail: `the instance could not be reached (${reason})` };
    case 'timeout':
      return { kind: 'upstream-timeout', detail: 'the instance did not answer in time' };
    case 'protocol-error':
      return { kind: 'upstream-protocol', detail: `the instance did not answer in HTTP (${reason})` };
    case 'reset':
    case 'bad-status':
    case 'cancelled':
    case 'success':
      return { kind: 'upstream-reset', detail: `the instance broke the connection (${reason})` };
  }
}

/** Soon enough after the next probe, which may bring an instance back; half a minute at most. */
export function retryAfterSeconds(checks: readonly CheckTiming[]): number {
  const soonestMs = Math.min(30_000, ...checks.map((check) => check.intervalMs));
  return checks.length === 0 ? 1 : Math.max(1, Math.ceil(soonestMs / 1000));
}
