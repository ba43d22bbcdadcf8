import { resolve } from 'node:path';
import type { Config } from '../config/config.ts';
import { loadConfigFile, type Issue } from '../config/load.ts';
import type { CliContext } from './verb.ts';

/** `-c FILE`, for `parseFlags`. */
export const CONFIG_FLAG = { config: { type: 'string', short: 'c' } } as const;

const DEFAULT_FILE = './config/fairlead.yaml';

export interface ConfigFile {
  /** As messages call it: as it was given. */
  readonly file: string;
  /** Absolute. */
  readonly path: string;
}

/** The file of `-c`, else that of `FAIRLEAD_CONFIG`, else `./config/fairlead.yaml`. */
export function configFile(ctx: CliContext, flag: string | undefined): ConfigFile {
  const named = flag ?? ctx.env['FAIRLEAD_CONFIG'];
  const file = named === undefined || named === '' ? DEFAULT_FILE : named;
  return { file, path: resolve(ctx.cwd, file) };
}

/** The configuration, or undefined once everything that is wrong with it has been written to stderr. */
export async function readConfig(ctx: CliContext, { file, path }: ConfigFile): Promise<Config | undefined> {
  const result = await loadConfigFile(path, { file, env: ctx.env });
  if (result.ok) return result.config;
  for (const issue of result.issues) ctx.stderr.write(`${issueLine(issue)}\n`);
  return undefined;
}

/** `file:line:col path: message`, which editors and terminals can jump to. */
export function issueLine({ file, line, column, path, message }: Issue): string {
  return `${file}:${line}:${column} ${path === '' ? '' : `${path}: `}${message}`;
}
