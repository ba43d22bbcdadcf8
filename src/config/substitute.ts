const REFERENCE = /\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{/g;

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Substituted {
  readonly text: string;
  /** The text was one reference and nothing else: what it stands for is typed as if it had been written there. */
  readonly whole: boolean;
  /** At least one reference was replaced. */
  readonly changed: boolean;
  /** Why a reference could not be replaced. Never says what a variable holds. */
  readonly problems: readonly string[];
}

/**
 * Replaces `${NAME}` and `${NAME:-default}`; the default stands in for a variable that is unset or empty, as in a
 * shell. `$${` is a literal `${`. Defaults do not nest, and what a variable holds is not searched for references.
 */
export function substitute(text: string, env: Environment): Substituted {
  const problems: string[] = [];
  let references = 0;
  let whole = false;
  const result = text.replace(REFERENCE, (match: string, name: string | undefined, fallback: string | undefined) => {
    if (match === '$${') return '${';
    if (name === undefined) {
      problems.push(
        '"${" begins a reference such as ${NAME} or ${NAME:-default}; write "$${" for the characters themselves',
      );
      return match;
    }
    references += 1;
    whole = match.length === text.length;
    const value = env[name];
    if (fallback !== undefined) return value === undefined || value === '' ? fallback : value;
    if (value === undefined) {
      problems.push(`the environment variable ${name} is not set; set it, or give a default: \${${name}:-default}`);
      return '';
    }
    return value;
  });
  return { text: result, whole, changed: references > 0, problems };
}
