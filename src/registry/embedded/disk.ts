import { type FileHandle, copyFile, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

/** An open file of the log. Every method rejects with the error of the operating system (`code` = ENOSPC, EIO, …). */
export interface LogFile {
  /** Writes all of the bytes at the position. After a rejection any part of them may be in the file. */
  write(bytes: Uint8Array, position: number): Promise<void>;
  /** Resolves when what was written survives a loss of power. */
  sync(): Promise<void>;
  truncate(length: number): Promise<void>;
  close(): Promise<void>;
}

/** What the log needs of a file system: small, so that tests can make every part of it fail. */
export interface Disk {
  /** With its parents, where they are missing. */
  createDirectory(path: string): Promise<void>;
  /** The chunks of a file from its start; none where the file does not exist. */
  read(path: string): AsyncIterable<Buffer>;
  /** `keep` opens what is there, or creates it; `fresh` empties it. */
  open(path: string, how: 'keep' | 'fresh'): Promise<LogFile>;
  rename(from: string, to: string): Promise<void>;
  copy(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  /** Resolves when files created, renamed or removed in the directory stay so after a loss of power. */
  syncDirectory(path: string): Promise<void>;
}

const CHUNK_BYTES = 1_048_576;
/** Registrations may carry metadata that is nobody else's business. */
const PRIVATE_FILE = 0o600;
const PRIVATE_DIRECTORY = 0o700;

/** The file system of the machine. */
export const systemDisk: Disk = {
  async createDirectory(path) {
    const first = await mkdir(path, { recursive: true, mode: PRIVATE_DIRECTORY });
    if (first === undefined) return;
    // A directory is durable once the one that holds it is.
    const top = dirname(resolve(first));
    for (let at = resolve(path); at !== top; at = dirname(at)) await syncDirectory(dirname(at));
  },
  read: readChunks,
  open: async (path, how) => new SystemFile(await openForWriting(path, how)),
  rename,
  copy: (from, to) => copyFile(from, to),
  remove: (path) => rm(path, { force: true }),
  syncDirectory,
};

/** The code of a system error, such as `ENOSPC`. */
export function errorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } catch (error) {
    // Some file systems cannot do this, and need it not: their renames are durable by themselves or not at all.
    if (!['EINVAL', 'EISDIR', 'EPERM', 'ENOTSUP'].includes(errorCode(error) ?? '')) throw error;
  } finally {
    await directory.close();
  }
}

async function openForWriting(path: string, how: 'keep' | 'fresh'): Promise<FileHandle> {
  if (how === 'fresh') return open(path, 'w', PRIVATE_FILE);
  try {
    return await open(path, 'r+', PRIVATE_FILE);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
    return open(path, 'wx+', PRIVATE_FILE);
  }
}

async function* readChunks(path: string): AsyncGenerator<Buffer> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return;
    throw error;
  }
  try {
    while (true) {
      // A new buffer each time: the consumer keeps parts of the old one.
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(CHUNK_BYTES), 0, CHUNK_BYTES);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}

class SystemFile implements LogFile {
  readonly #file: FileHandle;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    // The operating system may write less than asked for, above all just before it reports a full disk.
    for (let done = 0; done < bytes.length;) {
      const { bytesWritten } = await this.#file.write(bytes, done, bytes.length - done, position + done);
      if (bytesWritten === 0) throw Object.assign(new Error('the file takes no more bytes'), { code: 'ENOSPC' });
      done += bytesWritten;
    }
  }

  sync(): Promise<void> {
    // Also flushes the file's length, without which the bytes could not be found again.
    return this.#file.datasync();
  }

  truncate(length: number): Promise<void> {
    return this.#file.truncate(length);
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}
