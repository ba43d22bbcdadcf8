/** Why a message was refused: `reason` is a metric label and stands in the log; `status` is what a client gets. */
export interface Refusal {
  readonly status: 400 | 405 | 413 | 414 | 417 | 431 | 501 | 505;
  readonly reason: string;
  readonly detail: string;
}

function refusal(status: Refusal['status'], reason: string, detail: string): Refusal {
  return { status, reason, detail };
}

export const REFUSALS = {
  bareLf: refusal(400, 'bare-lf', 'a line ends in LF without CR'),
  bareCr: refusal(400, 'bare-cr', 'CR without LF'),
  badMethod: refusal(400, 'bad-method', 'the method is not a token of at most 32 characters'),
  badTarget: refusal(
    400,
    'bad-target',
    'the request target has a character that must be percent-encoded, or is of no known form',
  ),
  targetTooLong: refusal(414, 'target-too-long', 'the request target is longer than gateway.limits.targetBytes'),
  badRequestLine: refusal(400, 'bad-request-line', 'not "method SP target SP HTTP/1.1"'),
  badVersion: refusal(505, 'bad-version', 'only HTTP/1.1 and HTTP/1.0 are spoken here'),
  badFieldName: refusal(
    400,
    'bad-field-name',
    'a field name is empty, is no token, or is not followed by a colon at once',
  ),
  folded: refusal(400, 'folded-field', 'a field continues on a second line'),
  badFieldValue: refusal(400, 'bad-field-value', 'a field value has a control character'),
  headTooLarge: refusal(431, 'head-too-large', 'the request head is larger than gateway.limits.headBytes'),
  tooManyFields: refusal(431, 'too-many-fields', 'the request has more fields than gateway.limits.headFields'),
  badHost: refusal(400, 'bad-host', 'Host is missing, repeated or not "name" or "name:port"'),
  hostMismatch: refusal(400, 'host-mismatch', 'the authority of the target and Host differ'),
  lengthAndCoding: refusal(400, 'length-and-coding', 'Content-Length and Transfer-Encoding together'),
  badLength: refusal(400, 'bad-length', 'Content-Length is repeated or not a plain decimal number'),
  badCoding: refusal(400, 'bad-coding', 'Transfer-Encoding is repeated, malformed, or chunked is not its last coding'),
  unknownCoding: refusal(501, 'unknown-coding', 'a transfer coding other than chunked'),
  badChunk: refusal(400, 'bad-chunk', 'the chunked body is malformed'),
  badExpect: refusal(417, 'bad-expect', 'an expectation other than 100-continue'),
  methodNotAllowed: refusal(405, 'method-not-allowed', 'CONNECT and TRACE are not served'),
  bodyTooLarge: refusal(413, 'body-too-large', 'Content-Length has more than 15 digits'),
} as const satisfies Record<string, Refusal>;
