import { NAME_RULE, isName } from '../../../core/names.ts';
import { DURATION_RULE, parseDuration } from '../../../core/units.ts';
import { type Problem, invalid } from './problem.ts';

/** What `GET /services/{name}/instances` asks for. */
export interface InstancesQuery {
  readonly service: string;
  readonly healthyOnly: boolean;
  /** Answer once the service has changed after this index; undefined = at once. */
  readonly index: number | undefined;
  readonly waitMs: number;
}

export const DEFAULT_WAIT_MS = 300_000;
export const MAX_WAIT_MS = 600_000;

/** The last value of a parameter, as `URLSearchParams` would give the first. */
type Ask = (parameter: string) => string | undefined;

export function instancesQuery(service: string, ask: Ask): InstancesQuery | { readonly problem: Problem } {
  if (!isName(service)) return { problem: badName('name') };
  const healthy = ask('healthy') ?? 'false';
  if (healthy !== 'true' && healthy !== 'false')
    return { problem: invalid({ field: 'healthy', message: 'must be true or false' }) };
  const index = indexOf(ask('index'));
  if (index === 'bad')
    return { problem: invalid({ field: 'index', message: 'must be an index that an earlier answer gave' }) };
  const wait = ask('wait');
  const waitMs = wait === undefined ? DEFAULT_WAIT_MS : parseDuration(wait);
  if (waitMs === undefined) return { problem: invalid({ field: 'wait', message: `must be ${DURATION_RULE}` }) };
  return { service, healthyOnly: healthy === 'true', index, waitMs: Math.min(waitMs, MAX_WAIT_MS) };
}

/** `?service=a&service=b`, or `?service=a,b`; none = all. */
export function watchedServices(
  given: readonly string[],
): ReadonlySet<string> | undefined | { readonly problem: Problem } {
  const names = given.flatMap((each) => each.split(','));
  if (names.length === 0) return undefined;
  return names.every(isName) ? new Set(names) : { problem: badName('service') };
}

/** How an instance says that it is. */
export interface Report {
  readonly status: 'passing' | 'degraded' | 'failing';
  /** In its own words; '' = it says nothing. */
  readonly output: string;
}

const STATUSES = ['passing', 'degraded', 'failing'] as const;
const MAX_OUTPUT_CHARACTERS = 1024;

/** `?status=degraded&output=…` of a heartbeat; without it: passing. */
export function reportOf(ask: Ask): Report | { readonly problem: Problem } {
  const given = ask('status') ?? 'passing';
  const status = STATUSES.find((each) => each === given);
  if (status === undefined)
    return { problem: invalid({ field: 'status', message: 'must be passing, degraded or failing' }) };
  return { status, output: (ask('output') ?? '').slice(0, MAX_OUTPUT_CHARACTERS) };
}

/** An id that is no index, as of another server's events, is as good as none. */
export function lastEventIndex(header: string | undefined): number | undefined {
  const index = indexOf(header);
  return index === 'bad' ? undefined : index;
}

export function badName(field: string): Problem {
  return invalid({ field, message: `must be ${NAME_RULE}` });
}

function indexOf(text: string | undefined): number | undefined | 'bad' {
  if (text === undefined) return undefined;
  return /^\d{1,15}$/.test(text) ? Number(text) : 'bad';
}
