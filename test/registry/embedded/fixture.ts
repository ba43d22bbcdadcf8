import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach } from 'vitest';
import { ManualClock } from '../../../src/core/clock.ts';
import { type Instance, addressOf, instance } from '../../../src/core/instance.ts';
import type { LockOwner } from '../../../src/registry/embedded/data-lock.ts';
import { type Disk, type LogFile, systemDisk } from '../../../src/registry/embedded/disk.ts';
import type { EmbeddedRegistryOptions } from '../../../src/registry/embedded/options.ts';
import type { RegistrationRequest } from '../../../src/registry/embedded/plan.ts';
import { EmbeddedRegistry } from '../../../src/registry/embedded/registry.ts';

const cleanups: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Runs after the test, last registered first. */
export function onCleanup(cleanup: () => Promise<void> | void): void {
  cleanups.push(cleanup);
}

export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'fairlead-registry-'));
  onCleanup(() => {
    rmSync(directory, { recursive: true, force: true });
  });
  return directory;
}

/** This process, and the truth about others. */
export const self: LockOwner = {
  pid: process.pid,
  isAlive(pid) {
    try {
      process.kill(pid, 0);
      return true;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'EPERM';
    }
  },
};

export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, string | number>>;
}

export interface Opened {
  readonly registry: EmbeddedRegistry;
  readonly clock: ManualClock;
  readonly lines: LogLine[];
  readonly dataDir: string;
}

/** A registry on a clock that stands still, closed after the test. */
export async function openRegistry(options: Partial<EmbeddedRegistryOptions> = {}): Promise<Opened> {
  const clock = (options.clock as ManualClock | undefined) ?? new ManualClock();
  const lines: LogLine[] = [];
  const dataDir = options.dataDir ?? temporaryDirectory();
  const registry = await EmbeddedRegistry.open({
    owner: self,
    log: (level, message, fields) => {
      lines.push({ level, message, fields });
    },
    ...options,
    clock,
    dataDir: 'dataDir' in options ? options.dataDir : dataDir,
  });
  onCleanup(() => registry.close());
  return { registry, clock, lines, dataDir };
}

type RequestPart = Partial<Omit<Instance, 'id'>> & {
  readonly id?: string | undefined;
  readonly ttlMs?: number | undefined;
  readonly idScope?: RegistrationRequest['idScope'];
};

export function request({ id, ttlMs, idScope = 'service', ...part }: RequestPart = {}): RegistrationRequest {
  const of = instance({ id: '', service: 'web', host: '10.0.0.1', port: 80, ...part });
  return { instance: of, id, ttlMs, idScope };
}

/** Registers and returns the id; fails where it was refused. */
export async function register(registry: EmbeddedRegistry, part: RequestPart = {}): Promise<string> {
  const result = await registry.register(request(part));
  if (result.kind !== 'registered') throw new Error(`not registered: ${JSON.stringify(result)}`);
  return result.entry.instance.id;
}

/** `service/id address`, in order. */
export function contents(registry: EmbeddedRegistry): string[] {
  const lines: string[] = [];
  for (const service of registry.services.values()) {
    for (const { instance: of, registration } of service.entries.values()) {
      lines.push(`${of.service}/${of.id} ${addressOf(of)} ${of.weight} ${registration.ttlMs ?? '-'}`);
    }
  }
  return lines.sort();
}

export type DiskOperation = 'write' | 'sync' | 'truncate' | 'rename' | 'syncDirectory' | 'open' | 'remove' | 'copy';

/** The real disk, until told to fail. */
export class FaultyDisk implements Disk {
  /** Error codes by operation; `once` forgets them after one failure. */
  readonly failing = new Map<DiskOperation, string>();
  readonly calls: DiskOperation[] = [];
  /** Of a failing write, this many bytes still reach the file. */
  partialBytes = 0;
  /** Renames that report failure have happened all the same. */
  renamesAnyway = false;
  #held: Promise<void> | undefined;
  #release: (() => void) | undefined;

  fail(code: string, ...operations: DiskOperation[]): void {
    for (const operation of operations) this.failing.set(operation, code);
  }

  mend(): void {
    this.failing.clear();
  }

  /** Syncs do not return until `release`. */
  hang(): void {
    this.#held = new Promise((resolve) => {
      this.#release = resolve;
    });
  }

  release(): void {
    this.#release?.();
    this.#held = undefined;
  }

  createDirectory(path: string): Promise<void> {
    return systemDisk.createDirectory(path);
  }

  read(path: string): AsyncIterable<Buffer> {
    return systemDisk.read(path);
  }

  async open(path: string, how: 'keep' | 'fresh'): Promise<LogFile> {
    this.check('open');
    const file = await systemDisk.open(path, how);
    return {
      write: async (bytes, position) => {
        if (this.failing.has('write')) await file.write(bytes.subarray(0, this.partialBytes), position);
        this.check('write');
        await file.write(bytes, position);
      },
      sync: async () => {
        this.check('sync');
        await this.#held;
        await file.sync();
      },
      truncate: (length) => {
        this.check('truncate');
        return file.truncate(length);
      },
      close: () => file.close(),
    };
  }

  async rename(from: string, to: string): Promise<void> {
    if (this.renamesAnyway) await systemDisk.rename(from, to);
    this.check('rename');
    await systemDisk.rename(from, to);
  }

  async copy(from: string, to: string): Promise<void> {
    this.check('copy');
    await systemDisk.copy(from, to);
  }

  async remove(path: string): Promise<void> {
    this.check('remove');
    await systemDisk.remove(path);
  }

  async syncDirectory(path: string): Promise<void> {
    this.check('syncDirectory');
    await systemDisk.syncDirectory(path);
  }

  check(operation: DiskOperation): void {
    this.calls.push(operation);
    const code = this.failing.get(operation);
    if (code !== undefined) throw Object.assign(new Error(`${code}: the disk fails on ${operation}`), { code });
  }
}
