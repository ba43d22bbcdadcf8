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

/** Out of a log. What is none is left out: the instance works without it. */
export function readOrigin(value: unknown): Origin | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { dialect, id, alias, criticalLimitMs, text } = value as Readonly<Record<string, unknown>>;
  if ((dialect !== 'eureka' && dialect !== 'consul') || typeof id !== 'string' || typeof text !== 'string')
    return undefined;
  return {
    dialect,
    id,
    alias: typeof alias === 'string' ? alias : undefined,
    criticalLimitMs: typeof criticalLimitMs === 'number' && criticalLimitMs > 0 ? criticalLimitMs : undefined,
    text,
  };
}
