/**
 * What kind of thing went wrong between us and a registry. Decides the advice, and the label of a metric.
 * `unwell`: it answered that it cannot serve just now.
 */
export type NetworkFault =
  | 'refused'
  | 'unresolved'
  | 'unreachable'
  | 'reset'
  | 'timeout'
  | 'tls'
  | 'certificate'
  | 'protocol'
  | 'too-large'
  | 'unwell';

/** How messages name one registry and the setting that holds its address, in the operator's own words. */
export interface RegistryLabel {
  /** `name` of the registry in the configuration. */
  readonly registry: string;
  /** The key of its address: `address`, `endpoints`, `urls`. */
  readonly addressSetting: string;
  /** What else makes this kind of registry break connections. */
  readonly resetHint?: string | undefined;
}

/** The registry could not be reached, or broke off: lost, not empty. Its message is meant for an operator. */
export class RegistryUnreachable extends Error {
  override readonly name: string = 'RegistryUnreachable';
  readonly fault: NetworkFault;
  readonly endpoint: string;

  constructor(label: RegistryLabel, endpoint: string, explained: ExplainedFault, cause?: unknown) {
    super(`registry "${label.registry}" at ${endpoint}: ${explained.text}`, { cause });
    this.fault = explained.fault;
    this.endpoint = endpoint;
  }
}

/** Every endpoint of a registry failed in the same round. */
export class AllEndpointsFailed extends RegistryUnreachable {
  override readonly name = 'AllEndpointsFailed';
  readonly failures: readonly Error[];

  constructor(label: RegistryLabel, failures: readonly RegistryUnreachable[]) {
    const first = failures[0];
    const all = failures.map((failure) => failure.message).join('; ');
    super(label, failures.map((failure) => failure.endpoint).join(', '), {
      fault: first?.fault ?? 'unreachable',
      text: first ? `none of its endpoints works: ${all}` : `registries[].${label.addressSetting} is empty`,
    });
    this.failures = failures;
  }
}

export interface ExplainedFault {
  readonly fault: NetworkFault;
  readonly text: string;
}

type Advice = readonly [fault: NetworkFault, what: string, advice: (label: RegistryLabel) => string];

const address = (label: RegistryLabel): string => `check registries[].${label.addressSetting}`;
const hint = (label: RegistryLabel): string => (label.resetHint === undefined ? '' : `; ${label.resetHint}`);
const authority = (): string => 'set registries[].tls.ca to the authority that signed it';
const clientCertificate = (): string => 'check registries[].tls.cert and .key';

const ADVICE: ReadonlyMap<string, Advice> = new Map<string, Advice>([
  ['ECONNREFUSED', ['refused', 'connection refused, nothing listens there', address]],
  ['ENOTFOUND', ['unresolved', 'its host name does not resolve', address]],
  ['EAI_AGAIN', ['unresolved', 'its host name cannot be resolved just now', address]],
  ['EHOSTUNREACH', ['unreachable', 'no route to that host', address]],
  ['ENETUNREACH', ['unreachable', 'no route to that network', address]],
  ['ETIMEDOUT', ['timeout', 'the connection timed out', address]],
  ['EADDRNOTAVAIL', ['unreachable', 'no local address or port left to connect from', address]],
  ['EPROTO', ['tls', 'it does not speak TLS there', (label) => `${address(label)}: http:// or https://?`]],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', ['certificate', 'its certificate is self-signed', authority]],
  ['SELF_SIGNED_CERT_IN_CHAIN', ['certificate', 'its certificate comes from an authority not known here', authority]],
  [
    'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
    ['certificate', 'its certificate comes from an authority not known here', authority],
  ],
  ['UNABLE_TO_GET_ISSUER_CERT', ['certificate', 'its certificate comes from an authority not known here', authority]],
  [
    'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
    ['certificate', 'its certificate comes from an authority not known here', authority],
  ],
  ['CERT_SIGNATURE_FAILURE', ['certificate', 'its certificate is not signed by the authority it names', authority]],
  [
    'CERT_HAS_EXPIRED',
    ['certificate', 'its certificate has expired', () => 'renew it, or check the clock of this machine'],
  ],
  ['CERT_NOT_YET_VALID', ['certificate', 'its certificate is not valid yet', () => 'check the clock of this machine']],
  [
    'ERR_TLS_CERT_ALTNAME_INVALID',
    [
      'certificate',
      'its certificate is for another name',
      (label) => `set registries[].tls.serverName, or ${address(label)}`,
    ],
  ],
]);

/**
 * A sentence for an error of net, tls, http or http2: what happened, its code, and the setting to look at.
 * `tls`: the connection was, or was to be, encrypted.
 */
export function explainNetworkError(error: unknown, label: RegistryLabel, tls: boolean): ExplainedFault {
  const code = errorCode(error);
  const [fault, what, advice] = ADVICE.get(code) ?? guess(error, code, tls);
  return { fault, text: `${what} (${code === '' ? messageOf(error) : code}); ${advice(label)}` };
}

/** OpenSSL and llhttp have too many codes to list: their families are told apart here. */
function guess(error: unknown, code: string, tls: boolean): Advice {
  const text = `${code} ${messageOf(error)}`;
  if (/WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|UNEXPECTED_MESSAGE/i.test(text))
    return ADVICE.get('EPROTO') ?? RESET;
  if (/ALERT/i.test(text)) {
    return ['certificate', 'it refused our TLS handshake, most likely our client certificate', clientCertificate];
  }
  if (/PEM|ASN1|KEY_VALUES_MISMATCH|NO_START_LINE|X509|DECODER/i.test(text)) {
    return [
      'certificate',
      'the certificates configured for it cannot be used',
      () => 'check registries[].tls: ca, cert and key',
    ];
  }
  if (/^ERR_SSL|^ERR_TLS|^ERR_OSSL/.test(code)) return ['tls', 'the TLS handshake failed', (label) => address(label)];
  if (code.startsWith('HPE_')) {
    return ['protocol', 'what answers there is not HTTP', (label) => `${address(label)}: http:// or https://?`];
  }
  if (/^ERR_HTTP2/.test(code)) return ['protocol', 'what answers there is not HTTP/2', address];
  return tls ? RESET_TLS : RESET;
}

const RESET: Advice = [
  'reset',
  'the connection broke',
  (label) => `if it never works, ${address(label)}${hint(label)}`,
];
// Many servers hang up without a word on a client that shows no certificate, or the wrong one, or speaks TLS at all.
const RESET_TLS: Advice = [
  'reset',
  'the connection broke',
  (label) => `if it never works, ${address(label)} (http:// or https://?), or ${clientCertificate()}${hint(label)}`,
];

function errorCode(error: unknown): string {
  if (typeof error !== 'object' || error === null) return '';
  if ('code' in error && typeof error.code === 'string') return error.code;
  // A name with several addresses: Node collects one error for each.
  if (error instanceof AggregateError) return errorCode(error.errors[0]);
  return '';
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
