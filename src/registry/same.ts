import { isDeepStrictEqual } from 'node:util';
import type { Instance } from '../core/instance.ts';

/** Whether two objects describe one and the same state of an instance, so that nothing needs to be told. */
export function sameInstance(a: Instance, b: Instance): boolean {
  return (
    a === b ||
    (a.id === b.id &&
      a.port === b.port &&
      a.host === b.host &&
      a.service === b.service &&
      a.weight === b.weight &&
      a.state === b.state &&
      a.stateReason === b.stateReason &&
      a.zone === b.zone &&
      a.version === b.version &&
      a.secure === b.secure &&
      sameMetadata(a.metadata, b.metadata) &&
      (a.checks === b.checks || isDeepStrictEqual(a.checks, b.checks)))
  );
}

function sameMetadata(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): boolean {
  if (a === b) return true;
  if (a.size !== b.size) return false;
  for (const [key, value] of a) if (b.get(key) !== value) return false;
  return true;
}
