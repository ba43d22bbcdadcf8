import { normalizeIp } from '../../../core/address.ts';
import type { Instance } from '../../../core/instance.ts';
import type { Fields } from '../../eureka/registration.ts';
import type { Registration } from '../record.ts';
import { DEFAULT_CENTER } from './body.ts';
import { DEFAULT_LEASE_MS, saidOf, statusWord } from './build.ts';

/** One instance at one moment. */
export interface Shown {
  readonly instance: Instance;
  readonly registration: Registration;
}

export type Action = 'ADDED' | 'MODIFIED' | 'DELETED';

/**
 * InstanceInfo as Eureka's JSON has it. What was registered here is told as it was put; what was registered in another
 * dialect is told so that clients of this one find all they look for.
 */
export function instanceInfo({ instance, registration }: Shown, action: Action): Fields {
  const said = saidOf(registration);
  const { service, host, port, secure } = instance;
  const fields = said?.fields ?? {};
  const metadata = said ? instance.metadata : withLifted(instance);
  return {
    instanceId: registration.origin?.dialect === 'eureka' ? registration.origin.id : instance.id,
    hostName: host,
    app: service.toUpperCase(),
    ipAddr: normalizeIp(host) ?? '',
    port: { $: secure ? 80 : port, '@enabled': String(!secure) },
    securePort: { $: secure ? port : 443, '@enabled': String(secure) },
    vipAddress: service,
    secureVipAddress: service,
    dataCenterInfo: { '@class': DEFAULT_CENTER, name: 'MyOwn' },
    ...without(fields, 'renewalIntervalInSecs'),
    status: statusWord(instance),
    overriddenStatus: said?.override ?? 'UNKNOWN',
    countryId: 1,
    leaseInfo: {
      renewalIntervalInSecs: fields['renewalIntervalInSecs'] ?? 30,
      durationInSecs: Math.ceil((registration.ttlMs ?? DEFAULT_LEASE_MS) / 1000),
      registrationTimestamp: 0,
      lastRenewalTimestamp: 0,
      evictionTimestamp: 0,
      serviceUpTimestamp: 0,
    },
    metadata: metadata.size > 0 ? Object.fromEntries(metadata) : { '@class': 'java.util.Collections$EmptyMap' },
    isCoordinatingDiscoveryServer: 'false',
    lastUpdatedTimestamp: '0',
    lastDirtyTimestamp: numberText(fields['lastDirtyTimestamp']),
    actionType: action,
  };
}

/** What other dialects have fields for, Eureka's clients look for in metadata. */
function withLifted({ metadata, weight, zone, version }: Instance): ReadonlyMap<string, string> {
  const lifted = new Map<string, string>();
  if (weight !== 1) lifted.set('weight', String(weight));
  if (zone !== undefined) lifted.set('zone', zone);
  if (version !== undefined) lifted.set('version', version);
  return lifted.size === 0 ? metadata : new Map([...lifted, ...metadata]);
}

function without(fields: Fields, key: string): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([each]) => each !== key));
}

/** Applications.getReconcileHashCode: every status that occurs, sorted, with its count. */
export function reconcileHash(all: Iterable<Pick<Shown, 'instance'>>): string {
  const counts = new Map<string, number>();
  for (const { instance } of all) {
    const status = statusWord(instance);
    counts.set(status, (counts.get(status) ?? 0) + 1);
  }
  const present = [...counts].sort(([one], [other]) => (one < other ? -1 : 1));
  return present.map(([status, count]) => `${status}_${count}_`).join('');
}

function numberText(value: unknown): string {
  return typeof value === 'number' ? String(value) : '0';
}
