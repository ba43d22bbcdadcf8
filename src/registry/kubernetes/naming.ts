import type { Interest } from '../backend.ts';
import { SERVICE_LABEL } from './slice.ts';

/** RFC 1123: what a service of Kubernetes can be called. Above all, it has no dot. */
const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const MAX_SELECTOR_CHARS = 4000;

/**
 * What services are called here: by their plain name in the first namespace, `name.namespace` in every further one.
 * Adding a namespace so renames nothing, and as a plain name has no dot, no two services can share one.
 */
export class Naming {
  readonly #first: string | undefined;

  constructor(namespaces: readonly string[]) {
    this.#first = namespaces[0];
  }

  /** Undefined where Kubernetes would not call a service so. */
  nameOf(namespace: string, service: string): string | undefined {
    if (!LABEL.test(service)) return undefined;
    return namespace === this.#first ? service : `${service}.${namespace}`;
  }

  /** The services of interest in one namespace, by their names there. */
  wantedIn(namespace: string, interest: Interest): ReadonlySet<string> | 'all' {
    if (interest.kind === 'all') return 'all';
    const suffix = namespace === this.#first ? '' : `.${namespace}`;
    const plain = [...interest.names]
      .filter((name) => name.endsWith(suffix))
      .map((name) => name.slice(0, name.length - suffix.length));
    return new Set(plain.filter((name) => LABEL.test(name)));
  }
}

/**
 * The label selector for a list or watch. Where the wanted services are too many to be named, all are asked for, and
 * the reader leaves out the rest.
 */
export function selectorFor(wanted: ReadonlySet<string> | 'all', configured: string | undefined): string {
  const named = wanted === 'all' ? undefined : `${SERVICE_LABEL} in (${[...wanted].sort().join(',')})`;
  // Its mere presence: a slice without the label belongs to no service.
  const own = named === undefined || named.length > MAX_SELECTOR_CHARS ? SERVICE_LABEL : named;
  return configured === undefined || configured.trim() === '' ? own : `${own},${configured.trim()}`;
}
