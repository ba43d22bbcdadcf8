import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Debian keeps servers in sbin, which is not on every user's PATH. */
const SEARCH_PATH = `${process.env['PATH'] ?? ''}${delimiter}/usr/local/sbin${delimiter}/usr/sbin${delimiter}/sbin`;

/** The full path of a command, or undefined where it is not installed. */
export function findCommand(name: string): string | undefined {
  for (const folder of SEARCH_PATH.split(delimiter)) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      continue;
    }
  }
  return undefined;
}

export function isOnPath(name: string): boolean {
  return findCommand(name) !== undefined;
}

/** What a short command prints (stdout, else stderr), trimmed; an empty text where it cannot be run. */
export function textOf(command: string, ...args: readonly string[]): string {
  const { stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', timeout: 10_000 });
  return (stdout || stderr || '').trim();
}
