import { type Problem, invalid } from '../api/problem.ts';
import { DEFAULT_WAIT_MS, MAX_WAIT_MS } from '../api/queries.ts';
import { parseGoDuration } from './given.ts';
import { DATACENTER } from './views.ts';

export interface Blocking {
  /** Answer once there is something after this index; undefined = at once. */
  readonly index: number | undefined;
  readonly waitMs: number;
}

export interface HealthQuery extends Blocking {
  readonly passingOnly: boolean;
  /** In lower case. An instance must carry all of them. */
  readonly tags: readonly string[];
}

/** They change what is answered, so they cannot be passed over. */
const UNSUPPORTED = ['filter', 'near', 'node-meta', 'hash', 'sg', 'peer', 'merge-central-config'];

export function healthQuery(query: URLSearchParams): HealthQuery | { readonly problem: Problem } {
  const scope = refusedScope(query);
  if (scope) return { problem: scope };
  const index = query.get('index') ?? '0';
  if (!/^\d{1,20}$/.test(index)) return { problem: invalid({ field: 'index', message: 'must be a whole number' }) };
  const wait = query.get('wait');
  const waitMs = wait === null ? DEFAULT_WAIT_MS : parseGoDuration(wait);
  if (waitMs === undefined) {
    return { problem: invalid({ field: 'wait', message: 'must be a duration such as "30s" or "5m"' }) };
  }
  const passing = query.get('passing');
  return {
    index: Number(index) > 0 ? Number(index) : undefined,
    waitMs: waitMs === 0 ? DEFAULT_WAIT_MS : Math.min(waitMs, MAX_WAIT_MS),
    passingOnly: passing !== null && !/^(?:0|f|false)$/i.test(passing),
    tags: query.getAll('tag').map((tag) => tag.toLowerCase()),
  };
}

/** Why a question about this scope has no answer here. */
export function refusedScope(query: URLSearchParams): Problem | undefined {
  const unsupported = UNSUPPORTED.filter((each) => (query.get(each) ?? '') !== '');
  const scopes = [['dc', DATACENTER] as const, ['ns', 'default'] as const, ['partition', 'default'] as const];
  const foreign = scopes.filter(([key, ours]) => ![ours, ''].includes(query.get(key) ?? ''));
  if (unsupported.length === 0 && foreign.length === 0) return undefined;
  return {
    status: 501,
    title: 'The embedded registry does not support this part of Consul',
    errors: [
      ...unsupported.map((field) => ({ field, message: 'is not supported' })),
      ...foreign.map(([field, ours]) => ({ field, message: `is not supported: there is only ${ours}` })),
    ],
  };
}
