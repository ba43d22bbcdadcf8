import { type Clock, sleep } from '../../core/clock.ts';
import type { Instance } from '../../core/instance.ts';
import type { Interest, OnSkip, RegistryBackend, RegistryEvent, RegistryInfo } from '../backend.ts';
import { ChangeSignal } from './change-signal.ts';
import { FileContents } from './file-contents.ts';
import { DiskTree, FILE_LIMITS, type FileLimits, type FileTree } from './file-tree.ts';

export interface FileBackendOptions {
  /** A file, or a directory of `.yaml`, `.yml` and `.json` files. */
  readonly path: string;
  readonly clock: Clock;
  readonly onSkip: OnSkip;
  /** Files are looked at this often even where no notice of a change comes. */
  readonly pollMs?: number;
  /** A changed file is read once it has stayed the same for this long: whoever writes it in place may not be done. */
  readonly settleMs?: number;
  /** A file system that takes longer than this for one step is taken for lost. */
  readonly ioMs?: number;
  readonly limits?: Partial<FileLimits>;
  /** In place of the disk. */
  readonly tree?: FileTree;
}

/** How often a first read waits for files to settle before it gives up on them. */
const FIRST_TRIES = 20;
/** Notices of a busy directory are not followed more often than this. */
const MIN_GAP_MS = 50;

/**
 * Instances out of files that others write.
 *
 * A file is taken over whole or not at all: while it does not parse, or is being written, what it last said holds. At
 * the start there is nothing it last said, and then the watch fails after telling what the other files hold: not
 * everything is known. A directory that is gone or cannot be read is a loss; a file that is gone from it is meant.
 */
export class FileBackend implements RegistryBackend {
  readonly type = 'file';
  readonly maxSilenceMs: number;
  readonly #options: FileBackendOptions;
  readonly #pollMs: number;
  readonly #settleMs: number;
  readonly #contents: FileContents;

  constructor(options: FileBackendOptions) {
    const { path, clock, onSkip, pollMs = 5000, settleMs = 100, ioMs = 10_000 } = options;
    const limits = { ...FILE_LIMITS, ...options.limits };
    this.#options = options;
    this.#pollMs = pollMs;
    this.#settleMs = settleMs;
    this.maxSilenceMs = 3 * (pollMs + settleMs + ioMs);
    this.#contents = new FileContents({
      tree: options.tree ?? new DiskTree(path, limits),
      clock,
      onSkip,
      settleMs,
      ioMs,
      limits,
      where: path,
    });
  }

  async *watch(interest: Interest, signal: AbortSignal): AsyncIterable<RegistryEvent> {
    if (signal.aborted) return;
    const { path, clock } = this.#options;
    const changes = new ChangeSignal(path, clock, this.#pollMs, (why) => this.#reportUnwatchable(why));
    const close = (): void => changes.close();
    signal.addEventListener('abort', close, { once: true });
    try {
      yield* this.#follow(interest, changes, signal);
    } finally {
      signal.removeEventListener('abort', close);
      changes.close();
    }
  }

  async list(interest: Interest, signal: AbortSignal): Promise<ReadonlyMap<string, readonly Instance[]>> {
    const services = await this.#firstSurvey(signal);
    this.#contents.expectComplete();
    return new Map([...services].filter(([service]) => isOfInterest(service, interest)));
  }

  info(): RegistryInfo {
    return { endpoint: this.#options.path, leader: undefined, revision: this.#contents.revision };
  }

  async *#follow(interest: Interest, changes: ChangeSignal, signal: AbortSignal): AsyncIterable<RegistryEvent> {
    await this.#arm(changes, signal);
    let shown = await this.#firstSurvey(signal);
    for (const [service, instances] of shown) {
      if (isOfInterest(service, interest)) yield { kind: 'reset', service, instances };
    }
    this.#contents.expectComplete();
    yield { kind: 'synced', revision: this.#contents.revision };
    while (!signal.aborted) {
      await sleep(this.#options.clock, MIN_GAP_MS, signal);
      await changes.next(this.#contents.unsettled ? this.#settleMs : this.#pollMs);
      if (isAborted(signal)) return;
      await this.#arm(changes, signal);
      const services = await this.#contents.survey(signal);
      if (isAborted(signal)) return;
      for (const event of differences(shown, services)) if (isOfInterest(event.service, interest)) yield event;
      shown = services;
      yield { kind: 'synced', revision: this.#contents.revision };
    }
  }

  /** Files that are being written are worth a moment of waiting when nothing is known of them. */
  async #firstSurvey(signal: AbortSignal): Promise<ReadonlyMap<string, readonly Instance[]>> {
    for (let tries = 1; ; tries += 1) {
      const services = await this.#contents.survey(signal);
      if (isAborted(signal)) throw new Error('the read was given up', { cause: signal.reason });
      if (!this.#contents.unsettled || tries >= FIRST_TRIES) return services;
    }
  }

  #arm(changes: ChangeSignal, signal: AbortSignal): Promise<void> {
    // With a tree of its own there is nothing on disk to watch.
    return this.#options.tree ? Promise.resolve() : this.#contents.step('watch', () => changes.arm(), signal);
  }

  #reportUnwatchable(why: string): void {
    this.#options.onSkip({ service: '*', id: '*', why: `changes are seen only every ${this.#pollMs} ms: ${why}` });
  }
}

function isOfInterest(service: string, interest: Interest): boolean {
  return interest.kind === 'all' || interest.names.has(service);
}

/** For after an await, where the compiler still believes what it saw before. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}

type Services = ReadonlyMap<string, readonly Instance[]>;

function* differences(before: Services, after: Services): Iterable<Extract<RegistryEvent, { service: string }>> {
  if (before === after) return;
  for (const [service, instances] of after) {
    if (before.get(service) !== instances) yield { kind: 'reset', service, instances };
  }
  for (const service of before.keys()) if (!after.has(service)) yield { kind: 'absent', service };
}
