import { asFields, asList, keyOf, textOf, type Fields } from './registration.ts';

/** One registration out of an answer. */
export interface Registration {
  /** In lower case: applications have one name, however it is spelled. */
  readonly app: string;
  readonly key: string;
  readonly deleted: boolean;
  readonly fields: Fields;
}

export interface Applications {
  /** `STATUS_count_` of every status there is, as the server counts the whole registry. */
  readonly hash: string | undefined;
  readonly registrations: readonly Registration[];
  /** Registrations without anything to know them by. They count in the hash, so it cannot match while there are any. */
  readonly nameless: number;
}

/**
 * `{"applications": {"apps__hashcode", "application": [{"name", "instance": […]}]}}`, the answer to `apps/` and to
 * `apps/delta`. Undefined where the JSON is anything else.
 */
export function parseApplications(json: unknown): Applications | undefined {
  const applications = asFields(asFields(json)?.['applications']);
  if (!applications) return undefined;
  const registrations: Registration[] = [];
  let nameless = 0;
  for (const application of asList(applications['application'])) {
    const name = textOf(asFields(application)?.['name']);
    for (const each of asList(asFields(application)?.['instance'])) {
      const fields = asFields(each);
      const app = name ?? textOf(fields?.['app']);
      const key = fields && keyOf(fields);
      if (fields && app !== undefined && key !== undefined) {
        registrations.push({ app: app.toLowerCase(), key, deleted: fields['actionType'] === 'DELETED', fields });
      } else nameless += 1;
    }
  }
  const hash = applications['apps__hashcode'];
  return { hash: typeof hash === 'string' ? hash : undefined, registrations, nameless };
}
