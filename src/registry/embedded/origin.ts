import { isName } from '../../core/names.ts';
import { shortHash } from '../address.ts';

/**
 * How a client of another registry's API put its registration, beside what every instance has: kept so that it reads
 * back what it wrote.
 */
export interface Origin {
  readonly dialect: 'eureka' | 'consul';
  /** The client's own id. Ours is made from it, as it need not be a name. */
  readonly id: string;
  /** Another name by which heartbeats call the instance; of several claimants the last has it. */
  readonly alias?: string | undefined;
  /** Deregistered when it has been critical for so long; undefined = never. */
  readonly criticalLimitMs?: number | undefined;
  /** JSON, written and read by the dialect alone. */
  readonly text: string;
}

/**
 * Our id for a client's own (`10.0.0.7:payment:8080` is no name): the same for the same, readable, and hashed where it had
 * to be changed, so that no two become one.
 */
export function tableIdOf(id: string): string {
  return isName(id) ? id : `${id.replaceAll(/[^A-Za-z0-9._-]+/g, '-').slice(0, 100)}-${shortHash(id, 12)}`;
}

/** Out of a log. What is none is left out: the instance works without it. */
export function readOrigin(value: unknown): Origin | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { dialect, id, alias, criticalLimitMs, text } = value as Readonly<Record<string, unknown>>;
  if ((dialect !== 'eureka' && dialect !== 'consul') || typeof id !== 'string') return undefined;
  if (typeof text !== 'string' || !isSound(dialect, text)) return undefined;
  return {
    dialect,
    id,
    alias: typeof alias === 'string' ? alias : undefined,
    criticalLimitMs: typeof criticalLimitMs === 'number' && criticalLimitMs > 0 ? criticalLimitMs : undefined,
    text,
  };
}

/** Whether the dialect can tell it: one that is damaged must not break the list of all. */
function isSound(dialect: Origin['dialect'], text: string): boolean {
  let told: unknown;
  try {
    told = JSON.parse(text);
  } catch {
    return false;
  }
  if (typeof told !== 'object' || told === null) return false;
  const { fields, tags, meta, checks, weights } = told as Readonly<Record<string, unknown>>;
  if (dialect === 'eureka') return typeof fields === 'object' && fields !== null;
  const isListed = [tags, meta, checks].every((each) => Array.isArray(each));
  return isListed && typeof weights === 'object' && weights !== null;
}
