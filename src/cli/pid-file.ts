import { readFile, rename, rm, writeFile } from 'node:fs/promises';

/** Rejects with what the disk says. Whoever reads the file sees a whole number at any time. */
export async function writePidFile(path: string, pid: number): Promise<void> {
  const temporary = `${path}.${pid}`;
  await writeFile(temporary, `${pid}\n`);
  await rename(temporary, path);
}

/** Where the file names another process, that one has taken our place, and it stays. */
export async function removePidFile(path: string, pid: number): Promise<void> {
  try {
    if ((await readFile(path, 'utf8')).trim() === String(pid)) await rm(path);
  } catch {
    // Already gone, or not ours to remove: systemd removes it as well.
  }
}
