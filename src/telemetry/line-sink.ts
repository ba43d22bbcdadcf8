import type { Clock } from '../core/clock.ts';
import { LineBlocks, type LineBlock } from './line-blocks.ts';
import type { SinkFile, SinkFiles } from './sink-files.ts';

export interface LineSinkOptions {
  readonly clock: Clock;
  readonly files: SinkFiles;
  /** A line waits this long at most before it is handed to the system. */
  readonly flushMs?: number;
  /** Also the longest line there may be. */
  readonly blockBytes?: number;
  /** Bound of the memory for lines that wait; what does not fit is dropped. */
  readonly maxBlocks?: number;
  /** Told when writing begins to fail, and with undefined when it works again. */
  readonly onTrouble?: (error: Error | undefined) => void;
}

/** A full pipe says EAGAIN, and a bare descriptor has no event for "writable again": asked again after 1, 2, 4 … ms. */
const AGAIN_MS = 1;
const MAX_AGAIN_MS = 32;
const NEWLINE = Buffer.from('\n');

/**
 * Writes lines to a descriptor or a file without ever making the caller wait: lines collect in blocks, one block at a
 * time is being written, and where the destination is slower than the lines come, lines are dropped and counted.
 */
export class LineSink {
  readonly #clock: Clock;
  #files: SinkFiles;
  readonly #flushMs: number;
  readonly #onTrouble: (error: Error | undefined) => void;
  readonly #blocks: LineBlocks;
  #file: SinkFile;
  #writing = false;
  #flushDue = false;
  #dropped = 0;
  #inTrouble = false;
  /** The reader has gone for good: nothing more is tried until the destination is opened anew. */
  #broken = false;
  /** A write failed in the midst of a line: the next block begins on a line of its own. */
  #torn = false;
  #closed = false;
  #cancelFlush: (() => void) | undefined;
  #cancelAgain: (() => void) | undefined;
  #onDrained: (() => void) | undefined;

  /** Opens the destination; throws where it cannot be opened. */
  constructor(options: LineSinkOptions) {
    this.#clock = options.clock;
    this.#files = options.files;
    this.#flushMs = options.flushMs ?? 100;
    this.#onTrouble = options.onTrouble ?? ((): void => undefined);
    this.#blocks = new LineBlocks({ blockBytes: options.blockBytes ?? 65_536, maxBlocks: options.maxBlocks ?? 64 });
    this.#file = options.files.open();
  }

  /** Lines given up so far. */
  get dropped(): number {
    return this.#dropped;
  }

  /** As `writeBytes`. */
  write(line: string): boolean {
    const bytes = Buffer.from(line);
    return this.writeBytes(bytes, bytes.length);
  }

  /** The line is the first `length` bytes, its newline included; they are copied. False: it was dropped. */
  writeBytes(line: Buffer, length: number): boolean {
    if (this.#closed || this.#broken || !this.#blocks.add(line, length)) {
      this.#dropped++;
      return false;
    }
    this.#cancelFlush ??= this.#clock.after(this.#flushMs, () => {
      this.#flush();
    });
    if (this.#blocks.hasFull) this.#pump();
    return true;
  }

  /** Opens the destination again, after a rotation, or another one. On failure the old one stays in use. */
  reopen(files = this.#files): void {
    if (this.#closed) return;
    try {
      const previous = this.#file;
      this.#file = files.open();
      this.#files = files;
      this.#broken = false;
      this.#torn = false;
      // A block under way ends where it began, and closes it then.
      if (!this.#writing) previous.close();
    } catch (error) {
      this.#trouble(error);
    }
  }

  /** Hands on what is left, for `deadlineMs` at most; what remains then is dropped and counted. */
  async close(deadlineMs: number): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#flush();
    if (this.#writing) {
      // The clock's timers hold no process, and a pipe that is full holds none either: without this the loop could run
      // empty, and the process end, before the last lines are out.
      const hold = setInterval(() => undefined, 1000);
      await new Promise<void>((resolve) => {
        const cancel = this.#clock.after(deadlineMs, resolve);
        this.#onDrained = (): void => {
          cancel();
          resolve();
        };
      });
      clearInterval(hold);
    }
    this.#cancelAgain?.();
    this.#dropAll();
    this.#file.close();
  }

  #flush(): void {
    this.#cancelFlush?.();
    this.#cancelFlush = undefined;
    this.#flushDue = true;
    this.#pump();
  }

  #pump(): void {
    if (this.#writing) return;
    const block = this.#blocks.hasFull || this.#flushDue ? this.#blocks.take() : undefined;
    if (!block) {
      this.#flushDue = false;
      this.#onDrained?.();
      return;
    }
    this.#writing = true;
    const file = this.#file;
    if (!this.#torn) this.#send(block, file);
    else {
      file.write(NEWLINE, 0, 1, (error) => {
        this.#torn = error !== null;
        this.#send(block, file);
      });
    }
  }

  #send(block: LineBlock, file: SinkFile, againMs = AGAIN_MS): void {
    file.write(block.bytes, block.written, block.used - block.written, (error, written) => {
      if (error?.code === 'EAGAIN' && !this.#broken) {
        this.#cancelAgain = this.#clock.after(againMs, () => {
          this.#send(block, file, Math.min(againMs * 2, MAX_AGAIN_MS));
        });
        return;
      }
      block.written += written;
      if (!error && block.written < block.used) {
        this.#send(block, file);
        return;
      }
      if (error) this.#failed(error, block, file);
      else if (this.#inTrouble) this.#trouble(undefined);
      this.#blocks.release(block);
      this.#writing = false;
      if (file !== this.#file) file.close();
      this.#pump();
    });
  }

  #failed(error: NodeJS.ErrnoException, block: LineBlock, file: SinkFile): void {
    this.#dropped += block.lines;
    if (block.written > 0) this.#torn = true;
    // A full disk may have room again; a reader that went away does not come back.
    if ((error.code === 'EPIPE' || error.code === 'EBADF') && file === this.#file) {
      this.#broken = true;
      this.#dropAll();
    }
    this.#trouble(error);
  }

  #dropAll(): void {
    for (let block = this.#blocks.take(); block; block = this.#blocks.take()) {
      this.#dropped += block.lines;
      this.#blocks.release(block);
    }
  }

  /** `undefined`: it works again. */
  #trouble(error: unknown): void {
    const wasInTrouble = this.#inTrouble;
    this.#inTrouble = error !== undefined;
    if (error === undefined) this.#onTrouble(undefined);
    else if (!wasInTrouble)
      this.#onTrouble(error instanceof Error ? error : new Error('unknown failure', { cause: error }));
  }
}
