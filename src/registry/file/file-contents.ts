import { type Clock, sleep } from '../../core/clock.ts';
import type { Instance } from '../../core/instance.ts';
import type { OnSkip } from '../backend.ts';
import { DeadlinePassed } from '../deadline.ts';
import { NotADocument, parseInstanceFile, type Services } from './document.ts';
import { FileChanged, type FileLimits, type FileTree, type FoundFile, type Look } from './file-tree.ts';

export interface FileContentsOptions {
  readonly tree: FileTree;
  readonly clock: Clock;
  readonly onSkip: OnSkip;
  readonly settleMs: number;
  readonly ioMs: number;
  readonly limits: FileLimits;
  /** The path, for messages. */
  readonly where: string;
}

interface Content {
  /** Of the file that was read last, whether or not it could be used; undefined = to be read again. */
  readonly identity: string | undefined;
  /** What it last said when it could be read; undefined = never. */
  readonly services: Services | undefined;
  /** Why what it says now is not used. */
  readonly problem: string | undefined;
  /** How often in a row it was found in the middle of a change. */
  readonly restless: number;
}

const SLICE_MS = 5;
/** Whoever still writes after so many looks is not about to finish: that is told. */
const RESTLESS = 20;
const CHANGING = 'it keeps changing';

/** What the files last said, each whole; and all of them together. Shared by the watches and lists of one backend. */
export class FileContents {
  /** Some file was just being written: worth another look soon. */
  unsettled = false;
  revision: string | undefined;
  readonly #options: FileContentsOptions;
  readonly #contents = new Map<string, Content>();
  #merged: Services | undefined;
  #stuck = 0;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: FileContentsOptions) {
    this.#options = options;
  }

  /**
   * Looks, reads what has changed and stands still, and answers all services. The same object where nothing changed.
   * Rejects when the files cannot be listed. One at a time: the slower of two would put back what the other has replaced.
   */
  async survey(signal: AbortSignal): Promise<Services> {
    const before = this.#turn;
    const mine = Promise.withResolvers<undefined>();
    this.#turn = before.then(() => mine.promise);
    try {
      await orGivenUp(before, signal);
      return await this.#survey(signal);
    } finally {
      mine.resolve(undefined);
    }
  }

  /** Throws where some file has never been usable: then not everything is known. */
  expectComplete(): void {
    for (const [name, { services, problem }] of this.#contents) {
      if (!services) throw this.#lost(`${name} cannot be used: ${problem ?? CHANGING}`);
    }
  }

  /**
   * One step of the file system, with its deadline; the error says where and which setting. While a step that was given
   * up has not returned there is no other: each holds one of the few threads that the whole process has for files.
   */
  async step<T>(what: string, run: () => Promise<T>, signal: AbortSignal): Promise<T> {
    if (this.#stuck > 0) throw this.#lost('the file system has not answered an earlier call yet');
    const { clock, ioMs } = this.#options;
    const late = Promise.withResolvers<never>();
    const running = run();
    const cancel = clock.after(ioMs, () => {
      this.#stuck += 1;
      running.finally(() => (this.#stuck -= 1)).catch(() => undefined);
      late.reject(new DeadlinePassed(`answer of the file system (${what})`, ioMs));
    });
    // Not on abort: whether the call returns matters to the next one.
    running.finally(cancel).catch(() => undefined);
    try {
      return await orGivenUp(Promise.race([late.promise, running]), signal);
    } catch (error) {
      throw this.#lost(messageOf(error), error);
    }
  }

  #lost(why: string, cause?: unknown): Error {
    return new Error(`cannot read the instances in ${this.#options.where}: ${why}; check registries[].path`, { cause });
  }

  async #survey(signal: AbortSignal): Promise<Services> {
    const first = await this.#look(signal);
    this.unsettled = false;
    if (this.#hasChanged(first)) {
      // A file that is written in place can be half there, and a name can be missing for a moment.
      await sleep(this.#options.clock, this.#options.settleMs, signal);
      const second = await this.#look(signal);
      await this.#takeOver(first, second, signal);
    }
    return (this.#merged ??= this.#merge());
  }

  #look(signal: AbortSignal): Promise<Look> {
    return this.step('look', () => this.#options.tree.look(), signal);
  }

  #hasChanged(look: Look): boolean {
    if (look.size !== this.#contents.size) return true;
    for (const [name, file] of look) if (this.#contents.get(name)?.identity !== file.identity) return true;
    return false;
  }

  async #takeOver(first: Look, second: Look, signal: AbortSignal): Promise<void> {
    let bytes = 0;
    for (const [name, file] of second) {
      bytes += file.bytes;
      const known = this.#contents.get(name);
      if (first.get(name)?.identity !== file.identity) this.#waitFor(name, known);
      else if (known?.identity !== file.identity) await this.#read(name, file, known, bytes, signal);
      if (signal.aborted) return;
    }
    for (const name of this.#contents.keys()) {
      if (second.has(name)) continue;
      // Missing in one look of the two, it may just be on its way back.
      if (first.has(name)) this.unsettled = true;
      else this.#set(name, undefined);
    }
    this.revision = newest(second.values());
  }

  async #read(
    name: string,
    file: FoundFile,
    known: Content | undefined,
    bytesSoFar: number,
    signal: AbortSignal,
  ): Promise<void> {
    const { tree, limits } = this.#options;
    const maxBytes = file.format === 'yaml' ? limits.yamlBytes : limits.jsonBytes;
    if (file.bytes > maxBytes) {
      this.#keep(name, known, file.identity, `it has ${file.bytes} bytes, more than ${maxBytes} of ${file.format}`);
      return;
    }
    if (bytesSoFar > limits.totalBytes) {
      this.#keep(name, known, file.identity, `all files together have more than ${limits.totalBytes} bytes`);
      return;
    }
    try {
      const text = await this.step(`read ${name}`, () => tree.read(file), signal);
      const services = await parseInstanceFile(text, {
        format: file.format,
        onSkip: this.#skipIn(name),
        pause: this.#pauses(),
      });
      this.#set(name, { identity: file.identity, services, problem: undefined, restless: 0 });
    } catch (error) {
      if (signal.aborted) return;
      if (causeOf(error) instanceof FileChanged) this.#waitFor(name, known);
      // What does not parse is not read again before it changes; what cannot be read is.
      else this.#keep(name, known, error instanceof NotADocument ? file.identity : undefined, messageOf(error));
    }
  }

  /** What it last said holds. */
  #keep(name: string, known: Content | undefined, identity: string | undefined, problem: string): void {
    this.#set(name, { identity, services: known?.services, problem, restless: 0 });
    const holds = known?.services ? 'what it said before holds' : 'nothing of it is known';
    this.#options.onSkip({ service: '*', id: name, why: `${problem}; ${holds}` });
  }

  #waitFor(name: string, known: Content | undefined): void {
    this.unsettled = true;
    const restless = (known?.restless ?? 0) + 1;
    if (restless === RESTLESS) this.#keep(name, known, undefined, CHANGING);
    this.#set(name, { identity: undefined, services: known?.services, problem: CHANGING, restless });
  }

  #set(name: string, content: Content | undefined): void {
    if (content?.services !== this.#contents.get(name)?.services) this.#merged = undefined;
    if (content) this.#contents.set(name, content);
    else this.#contents.delete(name);
  }

  #skipIn(name: string): OnSkip {
    return ({ service, id, why }) => this.#options.onSkip({ service, id, why: `${name}: ${why}` });
  }

  #pauses(): () => Promise<void> | undefined {
    const { clock } = this.#options;
    let sliceStartMs = clock.now();
    return () => {
      if (clock.now() - sliceStartMs < SLICE_MS) return undefined;
      return new Promise((resolve) => {
        setImmediate(() => {
          sliceStartMs = clock.now();
          resolve();
        });
      });
    };
  }

  /** In the order of names; of an id that two files have in one service, the first file's is used. */
  #merge(): Services {
    const merged = new Map<string, readonly Instance[]>();
    for (const name of [...this.#contents.keys()].sort()) {
      for (const [service, instances] of this.#contents.get(name)?.services ?? []) {
        const before = merged.get(service);
        merged.set(service, before ? [...before, ...this.#notIn(before, instances, name)] : instances);
      }
    }
    return merged;
  }

  #notIn(before: readonly Instance[], instances: readonly Instance[], name: string): readonly Instance[] {
    const ids = new Set(before.map((each) => each.id));
    return instances.filter((each) => {
      if (ids.has(each.id))
        this.#skipIn(name)({ service: each.service, id: each.id, why: 'another file has this id already' });
      return !ids.has(each.id);
    });
  }
}

/** The promise, or a rejection as soon as the signal aborts. */
async function orGivenUp<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => aborted.reject(new Error('the read was given up'));
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  try {
    return await Promise.race([aborted.promise, promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function causeOf(error: unknown): unknown {
  return error instanceof Error ? error.cause : undefined;
}

function newest(files: Iterable<FoundFile>): string | undefined {
  const modifiedMs = Math.max(-Infinity, ...[...files].map((file) => file.modifiedMs));
  return Number.isFinite(modifiedMs) ? new Date(modifiedMs).toISOString() : undefined;
}
