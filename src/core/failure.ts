/**
 * Every way in which the gateway itself answers instead of an instance. `flag` is what operators see in the access
 * log, the reply and the metrics; `proxyError` is the RFC 9209 (section 2.3) error type.
 */
export type FailureKind =
  | 'no-route'
  | 'no-instance'
  | 'overloaded'
  | 'connect-failed'
  | 'upstream-reset'
  | 'upstream-protocol'
  | 'upstream-timeout'
  | 'request-timeout'
  | 'bad-request'
  | 'client-gone';

export interface FailureMeaning {
  readonly status: number;
  readonly flag: 'NR' | 'UH' | 'UO' | 'UF' | 'UC' | 'UP' | 'UT' | 'DT' | 'DP' | 'DC';
  readonly proxyError: string;
  readonly title: string;
}

export const FAILURES: Readonly<Record<FailureKind, FailureMeaning>> = {
  'no-route': { status: 404, flag: 'NR', proxyError: 'destination_not_found', title: 'No such host' },
  'no-instance': { status: 503, flag: 'UH', proxyError: 'destination_unavailable', title: 'No instance to send to' },
  overloaded: {
    status: 503,
    flag: 'UO',
    proxyError: 'connection_limit_reached',
    title: 'Every breaker is open, or a limit is reached',
  },
  'connect-failed': {
    status: 502,
    flag: 'UF',
    proxyError: 'connection_refused',
    title: 'No instance could be reached',
  },
  'upstream-reset': {
    status: 502,
    flag: 'UC',
    proxyError: 'connection_terminated',
    title: 'The instance broke the connection',
  },
  'upstream-protocol': {
    status: 502,
    flag: 'UP',
    proxyError: 'http_protocol_error',
    title: 'The instance did not answer in HTTP',
  },
  'upstream-timeout': {
    status: 504,
    flag: 'UT',
    proxyError: 'http_response_timeout',
    title: 'The instance was too slow',
  },
  'request-timeout': { status: 408, flag: 'DT', proxyError: 'connection_timeout', title: 'The request was too slow' },
  'bad-request': { status: 400, flag: 'DP', proxyError: 'http_request_error', title: 'Malformed request' },
  'client-gone': { status: 499, flag: 'DC', proxyError: 'http_request_error', title: 'The client went away' },
};
