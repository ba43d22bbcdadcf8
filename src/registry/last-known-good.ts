import type { Clock } from '../core/clock.ts';
import type { Random } from '../core/random.ts';
import { explainDiskError } from './disk-fault.ts';
import { type LoadedSnapshot, type SnapshotContent, SnapshotFile } from './snapshot-file.ts';

export interface SnapshotOptions {
  readonly directory: string;
  /** Of the registry and of what is taken from it: a snapshot of anything else is not used. */
  readonly identity: string;
  /** A cold start waits this long for the registry before it serves what was saved; a lost registry ends the wait. */
  readonly graceMs?: number;
  /** The file is written this long after a change, and so at most this often. */
  readonly minIntervalMs?: number;
  /** It is written this often where only the time of contact has changed, so that its age is told right. */
  readonly refreshMs?: number;
  readonly maxBytes?: number;
}

export const SNAPSHOT_DEFAULTS = {
  graceMs: 1000,
  minIntervalMs: 3000,
  refreshMs: 300_000,
  maxBytes: 268_435_456,
} as const;

export interface KeeperOptions extends SnapshotOptions {
  readonly registry: string;
  readonly clock: Clock;
  readonly random: Random;
  /** What is worth saving now; undefined = nothing yet. */
  content(): Omit<SnapshotContent, 'identity'> | undefined;
  /** The file could not be written, or what was found is not usable. Nothing else suffers from it. */
  onProblem(error: Error): void;
}

/**
 * Keeps the last good set of one registry on disk, so that a start while the registry is down has something to serve.
 * Whoever uses it must let probes decide: it says what was registered, not what is alive.
 */
export class LastKnownGood {
  readonly #options: KeeperOptions;
  readonly #file: SnapshotFile;
  readonly #minIntervalMs: number;
  readonly #refreshMs: number;
  #savedContactMs = -1;
  #savedAtMs: number | undefined;
  #cancel: (() => void) | undefined;
  #saving: Promise<void> | undefined;
  #dirty = false;
  #failures = 0;
  #stopped = false;

  constructor(options: KeeperOptions) {
    const { directory, registry, maxBytes = SNAPSHOT_DEFAULTS.maxBytes, clock, random } = options;
    const writer = Math.floor(random() * 0x1_0000_0000).toString(16);
    this.#options = options;
    this.#minIntervalMs = options.minIntervalMs ?? SNAPSHOT_DEFAULTS.minIntervalMs;
    this.#refreshMs = options.refreshMs ?? SNAPSHOT_DEFAULTS.refreshMs;
    this.#file = new SnapshotFile({ directory, registry, maxBytes, writer, nowMs: () => clock.now() });
  }

  get path(): string {
    return this.#file.path;
  }

  /** How long ago the file was written; undefined = not by this process. */
  get savedAgoMs(): number | undefined {
    return this.#savedAtMs === undefined ? undefined : this.#options.clock.now() - this.#savedAtMs;
  }

  /** What is on disk; undefined where there is nothing usable, which is reported unless there is no file at all. */
  async load(): Promise<LoadedSnapshot | undefined> {
    try {
      await this.#file.tidy(this.#options.clock.wall());
      return await this.#file.load(this.#options.identity);
    } catch (error) {
      this.#report(error);
      return undefined;
    }
  }

  /** The set has changed: it is saved soon. */
  changed(): void {
    if (this.#dirty || this.#stopped) return;
    this.#dirty = true;
    this.#plan(this.#minIntervalMs);
  }

  /** The registry has been heard from: from now on the file is kept up to date. */
  start(): void {
    if (!this.#cancel) this.#plan(this.#minIntervalMs);
  }

  /** Saves a last time, and resolves when nothing is being written any more. Never rejects. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    await this.#saving;
    await this.#save();
  }

  #plan(delayMs: number): void {
    this.#cancel?.();
    this.#cancel = this.#options.clock.after(delayMs, () => {
      this.#saving ??= this.#save().finally(() => {
        this.#saving = undefined;
        if (!this.#stopped) this.#plan(this.#nextMs());
      });
    });
  }

  #nextMs(): number {
    if (!this.#dirty) return this.#refreshMs;
    return Math.min(this.#refreshMs, this.#minIntervalMs * 2 ** Math.min(this.#failures, 20));
  }

  async #save(): Promise<void> {
    const content = this.#options.content();
    if (!content || (!this.#dirty && content.contactWallMs === this.#savedContactMs)) return;
    this.#dirty = false;
    try {
      await this.#file.save({ ...content, identity: this.#options.identity });
      this.#savedContactMs = content.contactWallMs;
      this.#savedAtMs = this.#options.clock.now();
      this.#failures = 0;
    } catch (error) {
      this.#dirty = true;
      this.#failures += 1;
      this.#report(error);
    }
  }

  #report(error: unknown): void {
    const where = { setting: 'gateway.stateDir', directory: this.#options.directory, verb: 'used' };
    const explained = explainDiskError(error, where);
    this.#options.onProblem(explained instanceof Error ? explained : new Error(String(explained)));
  }
}
