import { loadConfig, type Issue } from '../../src/config/load.ts';
import type { Config } from '../../src/config/config.ts';

export type Env = Readonly<Record<string, string | undefined>>;

/** The configuration of a text that has to be valid. */
export function load(text: string, env: Env = {}): Config {
  const result = loadConfig(text, { file: 'test.yaml', env });
  if (!result.ok) throw new Error(result.issues.map(lineOf).join('\n'));
  return result.config;
}

/** `line:col path: message` for each mistake; empty for a valid text. */
export function mistakes(text: string, env: Env = {}): string[] {
  const result = loadConfig(text, { file: 'test.yaml', env });
  return result.ok ? [] : result.issues.map(lineOf);
}

function lineOf({ line, column, path, message }: Issue): string {
  return `${line}:${column} ${path}: ${message}`;
}
