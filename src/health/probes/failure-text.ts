import type { ProbeAnswer } from '../probe.ts';

/** Lack of something that belongs to the whole gateway. */
const OUT_OF: ReadonlyMap<string, string> = new Map([
  ['EMFILE', 'the gateway has no file descriptors left (EMFILE): raise its limit, LimitNOFILE or ulimit -n'],
  ['ENFILE', 'the machine has no file descriptors left (ENFILE)'],
  ['ENOBUFS', 'the machine has no network buffers left (ENOBUFS)'],
  ['ENOMEM', 'the machine has no memory left for it (ENOMEM)'],
  ['EAGAIN', 'the machine has no processes or sockets left for it (EAGAIN)'],
]);

const MEANINGS: ReadonlyMap<string, string> = new Map([
  ['ECONNREFUSED', 'connection refused'],
  ['ECONNRESET', 'connection reset'],
  ['ECONNABORTED', 'connection aborted'],
  ['EPIPE', 'connection closed while the request was sent'],
  ['ETIMEDOUT', 'connection timed out'],
  ['EHOSTUNREACH', 'no route to the host'],
  ['EHOSTDOWN', 'the host is down'],
  ['ENETUNREACH', 'network unreachable'],
  ['EACCES', 'not permitted to connect (a firewall rule on this machine?)'],
  ['EPERM', 'not permitted to connect (a firewall rule on this machine?)'],
  ['ENOTFOUND', 'the host name does not resolve'],
  ['EAI_AGAIN', 'the name server does not answer'],
  ['ENODATA', 'the host name has no address'],
  ['ERR_SOCKET_BAD_PORT', 'the port is none'],
  ['CERT_HAS_EXPIRED', 'TLS: the certificate has expired'],
  ['CERT_NOT_YET_VALID', 'TLS: the certificate is not valid yet'],
  ['CERT_REVOKED', 'TLS: the certificate has been revoked'],
  ['ERR_TLS_CERT_ALTNAME_INVALID', 'TLS: the certificate is for another host'],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', 'TLS: the certificate is self-signed'],
  ['SELF_SIGNED_CERT_IN_CHAIN', 'TLS: the certificate leads to a root that is not trusted'],
  ['UNABLE_TO_GET_ISSUER_CERT', 'TLS: the issuer of the certificate is unknown'],
  ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'TLS: the issuer of the certificate is not trusted'],
  [
    'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
    'TLS: the issuer of the certificate is not trusted (an intermediate one may be missing)',
  ],
  ['ERR_SSL_WRONG_VERSION_NUMBER', 'TLS: the port does not speak TLS'],
  ['ERR_SSL_PACKET_LENGTH_TOO_LONG', 'TLS: the port does not speak TLS'],
  ['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', 'TLS: no common protocol version'],
  ['ERR_SSL_UNSUPPORTED_PROTOCOL', 'TLS: no common protocol version'],
  ['ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE', 'TLS: the server refused the handshake'],
  ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', 'TLS: the server asks for a client certificate'],
  ['ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL', 'TLS: the server does not speak the protocol asked for'],
  ['ERR_SSL_TLSV1_UNRECOGNIZED_NAME', 'TLS: the server knows no such host'],
]);

/** Codes of ours, whose messages are written by us: by the address policy, for one. */
const OWN_WORDS: ReadonlySet<string> = new Set(['ERR_ADDRESS_REFUSED']);
const MAX_CHARACTERS = 200;

/**
 * What an error of a socket, a resolver or TLS says of the instance, in words for operators. Only codes are looked at:
 * messages may hold what the other side sent.
 */
export function failureOf(error: unknown): ProbeAnswer {
  const code = codeOf(error);
  if (OWN_WORDS.has(code) && error instanceof Error)
    return { result: 'fail', text: error.message.slice(0, MAX_CHARACTERS) };
  return failureOfCode(code);
}

/** The same, where there is nothing but the code: an errno name, or one of Node's. */
export function failureOfCode(code: string): ProbeAnswer {
  const outOf = OUT_OF.get(code);
  if (outOf !== undefined) return { result: 'unable', text: outOf, everywhere: true };
  if (code === 'EADDRNOTAVAIL') {
    return {
      result: 'unable',
      text: 'no local address or port is left to connect from (EADDRNOTAVAIL)',
      everywhere: false,
    };
  }
  return {
    result: 'fail',
    text: MEANINGS.get(code) ?? `connection failed (${/^[A-Z0-9_]{1,60}$/.test(code) ? code : 'unknown error'})`,
  };
}

export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}
