import { type AddressPolicy, normalizeHost } from '../../../core/address.ts';
import { isName, NAME_RULE } from '../../../core/names.ts';
import { RECORD_LIMITS } from '../../record.ts';
import { type Problem, invalid } from '../api/problem.ts';
import type { Registration } from '../record.ts';
import { parseCheck, type ParsedCheck } from './check-body.ts';
import { type Faults, Given } from './given.ts';
import { buildRegistration, type ConsulService } from './service.ts';

const MAX_CHECKS = RECORD_LIMITS.checks;
const MAX_TAGS = 64;
const MESH = 'is not supported: there is no service mesh';
const ENTERPRISE = 'is not supported: there is one namespace, default';

export type ParsedService = { readonly registration: Registration } | { readonly problem: Problem };

/**
 * The body of `PUT /v1/agent/service/register`. `peer` is where the request came from: the address of a service that
 * names none, as it would be an agent's own. What there is not here is refused, never passed over.
 */
export function parseService(body: unknown, peer: string | undefined, addresses: AddressPolicy): ParsedService {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    return { problem: invalid({ field: 'body', message: 'must be an object' }) };
  }
  const faults: Faults = { invalid: [], unsupported: [] };
  const given = new Given(body, '', faults);
  refuseMissing(given);
  const service = given.text('Name', 128) ?? '';
  if (!isName(service)) given.invalid('Name', service === '' ? 'is missing' : `must be ${NAME_RULE}`);
  const id = given.text('ID', 512) ?? service;
  const address = given.text('Address', 253) ?? peer ?? '';
  const host = normalizeHost(address.replace(/^\[(.*)\]$/, '$1').replace(/(?<=.)\.$/, ''));
  if (host === undefined) given.invalid('Address', 'must be an IP address or a host name');
  const port = given.whole('Port', 1, 65_535);
  if (port === undefined && faults.invalid.every(({ field }) => field !== 'Port')) given.invalid('Port', 'is missing');
  const tags = tagsOf(given);
  const meta = metaOf(given);
  const weights = weightsOf(given);
  const zone = zoneOf(given);
  const checks = checksOf(given, { host: host ?? '', service, id });
  given.end();
  if (faults.invalid.length === 0) refuseAddresses(given, host ?? '', port ?? 0, checks, addresses);
  // What there is not often makes the rest look wrong.
  if (faults.unsupported.length > 0) return { problem: unsupported(faults) };
  if (faults.invalid.length > 0) return { problem: invalid(...faults.invalid.slice(0, 20)) };

  const told: ConsulService = {
    address: host ?? '',
    port: port ?? 0,
    tags,
    meta: [...meta],
    weights,
    zone,
    checks: checks.map(({ check }) => check),
  };
  const overrides = checks.flatMap(({ override }) => override ?? []);
  const ttlMs = checks.find((each) => each.ttlMs !== undefined)?.ttlMs;
  const named = { service, id, ttlMs, overrides: overrides.length > 0 ? overrides : undefined };
  const registration = buildRegistration(named, told);
  if (typeof registration !== 'string') return { registration };
  return { problem: invalid({ field: 'body', message: registration }) };
}

function unsupported({ unsupported: errors }: Faults): Problem {
  return {
    status: 501,
    title: 'The embedded registry does not support this part of Consul',
    errors: errors.slice(0, 20),
  };
}

function refuseMissing(given: Given): void {
  given.refuse(['Kind', 'Proxy', 'Connect'], MESH);
  given.refuse(['SocketPath'], 'is not supported: instances are reached by TCP');
  given.refuse(['TaggedAddresses'], 'is not supported: an instance has one address');
  given.refuse(['Ports'], 'is not supported: an instance has one port');
  given.refuse(['EnableTagOverride'], 'is not supported: tags change by registering again');
  for (const key of ['Namespace', 'Partition']) {
    const name = given.text(key, 128);
    if (name !== undefined && name !== 'default') given.unsupported(key, ENTERPRISE);
  }
  // Sent as the header is, and checked there.
  given.take('Token');
}

function tagsOf(given: Given): readonly string[] {
  const value = given.take('Tags');
  if (value === undefined) return [];
  const tags = Array.isArray(value) ? value.filter((tag): tag is string => typeof tag === 'string') : [];
  const fits = Array.isArray(value) && tags.length === value.length && tags.length <= MAX_TAGS;
  if (!fits || tags.some((tag) => tag.length > 256)) {
    given.invalid('Tags', `must be a list of at most ${MAX_TAGS} texts of at most 256 characters`);
  }
  return tags;
}

function metaOf(given: Given): ReadonlyMap<string, string> {
  const meta = given.texts('Meta');
  const bytes = [...meta].reduce((sum, [key, text]) => sum + Buffer.byteLength(key) + Buffer.byteLength(text), 0);
  const { metadataBytes, metadataEntries } = RECORD_LIMITS;
  if (bytes > metadataBytes || meta.size > metadataEntries) {
    given.invalid('Meta', `must be at most ${metadataEntries} entries of ${metadataBytes} bytes in all`);
  }
  return meta;
}

function weightsOf(given: Given): ConsulService['weights'] {
  const weights = given.object('Weights');
  // An explicit Warning of 0 is not told from a missing one once zeros are dropped; Consul fills in 1 only without Weights.
  const passing = weights?.whole('Passing', 1, 65_535) ?? 1;
  const warning = weights === undefined ? 1 : (weights.whole('Warning', 0, 65_535) ?? 0);
  weights?.end();
  return { Passing: passing, Warning: warning };
}

function zoneOf(given: Given): string | undefined {
  const locality = given.object('Locality');
  const zone = locality?.text('Zone', 128);
  locality?.take('Region');
  locality?.end();
  return zone;
}

function checksOf(
  given: Given,
  { host, service, id }: { readonly host: string; readonly service: string; readonly id: string },
): readonly ParsedCheck[] {
  const one = given.object('Check');
  const all = [...(one ? [one] : []), ...given.objects('Checks', MAX_CHECKS)];
  const checks = all.map((each, at) =>
    parseCheck(each, { host, service, id: all.length === 1 ? `service:${id}` : `service:${id}:${at + 1}` }),
  );
  if (new Set(checks.map(({ check }) => check.id)).size < checks.length) {
    given.invalid('Checks', 'must not have the same CheckID twice');
  }
  if (checks.filter(({ ttlMs }) => ttlMs !== undefined).length > 1) {
    given.unsupported('Checks', 'more than one TTL check of a service is not supported');
  }
  return checks;
}

function refuseAddresses(
  given: Given,
  host: string,
  port: number,
  checks: readonly ParsedCheck[],
  addresses: AddressPolicy,
): void {
  const portRefused = addresses.refusePort(port);
  const hostRefused = addresses.refuseHost(host, port);
  if (portRefused !== undefined) given.invalid('Port', `is refused: ${portRefused}`);
  else if (hostRefused !== undefined) given.invalid('Address', `is refused: ${hostRefused}`);
  for (const { override } of checks) {
    const refused = override?.port === undefined ? undefined : addresses.refuseHost(host, override.port);
    if (refused !== undefined) given.invalid('Checks', `is refused: ${refused}`);
  }
}
