import { constants } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';

export interface FileLimits {
  readonly files: number;
  /** Of one JSON file. */
  readonly jsonBytes: number;
  /** Of one YAML file; reading YAML takes ten times as long, and in one piece. */
  readonly yamlBytes: number;
  /** Of all files together. */
  readonly totalBytes: number;
}

export const FILE_LIMITS: FileLimits = {
  files: 1000,
  jsonBytes: 16 * 1024 * 1024,
  yamlBytes: 256 * 1024,
  totalBytes: 64 * 1024 * 1024,
};

/** One file as it was when it was looked at; two looks with the same identity saw the same content. */
export interface FoundFile {
  readonly path: string;
  readonly identity: string;
  readonly bytes: number;
  readonly modifiedMs: number;
  readonly format: 'yaml' | 'json';
}

/** By name, in the order of names. */
export type Look = ReadonlyMap<string, FoundFile>;

/** It is another file, or one with another content, than the one that was looked at. */
export class FileChanged extends Error {
  override readonly name = 'FileChanged';
}

/** The file system, as far as instance files go. Everything rejects with what the file system says. */
export interface FileTree {
  look(): Promise<Look>;
  read(file: FoundFile): Promise<string>;
}

const EXTENSIONS: ReadonlyMap<string, FoundFile['format']> = new Map([
  ['.yaml', 'yaml'],
  ['.yml', 'yaml'],
  ['.json', 'json'],
]);

/** One file, or the `.yaml`, `.yml` and `.json` files of one directory; names that begin with a dot are left out. */
export class DiskTree implements FileTree {
  readonly #path: string;
  readonly #limits: FileLimits;

  constructor(path: string, limits: FileLimits) {
    this.#path = path;
    this.#limits = limits;
  }

  async look(): Promise<Look> {
    const root = await stat(this.#path, { bigint: true });
    if (!root.isDirectory()) {
      const found = await this.#find(this.#path, EXTENSIONS.get(extname(this.#path)) ?? 'yaml');
      return new Map(found ? [[basename(this.#path), found]] : []);
    }
    const names = (await readdir(this.#path))
      .filter((name) => !name.startsWith('.') && EXTENSIONS.has(extname(name)))
      .sort();
    if (names.length > this.#limits.files) {
      throw new Error(`there are ${names.length} files, more than ${this.#limits.files}`);
    }
    const look = new Map<string, FoundFile>();
    for (const name of names) {
      const found = await this.#find(join(this.#path, name), EXTENSIONS.get(extname(name)) ?? 'yaml');
      if (found) look.set(name, found);
    }
    return look;
  }

  async read(file: FoundFile): Promise<string> {
    // Without O_NONBLOCK a pipe that took the place of the file would hold us for ever.
    const handle = await open(file.path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const before = identityOf(await handle.stat({ bigint: true }));
      if (before !== file.identity) throw new FileChanged(file.path);
      const text = await handle.readFile('utf8');
      if (identityOf(await handle.stat({ bigint: true })) !== file.identity) throw new FileChanged(file.path);
      return text;
    } finally {
      await handle.close();
    }
  }

  /** Undefined where there is no regular file (any more): names may go between the listing and the look. */
  async #find(path: string, format: FoundFile['format']): Promise<FoundFile | undefined> {
    try {
      const found = await stat(path, { bigint: true });
      if (!found.isFile()) return undefined;
      return {
        path,
        identity: identityOf(found),
        bytes: Number(found.size),
        modifiedMs: Number(found.mtimeMs),
        format,
      };
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
      throw error;
    }
  }
}

interface Identifying {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly size: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
}

function identityOf({ dev, ino, size, mtimeNs, ctimeNs }: Identifying): string {
  return `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`;
}
