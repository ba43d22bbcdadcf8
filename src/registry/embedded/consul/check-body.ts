import { normalizeHost, normalizeIp } from '../../../core/address.ts';
import type { CheckOverride } from '../../../core/check.ts';
import type { Given } from './given.ts';
import type { CheckStatus, ConsulCheck } from './service.ts';

export interface ParsedCheck {
  readonly check: ConsulCheck;
  readonly ttlMs: number | undefined;
  /** How the gateway carries it out. */
  readonly override: CheckOverride | undefined;
}

export interface CheckContext {
  /** The instance's own; checks go nowhere else. */
  readonly host: string;
  /** Where the check brings none. */
  readonly id: string;
  readonly service: string;
}

const STATUSES: readonly CheckStatus[] = ['passing', 'warning', 'critical'];
const RUNS_HERE = 'is not supported: the gateway runs no commands on behalf of those who register';
const ELSEWHERE = 'is not supported: checks are TTL, HTTP, TCP and GRPC';
/** As Consul: shorter ones are made this long. */
const MIN_CRITICAL_MS = 60_000;
const DAY_MS = 86_400_000;

/** One check of a registration. What is wrong with it is reported to where `given` reports. */
export function parseCheck(given: Given, context: CheckContext): ParsedCheck {
  given.refuse(['Args', 'ScriptArgs', 'Script', 'Shell', 'DockerContainerID'], RUNS_HERE);
  given.refuse(
    ['AliasNode', 'AliasService', 'H2PING', 'H2PingUseTLS', 'UDP', 'OSService', 'ProxyHTTP', 'ProxyGRPC'],
    ELSEWHERE,
  );
  given.refuse(
    ['Body', 'TLSServerName', 'TCPUseTLS', 'DisableRedirects'],
    'is not supported by the checks of the gateway',
  );
  given.refuse(['FailuresBeforeWarning'], 'is not supported: probes pass or fail');
  // They say nothing that a check here does not do anyway.
  for (const key of ['OutputMaxSize', 'ServiceID', 'Type', 'EnterpriseMeta']) given.take(key);
  const id = given.text('CheckID', 512) ?? given.text('ID', 512) ?? context.id;
  const name = given.text('Name', 256) ?? `Service '${context.service}' check`;
  const notes = given.text('Notes', 1024) ?? '';
  const status = statusOf(given);
  const limitMs = given.duration('DeregisterCriticalServiceAfter', 0, 30 * DAY_MS);
  const sound = given.faults;
  const ttlMs = given.duration('TTL', 1000, DAY_MS);
  const override = probeOf(given, context, ttlMs !== undefined || given.faults > sound);
  given.end();
  const type = override === undefined ? 'ttl' : override.type === 'https' ? 'http' : override.type;
  const criticalLimitMs = limitMs === undefined ? undefined : Math.max(MIN_CRITICAL_MS, limitMs);
  const check = { id, name, notes, type: type as ConsulCheck['type'], status, output: '', criticalLimitMs };
  return { check, ttlMs, override };
}

function statusOf(given: Given): CheckStatus {
  const text = given.text('Status', 32);
  if (text === undefined) return 'critical';
  const status = STATUSES.find((each) => each === text);
  if (status === undefined) given.invalid('Status', 'must be passing, warning or critical');
  return status ?? 'critical';
}

function probeOf(given: Given, context: CheckContext, hasTtl: boolean): CheckOverride | undefined {
  const http = given.text('HTTP', 2048);
  const tcp = given.text('TCP', 512);
  const grpc = given.text('GRPC', 512);
  const kinds = [hasTtl, http !== undefined, tcp !== undefined, grpc !== undefined].filter(Boolean).length;
  const timing = timingOf(given);
  if (kinds !== 1) {
    given.invalid('TTL', 'must be given, or one of HTTP, TCP and GRPC in its place, and only one');
    return undefined;
  }
  if (hasTtl) return undefined;
  if (timing.intervalMs === undefined) given.invalid('Interval', 'is missing: how often to check, such as "10s"');
  if (http !== undefined) return httpProbe(given, http, context, timing);
  if (tcp !== undefined) {
    const at = splitTarget(tcp);
    return ownTarget(given, 'TCP', at, context) ? { type: 'tcp', port: at?.port ?? 0, ...timing } : undefined;
  }
  const [target = '', ...rest] = (grpc ?? '').split('/');
  const at = splitTarget(target);
  const tls = given.flag('GRPCUseTLS');
  const verifyTls = !given.flag('TLSSkipVerify');
  if (!ownTarget(given, 'GRPC', at, context)) return undefined;
  return { type: 'grpc', port: at?.port ?? 0, grpcService: rest.join('/'), tls, verifyTls, ...timing };
}

type Timing = Pick<CheckOverride, 'intervalMs' | 'timeoutMs' | 'healthyThreshold' | 'unhealthyThreshold'>;

function timingOf(given: Given): Timing {
  const intervalMs = given.duration('Interval', 1000, 3_600_000);
  const timeoutMs = given.duration('Timeout', 10, 60_000);
  const healthyThreshold = given.whole('SuccessBeforePassing', 1, 100);
  const unhealthyThreshold = given.whole('FailuresBeforeCritical', 1, 100);
  return {
    ...(intervalMs === undefined ? {} : { intervalMs }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(healthyThreshold === undefined ? {} : { healthyThreshold }),
    ...(unhealthyThreshold === undefined ? {} : { unhealthyThreshold }),
  };
}

function httpProbe(given: Given, text: string, context: CheckContext, timing: Timing): CheckOverride | undefined {
  const method = given.text('Method', 16) ?? 'GET';
  // A registration must not make the gateway change anything anywhere.
  if (!/^(?:GET|HEAD|OPTIONS)$/.test(method)) given.invalid('Method', 'must be GET, HEAD or OPTIONS');
  const headers = headersOf(given);
  const verifyTls = !given.flag('TLSSkipVerify');
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') {
    given.invalid('HTTP', 'must be a URL such as http://10.0.0.7:8080/health');
    return undefined;
  }
  const secure = url.protocol === 'https:';
  const port = url.port === '' ? (secure ? 443 : 80) : Number(url.port);
  if (!ownTarget(given, 'HTTP', { host: url.hostname.replace(/^\[(.*)\]$/, '$1'), port }, context)) return undefined;
  const path = `${url.pathname}${url.search}`;
  // What Consul takes for passing.
  const statuses = [[200, 299]] as const;
  return {
    type: secure ? 'https' : 'http',
    port,
    path,
    method,
    headers,
    statuses,
    ...(secure ? { verifyTls } : {}),
    ...timing,
  };
}

const TOKEN = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$/;
/** Framing, routing and the connection belong to the probe. */
const PROBE_HEADERS =
  /^(?:connection|content-length|expect|host|keep-alive|proxy-connection|te|trailer|transfer-encoding|upgrade)$/i;

/** `{"Name": ["value", …]}` */
function headersOf(given: Given): readonly (readonly [string, string])[] {
  const value = given.take('Header');
  if (value === undefined) return [];
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  const lists: [string, unknown][] = isObject ? Object.entries(value) : [['', undefined]];
  const headers = lists.flatMap(([name, values]) =>
    (Array.isArray(values) ? values : [undefined]).map((each: unknown): [string, string] => [
      name,
      typeof each === 'string' ? each : '\n',
    ]),
  );
  const fits = headers.every(
    ([name, text]) => TOKEN.test(name) && !PROBE_HEADERS.test(name) && /^[\x20-\x7e]{0,1024}$/.test(text),
  );
  if (fits && headers.length <= 16) return headers;
  given.invalid('Header', 'must be lists of printable texts by name, at most 16, and none that the probe sets itself');
  return [];
}

function splitTarget(text: string): { readonly host: string; readonly port: number } | undefined {
  const [, bracketed, bare, port = ''] = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? bare;
  return host === undefined ? undefined : { host, port: Number(port) };
}

/**
 * Whether the check stays on the instance's own host, so that nobody makes a scanner of the gateway. Loopback is where
 * an agent beside the instance would look, and so means that host too.
 */
function ownTarget(
  given: Given,
  key: string,
  at: { readonly host: string; readonly port: number } | undefined,
  { host }: CheckContext,
): boolean {
  const named = at && normalizeHost(at.host.replace(/\.$/, ''));
  if (at && named !== undefined && at.port >= 1 && at.port <= 65_535) {
    if (named === host || isLoopback(named)) return true;
    given.invalid(key, `must be at the host of the service itself, ${host}, as checks go nowhere else`);
  } else given.invalid(key, 'must name a host and a port from 1 to 65535');
  return false;
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (normalizeIp(host)?.startsWith('127.') ?? false);
}
