import type { Disk, LogFile } from './disk.ts';
import { frame } from './frame.ts';
import { LOG_FORMAT, type LogRecord, encodeRecord } from './record.ts';

const SLICE = 256;

/** One open log file, of which the first `length` bytes are whole records that may be relied on. */
export class AppendLog {
  readonly #file: LogFile;
  #length: number;
  /** Bytes of a write that failed may follow `#length`. */
  #tailed: boolean;
  #trusted = true;

  constructor(file: LogFile, length: number, tailed: boolean) {
    this.#file = file;
    this.#length = length;
    this.#tailed = tailed;
  }

  get length(): number {
    return this.#length;
  }

  /**
   * False once a sync has failed: the system may have thrown away pages of the file and yet report success later
   * ("fsyncgate", 2018). Nothing but a new file helps then.
   */
  get trusted(): boolean {
    return this.#trusted;
  }

  /** Makes sure that nothing is appended here any more. */
  distrust(): void {
    this.#trusted = false;
  }

  /**
   * Resolves when the bytes survive a loss of power and `confirm` has resolved too. After a rejection the file may hold
   * them or part of them until `cut` succeeds; they do not count, and the next append goes over them.
   */
  async append(bytes: Uint8Array, confirm: () => Promise<void>): Promise<void> {
    if (this.#tailed) await this.cut();
    this.#tailed = true;
    await this.#file.write(bytes, this.#length);
    await this.sync();
    await confirm();
    this.#length += bytes.length;
    this.#tailed = false;
  }

  /** Takes back what a failed append left behind. */
  async cut(): Promise<void> {
    await this.#file.truncate(this.#length);
    await this.sync();
    this.#tailed = false;
  }

  async sync(): Promise<void> {
    try {
      await this.#file.sync();
    } catch (error) {
      this.#trusted = false;
      throw error;
    }
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  /**
   * Writes and syncs a whole new log, in slices that leave room for other work. `stale` is asked between them: true
   * gives up with a rejection. Nothing is left open after a rejection.
   */
  static async create(
    disk: Disk,
    path: string,
    records: readonly LogRecord[],
    stale: () => boolean,
  ): Promise<AppendLog> {
    const file = await disk.open(path, 'fresh');
    try {
      let length = 0;
      for (let at = -1; at < records.length; at = at < 0 ? 0 : at + SLICE) {
        if (stale()) throw new Error('it is not wanted any more');
        const bytes = encodeRecords(at < 0 ? [{ kind: 'format', format: LOG_FORMAT }] : records.slice(at, at + SLICE));
        await file.write(bytes, length);
        length += bytes.length;
      }
      await file.sync();
      return new AppendLog(file, length, false);
    } catch (error) {
      await file.close();
      throw error;
    }
  }
}

export function encodeRecords(records: readonly LogRecord[]): Buffer {
  return Buffer.from(records.map((record) => frame(encodeRecord(record))).join(''));
}
