import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import type { Config } from '../config/config.ts';
import { MAX_CONFIG_BYTES } from '../config/load.ts';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../telemetry/log.ts';
import { atOnce, type PreparedChange, type Reloadable } from './reload.ts';

export interface ConfigWatchOptions {
  readonly path: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** As it was before the configuration in use was read from it. */
  readonly seen: FileLook | undefined;
  /** Never rejects. Whoever reads the file for it calls `note` first. */
  readonly reload: () => Promise<unknown>;
}

/** The file as it was at one moment. */
export interface FileLook {
  /** Differs where anything about the file does: a rename over it, a symbolic link that was turned, a write. */
  readonly signature: string;
  /** Of its content; undefined where it cannot be read or is empty, as it is while an editor writes it. */
  readonly digest: string | undefined;
}

const POLL_MS = 500;
/** A file that is gone for longer than replacing it takes is worth a line in the log. */
const GONE_MS = 10_000;

/**
 * Reloads when the content of the configuration file changes. It asks the file system twice a second: notices of the
 * kernel get lost on network file systems, are bound to what a name meant when they were asked for, and say nothing of
 * links along the way, which is how Kubernetes swaps a ConfigMap. A change is taken over once it has stayed the same
 * from one look to the next; a file that is gone or empty for a moment is none.
 */
export class ConfigWatch implements Reloadable {
  readonly #options: ConfigWatchOptions;
  #cancel: (() => void) | undefined;
  #loaded: FileLook | undefined;
  #candidate: string | undefined;
  #goneSinceMs: number | undefined;
  #saidGone = false;

  constructor(options: ConfigWatchOptions) {
    this.#options = options;
    this.#loaded = options.seen;
  }

  /** What is in the file now is about to be loaded. */
  async note(): Promise<void> {
    this.#loaded = await lookAt(this.#options.path);
  }

  /** On or off; begins with what `note` saw last, if anything. */
  set(on: boolean): void {
    this.#cancel?.();
    this.#cancel = on ? this.#options.clock.after(POLL_MS, () => void this.#poll()) : undefined;
  }

  prepare({ gateway: next }: Config, { gateway: before }: Config): PreparedChange {
    return atOnce(() => {
      if (next.watchConfig === before.watchConfig) return [];
      this.set(next.watchConfig);
      return [`gateway.watchConfig is ${next.watchConfig}`];
    });
  }

  async #poll(): Promise<void> {
    const round = this.#cancel;
    await this.#look();
    // It may have been switched off, or off and on, in the meantime.
    if (this.#cancel === round) this.set(true);
  }

  async #look(): Promise<void> {
    const { path, clock, log, reload } = this.#options;
    const signature = await signatureOf(path);
    if (signature === undefined) {
      this.#goneSinceMs ??= clock.now();
      if (!this.#saidGone && clock.now() - this.#goneSinceMs >= GONE_MS) {
        this.#saidGone = true;
        log.warn('the configuration file is gone: what was read last stays in use', { path });
      }
      return;
    }
    this.#goneSinceMs = undefined;
    this.#saidGone = false;
    if (signature === this.#loaded?.signature) return;
    if (signature !== this.#candidate) {
      this.#candidate = signature;
      return;
    }
    const now = await lookAt(path);
    if (now?.signature !== signature || now.digest === undefined) return;
    if (now.digest === this.#loaded?.digest) this.#loaded = now;
    else await reload();
  }
}

/** The file as it is now; undefined where it is gone. Never rejects. */
export async function lookAt(path: string): Promise<FileLook | undefined> {
  const signature = await signatureOf(path);
  return signature === undefined ? undefined : { signature, digest: await digestOf(path) };
}

async function signatureOf(path: string): Promise<string | undefined> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join(' ');
  } catch {
    // Gone, or on its way back: the next look tells.
    return undefined;
  }
}

async function digestOf(path: string): Promise<string | undefined> {
  try {
    const { size } = await stat(path);
    // Too large to be one: whoever loads it says so.
    if (size > MAX_CONFIG_BYTES) return `${size} bytes`;
    const text = await readFile(path);
    return text.toString().trim() === '' ? undefined : createHash('sha256').update(text).digest('base64');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unreadable';
    return code === 'ENOENT' ? undefined : code;
  }
}
