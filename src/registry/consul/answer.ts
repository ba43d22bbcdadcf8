import { RegistryRefusal } from '../backend.ts';
import { parseJson, type HttpReply } from '../http-client.ts';
import { RegistryUnreachable, type RegistryLabel } from '../network-fault.ts';

/** A body with what Consul says about it in its headers. */
export interface Answer {
  readonly body: unknown;
  /** Of what was asked for: to be waited beyond. At least 1. */
  readonly index: bigint;
  readonly endpoint: string;
}

const MAX_INDEX = 2n ** 64n;

/** A server that lost its leader longer ago than this does not know the present, only in `stale` reads does it say so. */
const MAX_STALE_MS = 30_000;

/** Reads an answer of the catalog or health API. Throws a refusal or a loss for everything that is none. */
export function readAnswer(reply: HttpReply, label: RegistryLabel): Answer {
  if (reply.status !== 200) throw errorOf(reply, label);
  const text = reply.header('x-consul-index') ?? '';
  const index = /^\d{1,20}$/.test(text) ? BigInt(text) : MAX_INDEX;
  if (index >= MAX_INDEX) {
    const why = `answered without an X-Consul-Index (${JSON.stringify(text.slice(0, 40))}): no Consul, or a proxy that drops it`;
    const check = `check registries[].${label.addressSetting}`;
    throw new RegistryUnreachable(label, reply.endpoint, { fault: 'protocol', text: `${why}; ${check}` });
  }
  const lastContactMs = Number(reply.header('x-consul-lastcontact') ?? '0');
  if (lastContactMs > MAX_STALE_MS) {
    const why = `heard from its leader ${lastContactMs} ms ago: what it knows is too old; is its cluster healthy?`;
    throw new RegistryUnreachable(label, reply.endpoint, { fault: 'unwell', text: why });
  }
  // An index of 0 is a bug that Consul has had more than once; waiting beyond 0 does not wait at all.
  return { body: parseJson(reply, label), index: index < 1n ? 1n : index, endpoint: reply.endpoint };
}

/**
 * Throws unless an empty answer may mean that there is nothing: not while the server knows no leader, and not where it
 * says (since Consul 1.11) that our token hides something.
 */
export function checkEmpty(reply: HttpReply, label: RegistryLabel): void {
  if (reply.header('x-consul-knownleader') === 'false') {
    const text = 'answered with nothing while it knows no leader: not believed; is its cluster healthy?';
    throw new RegistryUnreachable(label, reply.endpoint, { fault: 'unwell', text });
  }
  if (reply.header('x-consul-results-filtered-by-acls') === 'true') {
    throw refusal(reply, label, `hid what our token may not read. ${GRANT}`);
  }
}

export const GRANT =
  'Give the token of registries[].token a policy with service_prefix "" { policy = "read" } and node_prefix "" { policy = "read" }, or name the services it may read';

/** The error to throw for a status other than 200: a refusal where only an operator can help, a loss otherwise. */
export function errorOf(reply: HttpReply, label: RegistryLabel): Error {
  const said = words(reply);
  if (reply.status === 401 || reply.status === 403 || /ACL not found|Permission denied/.test(said)) {
    return refusal(reply, label, `refused us: ${said}; check registries[].token`);
  }
  const setting = settingAtFault(said);
  if (setting !== undefined) return refusal(reply, label, `refused our query: ${said}; check registries[].${setting}`);
  if (reply.status === 429) {
    const text = `has too many connections from us (${said}); raise its limits.http_max_conns_per_client, or name fewer services in registries[].services`;
    return new RegistryUnreachable(label, reply.endpoint, { fault: 'unwell', text });
  }
  if (reply.status >= 500) {
    const text = `answered that it cannot serve: ${said} (status ${reply.status})`;
    return new RegistryUnreachable(label, reply.endpoint, { fault: 'unwell', text });
  }
  const check = `check registries[].${label.addressSetting}`;
  const text = `what answers there is not Consul's HTTP API (status ${reply.status}: ${said}); ${check}`;
  return new RegistryUnreachable(label, reply.endpoint, { fault: 'protocol', text });
}

/** Consul answers 500 to some mistakes of ours; its words are all there is to tell them by. */
function settingAtFault(said: string): string | undefined {
  if (/boolean expression|filter expression|Selector .* is not valid/i.test(said)) return 'filter';
  if (/Namespaces? are|namespace/i.test(said)) return 'namespace';
  if (/partition/i.test(said)) return 'partition';
  if (/No path to datacenter/i.test(said)) return 'datacenter';
  return undefined;
}

export function refusal(reply: Pick<HttpReply, 'endpoint'>, label: RegistryLabel, text: string): RegistryRefusal {
  return new RegistryRefusal(`registry "${label.registry}" at ${reply.endpoint} ${text}`);
}

/** The first words of a body, fit for a message. */
function words(reply: HttpReply): string {
  const text = reply.body
    .toString('utf8', 0, 300)
    .replaceAll(/[^\x20-\x7e]+/g, ' ')
    .trim();
  return text === '' ? 'no explanation' : text.slice(0, 200);
}
