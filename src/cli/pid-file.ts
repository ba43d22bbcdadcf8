import { readFile, rename, rm, writeFile } from 'node:fs/promises';

/** Rejects, naming the flag, with what the disk says. Whoever reads the file sees a whole number at any time. */
export async function writePidFile(path: string, pid: number): Promise<void> {
  const temporary = `${path}.${pid}`;
  try {
    await writeFile(temporary, `${pid}\n`);
    await rename(temporary, path);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`--pid-file ${path} cannot be written: ${reason}`, { cause: error });
  }
}

/** Where the file names another process, that one has taken our place, and it stays. */
export async function removePidFile(path: string, pid: number): Promise<void> {
  try {
    if ((await readFile(path, 'utf8')).trim() === String(pid)) await rm(path);
  } catch {
    // Already gone, or not ours to remove: systemd removes it as well.
  }
}
