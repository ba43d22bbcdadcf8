import { constants, type Stats } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, stat, unlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { z } from 'zod';
import type { CheckOverride } from '../core/check.ts';
import type { Instance } from '../core/instance.ts';
import { isName } from '../core/names.ts';
import { parseRecord } from './record.ts';

/*
 * One registry's instances on disk, as lines of JSON:
 *
 *     {"format":"fairlead-registry","version":1,"registry":"consul","identity":"…","contactWallMs":…,"revision":"…"}
 *     {"service":"web","instances":[{"id":"a","host":"10.0.0.7","port":80},…]}      (any number; a service may repeat)
 *     {"services":1,"instances":1,"crc32":…}                                        (over every byte before this line)
 */

export interface SnapshotContent {
  /** What the saved set belongs to: another registry, or other services of it, must not be served from this file. */
  readonly identity: string;
  /** When the registry was last heard from. */
  readonly contactWallMs: number;
  readonly revision: string | undefined;
  readonly services: Iterable<readonly [string, Iterable<Instance>]>;
}

export interface LoadedSnapshot extends SnapshotContent {
  readonly services: ReadonlyMap<string, readonly Instance[]>;
  /** Instances that no longer parse; the rest is good. */
  readonly skipped: number;
}

/** The file is there and must not be used. Why, in words. */
export class SnapshotUnusable extends Error {
  override readonly name = 'SnapshotUnusable';
}

const VERSION = 1;
const CHUNK_BYTES = 256 * 1024;
const INSTANCES_PER_LINE = 200;
const SLICE_MS = 5;
/** A temporary file this old belongs to nobody: its writer died. */
const ORPHAN_MS = 60_000;

const header = z.object({
  format: z.literal('fairlead-registry'),
  version: z.literal(VERSION),
  registry: z.string(),
  identity: z.string(),
  contactWallMs: z.number().nonnegative(),
  revision: z.string().optional(),
});
const line = z.object({ service: z.string().refine(isName), instances: z.array(z.unknown()) });
const trailer = z.object({ services: z.number(), instances: z.number(), crc32: z.number() });

export interface SnapshotFileOptions {
  readonly directory: string;
  /** Name of the registry; `isName` holds. */
  readonly registry: string;
  readonly maxBytes: number;
  /** Tells the temporary files of processes apart that share the directory, as during an upgrade. */
  readonly writer: string;
  /** Monotonic milliseconds, to give way to other work. */
  readonly nowMs: () => number;
}

export class SnapshotFile {
  readonly path: string;
  readonly #options: SnapshotFileOptions;

  constructor(options: SnapshotFileOptions) {
    this.#options = options;
    this.path = join(options.directory, `registry-${options.registry}.snapshot`);
  }

  /**
   * Replaces the file at a stroke: a crash leaves the old one or the new one, whole. Rejects with what the file system
   * says, or when the bound is passed; the old file then stays.
   */
  async save(content: SnapshotContent): Promise<void> {
    await mkdir(this.#options.directory, { recursive: true, mode: 0o700 });
    const temporary = `${this.path}.${this.#options.writer}.tmp`;
    try {
      const file = await open(temporary, 'w', 0o600);
      try {
        await this.#write(file, content);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, this.path);
    } catch (error) {
      await unlink(temporary).catch((left: unknown) => ignoreMissing(left));
      throw error;
    }
    await syncDirectory(this.#options.directory);
  }

  /** Undefined where there is none. Rejects with `SnapshotUnusable`, or with what the file system says. */
  async load(identity: string): Promise<LoadedSnapshot | undefined> {
    const bytes = await this.#read();
    if (!bytes) return undefined;
    const end = bytes.lastIndexOf(10, bytes.length - 2) + 1;
    const sums = parseLine(trailer, bytes.subarray(end), 'last');
    if (crc32(bytes.subarray(0, end)) !== sums.crc32) throw this.#unusable('its checksum is wrong');
    const first = parseLine(header, bytes.subarray(0, bytes.indexOf(10)), 'first');
    if (first.registry !== this.#options.registry || first.identity !== identity) {
      throw this.#unusable('it belongs to another registry, or to another configuration of this one');
    }
    const { services, skipped } = await this.#parse(bytes.subarray(bytes.indexOf(10) + 1, end));
    let count = skipped;
    for (const instances of services.values()) count += instances.length;
    // The only bytes that the checksum is not over.
    if (services.size !== sums.services || count !== sums.instances) throw this.#unusable('its counts are wrong');
    const { contactWallMs, revision } = first;
    return { identity, contactWallMs, revision, services, skipped };
  }

  /** Removes what crashed writers left behind. */
  async tidy(wallMs: number): Promise<void> {
    const prefix = `${basename(this.path)}.`;
    for (const name of await readdir(this.#options.directory).catch(nothingIfMissing)) {
      if (!name.startsWith(prefix) || !name.endsWith('.tmp')) continue;
      const path = join(this.#options.directory, name);
      const { mtimeMs } = await stat(path).catch((): Pick<Stats, 'mtimeMs'> => ({ mtimeMs: wallMs }));
      if (wallMs - mtimeMs > ORPHAN_MS) await unlink(path).catch((error: unknown) => ignoreMissing(error));
    }
  }

  async #write(file: FileHandle, content: SnapshotContent): Promise<void> {
    const { registry } = this.#options;
    const { identity, contactWallMs, revision } = content;
    const out = new ChunkWriter(file, this.#options.maxBytes);
    await out.line({ format: 'fairlead-registry', version: VERSION, registry, identity, contactWallMs, revision });
    let services = 0;
    let instances = 0;
    for (const [service, all] of content.services) {
      services += 1;
      let some: unknown[] = [];
      for (const each of all) {
        instances += 1;
        some.push(encode(each));
        if (some.length < INSTANCES_PER_LINE) continue;
        await out.line({ service, instances: some });
        some = [];
      }
      await out.line({ service, instances: some });
    }
    await out.flush();
    await out.line({ services, instances, crc32: out.checksum });
    await out.flush();
  }

  async #read(): Promise<Buffer | undefined> {
    let file: FileHandle;
    try {
      file = await open(this.path, constants.O_RDONLY);
    } catch (error) {
      ignoreMissing(error);
      return undefined;
    }
    try {
      const { size } = await file.stat();
      if (size > this.#options.maxBytes)
        throw this.#unusable(`it has ${size} bytes, more than ${this.#options.maxBytes}`);
      return await file.readFile();
    } finally {
      await file.close();
    }
  }

  async #parse(body: Buffer): Promise<{ services: Map<string, Instance[]>; skipped: number }> {
    const services = new Map<string, Instance[]>();
    let skipped = 0;
    let sliceStartMs = this.#options.nowMs();
    for (let at = 0; at < body.length;) {
      const end = body.indexOf(10, at);
      const { service, instances } = parseLine(line, body.subarray(at, end < 0 ? body.length : end), 'a');
      at = end < 0 ? body.length : end + 1;
      const good = services.get(service) ?? [];
      services.set(service, good);
      for (const raw of instances) {
        const instance = decode(service, raw);
        if (instance) good.push(instance);
        else skipped += 1;
      }
      if (this.#options.nowMs() - sliceStartMs < SLICE_MS) continue;
      await new Promise((resolve) => setImmediate(resolve));
      sliceStartMs = this.#options.nowMs();
    }
    return { services, skipped };
  }

  #unusable(why: string): SnapshotUnusable {
    return new SnapshotUnusable(`the snapshot ${this.path} is ignored: ${why}`);
  }
}

/** Lines in large pieces, with their sum and their bound. */
class ChunkWriter {
  checksum = 0;
  readonly #file: FileHandle;
  readonly #maxBytes: number;
  #lines: string[] = [];
  #pending = 0;
  #bytes = 0;

  constructor(file: FileHandle, maxBytes: number) {
    this.#file = file;
    this.#maxBytes = maxBytes;
  }

  async line(value: unknown): Promise<void> {
    const text = `${JSON.stringify(value)}\n`;
    this.#lines.push(text);
    this.#pending += text.length;
    if (this.#pending >= CHUNK_BYTES) await this.flush();
  }

  async flush(): Promise<void> {
    const chunk = Buffer.from(this.#lines.join(''));
    this.#lines = [];
    this.#pending = 0;
    this.#bytes += chunk.length;
    if (this.#bytes > this.#maxBytes) throw new Error(`the snapshot would be larger than ${this.#maxBytes} bytes`);
    this.checksum = crc32(chunk, this.checksum);
    await this.#file.writeFile(chunk);
  }
}

/** The layout of `parseRecord`, without what is at its default. */
function encode(each: Instance): Record<string, unknown> {
  return {
    id: each.id,
    host: each.host,
    port: each.port,
    ...(each.weight === 1 ? {} : { weight: each.weight }),
    zone: each.zone,
    version: each.version,
    ...(each.secure ? { secure: true } : {}),
    ...(each.state === 'up' ? {} : { state: each.state }),
    stateReason: each.stateReason,
    ...(each.metadata.size === 0 ? {} : { metadata: Object.fromEntries(each.metadata) }),
    checks: each.checks?.filter((check: CheckOverride) => check.type !== 'script'),
  };
}

const unknown = z.unknown();
const essentials = z
  .object({ id: unknown, host: unknown, port: unknown, weight: unknown, secure: unknown, state: unknown })
  .partial();

/** What an adapter let pass may exceed the bounds of a record: better without its ornaments than not at all. */
function decode(service: string, raw: unknown): Instance | undefined {
  const parsed = parseRecord(raw, { service });
  if (parsed.ok) return parsed.instance;
  const bare = parseRecord(essentials.safeParse(raw).data, { service });
  return bare.ok ? bare.instance : undefined;
}

function parseLine<T>(schema: z.ZodType<T>, bytes: Buffer, which: string): T {
  let raw: unknown;
  try {
    raw = JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw new SnapshotUnusable(`the snapshot is ignored: ${which} line of it is no JSON`, { cause });
  }
  const parsed = schema.safeParse(raw);
  if (!parsed.success)
    throw new SnapshotUnusable(`the snapshot is ignored: ${which} line of it is not of version ${VERSION}`);
  return parsed.data;
}

/** Without this the new name may be lost when the machine fails, although the file is not. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, constants.O_RDONLY);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

function ignoreMissing(error: unknown): void {
  if (!isMissing(error)) throw error;
}

function nothingIfMissing(error: unknown): string[] {
  ignoreMissing(error);
  return [];
}
