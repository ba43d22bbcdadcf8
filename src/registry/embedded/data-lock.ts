import { type FileHandle, open, readFile, realpath } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { errorCode } from './disk.ts';
import type { RegistryLog } from './report.ts';

/** The process that wants the directory. */
export interface LockOwner {
  readonly pid: number;
  /** Whether a process with this id exists on this machine: `kill` with signal 0, nothing stronger. */
  readonly isAlive: (pid: number) => boolean;
}

interface LockContent {
  readonly pid: number;
  readonly host: string;
  /** Changes with every boot of the machine; empty where the system does not tell. */
  readonly boot: string;
  /** When the process began, in ticks since boot: tells a process from a later one with the same id. */
  readonly started: string;
  readonly released: boolean;
}

const FILE_NAME = 'lock';
/** Always this long, so that taking the lock over needs no space on a disk that is full. */
const CONTENT_BYTES = 512;

/** Directories locked by this very process, which a pid cannot tell apart. */
const heldHere = new Set<string>();

/**
 * Keeps two gateways from writing to one directory. The lock of a process that is gone is taken over: it must never
 * take a person to start a gateway again after a crash.
 *
 * From another host or container nobody can ask whether the holder lives. Such a lock is taken over too, and `verify`,
 * called a few times a second while it writes, stops the former holder in case it does.
 *
 * The file stays when the lock is released. Do not delete it while a gateway runs.
 */
export class DataLock {
  /** The former holder cannot be asked: it may live, and write until its next `verify`. */
  readonly mayBeContested: boolean;
  readonly #directory: string;
  readonly #file: FileHandle;
  readonly #content: LockContent;

  private constructor(directory: string, file: FileHandle, content: LockContent, mayBeContested: boolean) {
    this.mayBeContested = mayBeContested;
    this.#directory = directory;
    this.#file = file;
    this.#content = content;
  }

  /** Rejects with a message for the operator where another gateway holds the directory. The directory must exist. */
  static async acquire(dataDir: string, owner: LockOwner, log: RegistryLog): Promise<DataLock> {
    const directory = await realpath(dataDir);
    const inUse = (by: string): Error =>
      new Error(`dataDir ${dataDir} is in use by ${by}. Stop that gateway, or give this one another dataDir.`);
    if (heldHere.has(directory)) throw inUse('another registry of this gateway');
    heldHere.add(directory);
    let file: FileHandle | undefined;
    try {
      file = await openOrCreate(join(directory, FILE_NAME));
      const found = await readContent(file);
      if (found && !found.released) {
        const why = await whyStale(found, owner);
        if (why === undefined) throw inUse(`the gateway with pid ${found.pid}`);
        log('warn', 'took over the lock of a gateway that is gone', { dataDir, pid: found.pid, host: found.host, why });
      }
      const mayBeContested = found?.released === false && !(await isOfThisBoot(found));
      const lock = new DataLock(directory, file, await describe(owner.pid), mayBeContested);
      await lock.#write(lock.#content);
      await lock.verify();
      return lock;
    } catch (error) {
      heldHere.delete(directory);
      await file?.close();
      throw error;
    }
  }

  /** Rejects once another gateway has taken the directory over. */
  async verify(): Promise<void> {
    const found = await readContent(this.#file);
    if (found && encode(found) === encode(this.#content)) return;
    const by = found ? `pid ${found.pid} on ${found.host}` : 'someone who emptied the lock file';
    throw new Error(`dataDir ${this.#directory} was taken over by ${by}: nothing more is written`);
  }

  /** Gives the directory back; without effect on a lock that was taken over. Rejects with what the disk says. */
  async release(): Promise<void> {
    try {
      const found = await readContent(this.#file);
      if (found && encode(found) === encode(this.#content)) await this.#write({ ...this.#content, released: true });
    } finally {
      heldHere.delete(this.#directory);
      await this.#file.close();
    }
  }

  async #write(content: LockContent): Promise<void> {
    await this.#file.write(encode(content).padEnd(CONTENT_BYTES - 1) + '\n', 0);
  }
}

async function openOrCreate(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'wx+', 0o600);
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error;
    return open(path, 'r+');
  }
}

/** Undefined where there is nothing to read: a new file, or one whose writer died between creating and writing it. */
async function readContent(file: FileHandle): Promise<LockContent | undefined> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(CONTENT_BYTES), 0, CONTENT_BYTES, 0);
  try {
    const parsed = JSON.parse(buffer.toString('utf8', 0, bytesRead)) as Partial<LockContent> | null;
    if (typeof parsed?.pid !== 'number') return undefined;
    const { pid, host = '', boot = '', started = '', released = false } = parsed;
    return { pid, host, boot, started, released };
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

async function describe(pid: number): Promise<LockContent> {
  return {
    pid,
    host: hostname(),
    boot: await bootId(),
    started: (await statOf(pid))[START_TIME] ?? '',
    released: false,
  };
}

function encode(content: LockContent): string {
  return JSON.stringify(content);
}

async function whyStale(found: LockContent, owner: LockOwner): Promise<string | undefined> {
  if (found.host !== hostname()) return 'it was held on another host, which cannot be asked';
  if (found.boot !== (await bootId())) return 'the machine was started anew since';
  if (found.pid === owner.pid) return 'it has the id of this process, of an earlier life of the container';
  if (!owner.isAlive(found.pid)) return 'its process is gone';
  const stat = await statOf(found.pid);
  if (isEnding(stat)) return 'its process has ended, and its parent has not heard of it';
  const started = stat[START_TIME] ?? '';
  return started !== '' && found.started !== '' && started !== found.started
    ? 'its process id is in use by another'
    : undefined;
}

/** Of this host since it was started: then it can be asked. */
async function isOfThisBoot({ host, boot }: LockContent): Promise<boolean> {
  return host === hostname() && boot === (await bootId());
}

function bootId(): Promise<string> {
  return readIfPresent('/proc/sys/kernel/random/boot_id');
}

/** proc(5), from the state on: the name before it, in parentheses, may hold anything. Empty where the system does not tell. */
async function statOf(pid: number): Promise<readonly string[]> {
  const stat = await readIfPresent(`/proc/${pid}/stat`);
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

const STATE = 0;
const FLAGS = 6;
const START_TIME = 19;
/** PF_EXITING of the kernel: its files are being closed, or have been, and it is no zombie yet. */
const EXITING = 0x4;

/** A zombie answers to `kill` with signal 0, for as long as its parent likes, and will never write again. */
function isEnding(stat: readonly string[]): boolean {
  return stat[STATE] === 'Z' || stat[STATE] === 'X' || (Number(stat[FLAGS] ?? 0) & EXITING) !== 0;
}

/** Empty where the system has no such file. */
async function readIfPresent(path: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch (error) {
    if (errorCode(error) !== undefined) return '';
    throw error;
  }
}
