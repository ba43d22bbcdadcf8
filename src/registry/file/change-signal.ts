import { type FSWatcher, watch } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Clock } from '../../core/clock.ts';

/**
 * Wakes whoever waits when something may have changed under a path: at once by the kernel's notice, where there is one,
 * and every `pollMs` in any case. Notices are hints: they get lost on network file systems, when watches run out, and
 * when a directory is replaced by another one.
 */
export class ChangeSignal {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #pollMs: number;
  readonly #onUnwatchable: (why: string) => void;
  #watcher: FSWatcher | undefined;
  #watched: string | undefined;
  #noticed = false;
  #closed = false;
  #wake: (() => void) | undefined;

  /** `onUnwatchable` is told when only polling is left. */
  constructor(path: string, clock: Clock, pollMs: number, onUnwatchable: (why: string) => void) {
    this.#path = path;
    this.#clock = clock;
    this.#pollMs = pollMs;
    this.#onUnwatchable = onUnwatchable;
  }

  /** Resolves at the next notice, or after `withinMs`, or when closed. */
  async next(withinMs = this.#pollMs): Promise<void> {
    if (this.#noticed || this.#closed) {
      this.#noticed = false;
      return;
    }
    await new Promise<void>((resolve) => {
      const cancel = this.#clock.after(withinMs, () => this.#wake?.());
      this.#wake = () => {
        cancel();
        this.#wake = undefined;
        this.#noticed = false;
        resolve();
      };
    });
  }

  /**
   * Watches the directory that the path means now: it may be another one than the last time. To be called before every
   * look, so that no change falls between the two.
   */
  async arm(): Promise<void> {
    const target = await stat(this.#path, { bigint: true });
    // A file is replaced by renaming over it, which only its directory notices.
    const directory = target.isDirectory() ? this.#path : dirname(this.#path);
    const { dev, ino } = target.isDirectory() ? target : await stat(directory, { bigint: true });
    const identity = `${dev}:${ino}`;
    if (this.#closed || (identity === this.#watched && this.#watcher)) return;
    this.#watcher?.close();
    this.#watcher = undefined;
    if (this.#watched === `${identity} unwatchable`) return;
    try {
      this.#watcher = watch(directory, { persistent: true }, () => this.notice());
      this.#watcher.on('error', (error) => this.#giveUp(identity, error));
      this.#watched = identity;
    } catch (error) {
      this.#giveUp(identity, error);
    }
  }

  notice(): void {
    this.#noticed = true;
    this.#wake?.();
  }

  close(): void {
    this.#closed = true;
    this.#watcher?.close();
    this.#watcher = undefined;
    this.#wake?.();
  }

  #giveUp(identity: string, error: unknown): void {
    this.#watcher?.close();
    this.#watcher = undefined;
    this.#watched = `${identity} unwatchable`;
    this.#onUnwatchable(error instanceof Error ? error.message : String(error));
  }
}
