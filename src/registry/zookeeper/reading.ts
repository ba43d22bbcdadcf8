import type { OnSkip } from '../backend.ts';
import { RegistryUnreachable, type RegistryLabel } from '../network-fault.ts';
import type { ZookeeperConnection } from './connection.ts';
import { CODE, OP, pathBody, readBody, recursiveWatchBody, ServerVerdict } from './messages.ts';
import { wirePath } from './paths.ts';

/** Reads under way at once. The server holds back everybody from a thousand on (globalOutstandingLimit). */
const WINDOW = 256;

/** A read of one node: what it has, or why there is nothing to see. */
export type Read<T> =
  { readonly kind: 'found'; readonly value: T } | { readonly kind: 'missing' } | { readonly kind: 'forbidden' };

/** The server is older than 3.6 and has no persistent watches. It hangs up on those who ask for one. */
export class NoPersistentWatches extends Error {
  override readonly name = 'NoPersistentWatches';
}

/** The reads of a table over one connection. With `armed`, every read also leaves a watch that fires once. */
export class NodeReader {
  readonly #connection: ZookeeperConnection;
  readonly #armed: boolean;

  constructor(connection: ZookeeperConnection, armed: boolean) {
    this.#connection = connection;
    this.#armed = armed;
  }

  /** From here on, no read shows less than what was committed when this was called; needs a quorum. */
  async sync(path: string): Promise<void> {
    await this.#connection.request(OP.sync, pathBody(wirePath(path)));
  }

  /** One watch on everything at and below the path, whether it exists or not. Throws `NoPersistentWatches`. */
  async watchRecursively(path: string): Promise<void> {
    try {
      await this.#connection.request(OP.addWatch, recursiveWatchBody(wirePath(path)));
    } catch (error) {
      if (!(error instanceof ServerVerdict && error.code === CODE.unimplemented)) throw error;
      throw new NoPersistentWatches('addWatch is not implemented', { cause: error });
    }
  }

  async children(path: string): Promise<Read<readonly string[]>> {
    // Twice only where the node appears in between; a node that comes and goes for ever must not hold us.
    for (let attempt = 0; attempt < 3; attempt += 1) {
      const read = await this.#read(OP.getChildren2, path);
      if (read.kind !== 'found') {
        if (read.kind === 'missing' && this.#armed && (await this.#read(OP.exists, path)).kind === 'found') continue;
        return read;
      }
      return { kind: 'found', value: read.value.texts() };
    }
    return { kind: 'missing' };
  }

  async data(path: string): Promise<Read<Buffer>> {
    const read = await this.#read(OP.getData, path);
    return read.kind === 'found' ? { kind: 'found', value: read.value.buffer() } : read;
  }

  async #read(op: number, path: string): Promise<Read<Awaited<ReturnType<ZookeeperConnection['request']>>>> {
    try {
      return {
        kind: 'found',
        value: await this.#connection.request(op, readBody(wirePath(path), this.#armed)),
      };
    } catch (error) {
      if (!(error instanceof ServerVerdict)) throw error;
      if (error.code === CODE.noNode) return { kind: 'missing' };
      if (error.code === CODE.noAuth) return { kind: 'forbidden' };
      throw error;
    }
  }
}

/** Runs `work` on every item, a bounded number at a time, and keeps the order of the items. */
export async function inWindow<A, B>(items: readonly A[], work: (item: A) => Promise<B>): Promise<B[]> {
  const results = new Array<B>(items.length);
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      const at = next++;
      results[at] = await work(items[at] as A);
    }
  };
  await Promise.all(Array.from({ length: Math.min(WINDOW, items.length) }, worker));
  return results;
}

/** A registry of more nodes than are taken. */
export function tooManyNodes(label: RegistryLabel, endpoint: string, path: string, maxNodes: number): Error {
  const text = `there are more than ${maxNodes} nodes under ${path}; check registries[].path, or name the services that are wanted`;
  return new RegistryUnreachable(label, endpoint, { fault: 'too-large', text });
}

/** What operators are told of nodes that may not be read. */
export function reportForbidden(onSkip: OnSkip, service: string, id: string, path: string): void {
  onSkip({ service, id, why: `node ${path} may not be read: ${aclAdvice(path)}` });
}

export function aclAdvice(path: string): string {
  return `give us read permission (zkCli.sh: setAcl -R ${path} …,digest:<user>:<hash>:r), or check registries[].auth.user and registries[].auth.password`;
}
