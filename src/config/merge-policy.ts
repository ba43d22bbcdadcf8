type Group = Readonly<Record<string, unknown>>;

/** What every check has, whatever its type. */
const TIMING: readonly string[] = [
  'interval',
  'timeout',
  'healthyThreshold',
  'unhealthyThreshold',
  'fastInterval',
  'jitter',
];

/** What a check is that nobody configured. */
export const PLAIN_CHECK: Group = { type: 'tcp' };

export function isGroup(value: unknown): value is Group {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * `services.X` over `defaults`, both as written: groups are merged key by key, everything else is replaced. A check
 * takes its timing from `defaults.health`, and all the rest of it as long as it is of the same type; each check of a
 * list does the same. Where `defaults.health` is a list, nothing is taken from it.
 */
export function mergePolicy(defaults: Group, service: Group): Group {
  const { health: base, ...rest } = defaults;
  const { health: own, ...parts } = service;
  const merged = mergeGroups(rest, parts);
  if (own === undefined) return base === undefined ? merged : { ...merged, health: base };
  return {
    ...merged,
    health: Array.isArray(own) ? own.map((each: unknown) => mergeCheck(base, each)) : mergeCheck(base, own),
  };
}

function mergeGroups(under: Group, over: Group): Group {
  const merged: Record<string, unknown> = { ...under };
  for (const [key, value] of Object.entries(over)) {
    const below = under[key];
    merged[key] = isGroup(below) && isGroup(value) ? mergeGroups(below, value) : value;
  }
  return merged;
}

function mergeCheck(base: unknown, own: unknown): unknown {
  if (!isGroup(own)) return own;
  if (!isGroup(base)) return { ...PLAIN_CHECK, ...own };
  if (own.type === undefined || isSameType(base.type, own.type)) return mergeGroups(base, own);
  return { ...Object.fromEntries(TIMING.filter((key) => key in base).map((key) => [key, base[key]])), ...own };
}

/** https is http with TLS: path and expectations stay. */
function isSameType(a: unknown, b: unknown): boolean {
  const plain = (type: unknown): unknown => (type === 'https' ? 'http' : type);
  return plain(a) === plain(b);
}
