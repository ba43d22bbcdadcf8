import { Worker } from 'node:worker_threads';
import type { FailMessage, FromThread, ThreadSetup, ToThread } from './messages.ts';

/** A running thread, as its owner sees it. */
export interface ThreadHandle {
  post(message: ToThread | FailMessage): void;
  /** Ends it at once, whatever it is doing. A call of V8's own (a `JSON.parse` of a giant) is waited for. */
  terminate(): Promise<void>;
  /** Heap and buffers in MiB, also of a thread that does not come round its event loop; undefined where it has ended. */
  weigh?(): Promise<number | undefined>;
}

export interface ThreadEvents {
  readonly onMessage: (message: FromThread) => void;
  /** It is no more. Once. */
  readonly onExit: (cause: string) => void;
}

export type SpawnThread = (setup: ThreadSetup, events: ThreadEvents) => ThreadHandle;

/** From here on V8 lets garbage grow to four times what lives, and not to twice (`MaxGrowingFactor` in its heap.cc). */
const LAZY_FROM_MB = 2048;

/**
 * The limit that V8 itself holds a thread to. Where V8 finds it reached it ends the thread if what is wanted next is
 * small, and aborts the whole process if it is not: a large array that grows, say. So the watchdog has to come first,
 * and there is as much room again above what it permits, at least 1 GiB, for what a thread takes until it has looked.
 */
export function hardLimitMb(memoryMb: number): number {
  return Math.max(LAZY_FROM_MB, 2 * memoryMb) - 1;
}

/** A worker thread of this process. */
export const spawnWorker: SpawnThread = (setup, { onMessage, onExit }) => {
  const entry = new URL(import.meta.url.endsWith('.ts') ? './entry.ts' : './entry.js', import.meta.url);
  const worker = new Worker(entry, {
    workerData: setup,
    name: `data ${setup.number}`,
    resourceLimits: { maxOldGenerationSizeMb: hardLimitMb(setup.memoryMb) },
  });
  let cause: string | undefined;
  worker.on('message', onMessage);
  worker.on('error', (error: unknown) => {
    cause = error instanceof Error ? (error.stack ?? error.message) : String(error);
  });
  worker.on('exit', (code) => {
    onExit(cause ?? `it ended with code ${code}`);
  });
  return {
    post: (message) => {
      worker.postMessage(message);
    },
    terminate: async () => {
      await worker.terminate();
    },
    weigh: async () => {
      try {
        const { used_heap_size: heap, external_memory: buffers } = await worker.getHeapStatistics();
        return Math.round((heap + buffers) / 2 ** 20);
      } catch {
        // It ended meanwhile, which `onExit` tells.
        return undefined;
      }
    },
  };
};
