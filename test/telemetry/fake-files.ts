import type { SinkFile, SinkFiles } from '../../src/telemetry/sink-files.ts';

type Done = (error: NodeJS.ErrnoException | null, written: number) => void;

function errorOf(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: by the test`), { code });
}

/** Destinations that answer when and how the test says. */
export class FakeFiles implements SinkFiles {
  readonly opened: FakeFile[] = [];
  refuse: string | undefined;
  /** Each write is answered at once; otherwise it hangs until `answer`. */
  automatic = true;

  open(): SinkFile {
    if (this.refuse !== undefined) throw errorOf(this.refuse);
    const file = new FakeFile(this);
    this.opened.push(file);
    return file;
  }

  get last(): FakeFile {
    return this.opened.at(-1)!;
  }

  get text(): string {
    return this.opened.map((file) => file.text).join('');
  }
}

export class FakeFile implements SinkFile {
  text = '';
  closed = false;
  /** Takes this many bytes at a time. */
  bite = Number.POSITIVE_INFINITY;
  failure: string | undefined;
  readonly #owner: FakeFiles;
  #waiting: (() => void) | undefined;

  constructor(owner: FakeFiles) {
    this.#owner = owner;
  }

  write(bytes: Buffer, offset: number, length: number, done: Done): void {
    if (this.closed) throw new Error('written after close');
    if (this.#waiting) throw new Error('two writes at once');
    const run = (): void => {
      this.#waiting = undefined;
      if (this.failure !== undefined) {
        done(errorOf(this.failure), 0);
        return;
      }
      const taken = Math.min(length, this.bite);
      this.text += bytes.toString('latin1', offset, offset + taken);
      done(null, taken);
    };
    if (this.#owner.automatic) queueMicrotask(run);
    else this.#waiting = run;
  }

  /** Lets the write under way end. */
  answer(): void {
    const run = this.#waiting;
    if (!run) throw new Error('nothing is being written');
    run();
  }

  close(): void {
    if (this.closed) throw new Error('closed twice');
    this.closed = true;
  }
}

/** Lets everything that is due on the microtask queue happen. */
export async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}
