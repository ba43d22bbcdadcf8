/** How one attempt on one instance ended, as the breaker, the balancer and the metrics see it. */
export type Outcome =
  | 'success'
  /** Connection refused, unreachable, or not made in time: nothing was sent. */
  | 'connect-failed'
  /** Broken before the end of the response. */
  | 'reset'
  | 'timeout'
  /** The answer was not HTTP. */
  | 'protocol-error'
  /** A status that counts as a failure of the instance (502, 503, 504 by default). */
  | 'bad-status'
  /** The client went away, or the gateway moved the attempt: says nothing about the instance. */
  | 'cancelled';

export const OUTCOMES: readonly Outcome[] = [
  'success',
  'connect-failed',
  'reset',
  'timeout',
  'protocol-error',
  'bad-status',
  'cancelled',
];
