import { isName, NAME_RULE } from '../core/names.ts';
import type { ServicePolicy } from '../core/policy.ts';
import { validate, type Complaint } from './complaint.ts';
import type { ConfigDocument } from './document.ts';
import { isGroup, mergePolicy, PLAIN_CHECK } from './merge-policy.ts';
import { defaultsSchema, serviceSchema, toServicePolicy } from './policy-schema.ts';
import type { Path } from './yaml-source.ts';

export interface Policies {
  /** undefined where `defaults` are not valid. */
  readonly defaultPolicy: ServicePolicy | undefined;
  /** The services that are valid. */
  readonly services: ReadonlyMap<string, ServicePolicy>;
  readonly complaints: readonly Complaint[];
}

type Group = Readonly<Record<string, unknown>>;

/** The policies of `defaults` and of each of `services`, as written. */
export function evaluatePolicies(defaults: Group, services: Group, document: ConfigDocument): Policies {
  const base = mergePolicy({ health: PLAIN_CHECK }, defaults);
  const ofDefaults = validate(defaultsSchema, base, ['defaults']);
  const complaints: Complaint[] = 'complaints' in ofDefaults ? [...ofDefaults.complaints] : [];
  const said = new Set(complaints.map((each) => identity(each, 'defaults')));
  const policies = new Map<string, ServicePolicy>();
  for (const [name, given] of Object.entries(services)) {
    if (!isName(name)) {
      complaints.push({ path: ['services', name], at: 'key', message: `wants a name: ${NAME_RULE}`, wantsText: false });
    }
    // `payment:` with nothing behind it names a service that is as `defaults` say.
    const merged = isGroup(given) || given === null ? mergePolicy(base, given ?? {}) : given;
    const validated = validate(serviceSchema, merged, ['services', name]);
    if ('value' in validated) policies.set(name, toServicePolicy(validated.value));
    // What a service only inherits has been said of `defaults`.
    else
      complaints.push(
        ...validated.complaints.filter((each) => document.has(each.path) || !said.has(identity(each, 'services'))),
      );
  }
  return {
    defaultPolicy: 'value' in ofDefaults ? toServicePolicy(ofDefaults.value) : undefined,
    services: policies,
    complaints,
  };
}

/** The same for what is wrong with `defaults` and for what a service inherits of it, be it in a list of checks. */
function identity({ path, message }: Complaint, under: 'defaults' | 'services'): string {
  const inner: Path = path.slice(under === 'defaults' ? 1 : 2);
  const plain = inner[0] === 'health' ? inner.filter((part, index) => index !== 1 || typeof part !== 'number') : inner;
  return JSON.stringify([plain, message]);
}
